"""What is emitted: types, and one resource. Made by the files beside this one, read by `serve` and `insight`."""

from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b

from lateen.base.names import ObjectRef


class ResourceType(Enum):
    """The xDS types we serve; the value is the type URL."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True)
class Resource:
    """One emitted resource. `body`: the serialized message. `version`: hash of `body`. `origins`: the objects that decided it, for the ledger.

    `problem`: what Envoy would refuse in it (`xds.check`); then it is not to be sent. Empty: nothing.
    """

    type: ResourceType
    name: str
    body: bytes = field(repr=False)
    origins: frozenset[ObjectRef] = frozenset()
    problem: str = ""
    version: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", blake2b(self.body, digest_size=8).hexdigest())


@dataclass(frozen=True)
class Common:
    """A resource that many views share. `homes`: namespaces whose views may have another one."""

    resource: Resource
    homes: frozenset[str] = frozenset()
