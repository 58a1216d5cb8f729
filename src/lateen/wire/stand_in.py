"""What Envoy gets for a cluster that it asked for by name and that is not there: one without endpoints.

Envoy asks once for each name. After "there is none" every later request to it would wait for the whole timeout of its filter; an empty cluster
answers 503 at once, and gives way as soon as there is the real one. Called by `serve.session` and `wire.relay`. Envoy: on-demand discovery of clusters.
"""

from hashlib import blake2b

from lateen.wire.delta import resource_fragment
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2

CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def stand_in(name: str) -> bytes:
    """The repeated field `resources` with the empty cluster of that name."""
    message = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.STATIC)
    message.connect_timeout.FromSeconds(1)
    body = message.SerializeToString(deterministic=True)
    return resource_fragment(name, blake2b(body, digest_size=8).hexdigest(), CLUSTER_TYPE, body)
