"""What a view keeps of its proxy: the labels that anything reads, the ports it serves."""

from dataclasses import replace

import pytest

from lateen.mesh.inbound import inbound_ports
from lateen.mesh.model import Locality
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: other}}
spec: {{clusterIP: 10.96.0.1, ports: [{{name: http, port: 80}}], trafficDistribution: {said}}}
"""
PROXY = Proxy(
    type=ProxyType.SIDECAR,
    id="a.shop",
    namespace="shop",
    service_account="default",
    labels=(("app", "a"),),
    addresses=("10.1.0.1",),
    dns_domain="shop.svc.cluster.local",
    locality=Locality("r1", "z1", "s1"),
    cluster_id="Kubernetes",
    metadata=(),
)
ZONE = (("topology.kubernetes.io/region", "r1"), ("topology.kubernetes.io/zone", "z1"))
NODE = (("kubernetes.io/hostname", "n1"), ("topology.istio.io/subzone", "s1"), *ZONE)


@pytest.mark.parametrize(("said", "labels"), [("null", ()), ("PreferClose", ZONE), ("PreferSameZone", ZONE), ("PreferSameNode", NODE)])
def test_a_view_says_its_place_where_a_service_prefers_what_is_close(mesh, said, labels):
    assert view_of(mesh(SERVICE.format(said=said)), replace(PROXY, node_name="n1")).labels == labels


TARGETS = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: a}
  ports: [{name: http, port: 9080, targetPort: 8080}, {name: tcp, port: 443, targetPort: 8080}]
"""


def test_of_two_ports_of_a_service_at_one_of_the_workload_the_first_written_counts(mesh):
    db = mesh(TARGETS)
    view = view_of(db, PROXY)
    assert [one.service_port for one in view.targets] == [9080, 443]
    assert [(one.port, one.service_port) for one in inbound_ports(db, view)] == [(8080, 9080)]
