"""Route configurations as bytes: what they say, what re-runs when one VirtualService changes, and that incremental equals from scratch."""

import pytest

from lateen.base.names import ObjectRef
from lateen.config.decode import decode, ref_of
from lateen.config.store import OBJECTS
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.xds.routes import route_names, route_resource


def world(count: int) -> str:
    parts = []
    for at in range(count):
        parts.append(
            f"""
kind: Service
apiVersion: v1
metadata: {{name: s{at}, namespace: n{at % 10}}}
spec: {{clusterIP: 10.1.{at // 250}.{at % 250}, selector: {{app: s{at}}}, ports: [{{name: http, port: 80}}, {{name: http-b, port: 81}}, {{port: 90}}]}}
---"""
        )
        parts.append(virtual_service(at, 10))
    return "".join(parts)


def virtual_service(at: int, weight: int, more: str = "") -> str:
    return f"""
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {{name: v{at}, namespace: n{at % 10}}}
spec:
  hosts: [s{at}]
  http:
  - route:
    - {{destination: {{host: s{at}, subset: v1}}, weight: {100 - weight}}}
    - {{destination: {{host: s{at}, subset: v2}}, weight: {weight}}}{more}
---"""


SIDECAR = Proxy(ProxyType.SIDECAR, "client.n0", "n0", dns_domain="n0.svc.cluster.local", addresses=("10.2.0.1",))


def apply(db, text: str) -> None:
    for item in decode(text, "in.yaml").objects:
        OBJECTS.set(db, ref_of(item), item)


def table(db, name: str, proxy: Proxy = SIDECAR) -> route_pb2.RouteConfiguration:
    resource = route_resource(db, view_of(db, proxy), name)
    assert resource is not None and resource.name == name
    return route_pb2.RouteConfiguration.FromString(resource.body)


def everything(db) -> dict[str, bytes]:
    view = view_of(db, SIDECAR)
    return {name: found.body for name in sorted(route_names(db, view)) if (found := route_resource(db, view, name))}


def reruns(mesh, count: int, text: str) -> dict[str, int]:
    db = mesh(world(count))
    everything(db)
    db.runs.clear()
    apply(db, text)
    everything(db)
    return dict(db.runs)


@pytest.mark.parametrize("text", [virtual_service(7, 55), virtual_service(7, 55, "\n    timeout: 3s")])
def test_one_changed_virtual_service_reruns_the_same_queries_whatever_the_size(mesh, text):
    few, many = reruns(mesh, 30, text), reruns(mesh, 300, text)
    assert few == many
    assert few["xds.routes.sidecar_piece"] == 3  # its service's three ports
    assert sum(few.values()) < 30


def test_one_change_changes_one_virtual_host(mesh):
    db = mesh(world(30))
    before = {host.name: host.SerializeToString(deterministic=True) for host in table(db, "80").virtual_hosts}
    apply(db, virtual_service(7, 55))
    after = {host.name: host.SerializeToString(deterministic=True) for host in table(db, "80").virtual_hosts}
    assert [name for name in after if before[name] != after[name]] == ["s7.n7.svc.cluster.local:80"]


def test_incremental_equals_from_scratch(mesh):
    db = mesh(world(30))
    everything(db)
    for text in (
        virtual_service(3, 1),
        virtual_service(3, 1).replace("[s3]", "['*.n4.svc.cluster.local']"),
        virtual_service(5, 9).replace("hosts:", "exportTo: ['.']\n  hosts:"),
    ):
        apply(db, text)
        assert everything(db) == everything(db.from_scratch())
    OBJECTS.remove(db, ObjectRef("VirtualService", "n3", "v3"))
    assert everything(db) == everything(db.from_scratch())


def test_the_origin_of_each_route_travels_with_it(mesh):
    db = mesh(world(3))
    host = next(host for host in table(db, "80").virtual_hosts if host.name.startswith("s1."))
    assert host.routes[0].metadata.filter_metadata["istio"]["config"] == "/apis/networking.istio.io/v1/namespaces/n1/virtual-service/v1"
    resource = route_resource(db, view_of(db, SIDECAR), "80")
    assert ObjectRef("VirtualService", "n1", "v1") in resource.origins


def test_a_detected_port_has_its_own_table_and_takes_any_host(mesh):
    db = mesh(world(2))
    assert {"80", "81", "s0.n0.svc.cluster.local:90"} <= route_names(db, view_of(db, SIDECAR))
    found = table(db, "s1.n1.svc.cluster.local:90")
    assert [(host.name, list(host.domains)) for host in found.virtual_hosts] == [("s1.n1.svc.cluster.local:90", ["*"])]


def test_registry_only_answers_502_for_any_other_host(mesh):
    from lateen.config.kinds.istio.mesh_config import MeshConfig, MeshOutboundMode, MeshOutboundPolicy

    db = mesh(world(1), MeshConfig(outbound_traffic_policy=MeshOutboundPolicy(mode=MeshOutboundMode.REGISTRY_ONLY)))
    last = table(db, "80").virtual_hosts[-1]
    assert (last.name, list(last.domains), last.routes[0].direct_response.status) == ("block_all", ["*"], 502)


HASHED = """
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: d, namespace: n0}
spec:
  host: s0
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}%s}
"""


@pytest.mark.parametrize(("policy", "expected"), [("", False), (", trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}", True)])
def test_a_hash_chooses_among_weighted_destinations_too(mesh, policy, expected):
    db = mesh(world(1) + HASHED % policy)
    hosts = {host.name: host for host in table(db, "80").virtual_hosts}
    action = hosts["s0.n0.svc.cluster.local:80"].routes[0].route
    assert [cluster.weight.value for cluster in action.weighted_clusters.clusters] == [90, 10]
    assert action.weighted_clusters.use_hash_policy.value is expected
    assert bool(action.hash_policy) is expected
