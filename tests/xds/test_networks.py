"""Endpoints of other networks: through the gateways of theirs where it has some, else directly."""

import pytest

from lateen.base.names import ObjectRef
from lateen.config.decode import decode, ref_of
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.incremental import Db
from lateen.mesh.networks import findings
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource

NETWORKS = """apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  meshNetworks: |
    networks: %s
"""
ENTRY = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME, namespace: shop}
spec:
  hosts: [NAME.example.com]
  location: MESH_INTERNAL
  resolution: HOW
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [%s]
"""
MESHED = "labels: {security.istio.io/tlsMode: istio}"
TWO = (
    "{one: {gateways: [{address: 192.0.2.1, port: 15443}, {address: 192.0.2.2, port: 15443}]}, two: {gateways: [{address: 192.0.2.3, port: 15444}]}, three: {}}"
)
PLACES = (
    f"{{address: 10.0.0.1, network: one, weight: 3, {MESHED}}}",
    f"{{address: 10.0.0.2, network: one, {MESHED}}}",
    "{address: 10.0.0.3, network: one}",
    f"{{address: 10.0.0.4, network: two, {MESHED}}}",
    "{address: 10.0.0.5, network: three}",
    "{address: 10.0.0.6}",
)


def mesh(*texts: str) -> Db:
    db = Db()
    MESH_CONFIG.set(db, "mesh", MeshConfig())
    decoded = decode("\n---\n".join(texts), "in.yaml")
    assert not decoded.is_broken, decoded.findings
    for item in decoded.objects:
        OBJECTS.set(db, ref_of(item), item)
    return db


def stores(*places: str, how: str = "STATIC") -> str:
    return (ENTRY % ", ".join(places)).replace("NAME", "store").replace("HOW", how)


def reached(db: Db, network: str, type_: ResourceType = ResourceType.ENDPOINT) -> dict[str, tuple[int, int, bool]]:
    """Address → (port, weight, whether mesh TLS is spoken) at a client of a network."""
    proxy = Proxy(ProxyType.SIDECAR, "client.shop", "shop", addresses=("10.9.9.9",), network=network)
    found = resource(db, view_of(db, proxy), type_, "outbound|80||store.example.com")
    assert found is not None
    groups = (
        endpoint_pb2.ClusterLoadAssignment.FromString(found.body)
        if type_ is ResourceType.ENDPOINT
        else cluster_pb2.Cluster.FromString(found.body).load_assignment
    )
    hosts = [host for group in groups.endpoints for host in group.lb_endpoints]
    assert all(group.load_balancing_weight.value == sum(host.load_balancing_weight.value for host in group.lb_endpoints) for group in groups.endpoints)
    places = [host.endpoint.address.socket_address for host in hosts]
    assert len({place.address for place in places}) == len(places)
    return {
        place.address: (place.port_value, host.load_balancing_weight.value, "envoy.transport_socket_match" in host.metadata.filter_metadata)
        for place, host in zip(places, hosts, strict=True)
    }


DIRECT = {f"10.0.0.{at}": (80, 1 + 2 * (at == 1), at in (1, 2, 4)) for at in range(1, 7)}


@pytest.mark.parametrize("network", ["", "one", "four"])
@pytest.mark.parametrize(
    "networks", [None, "{}", "{one: {}, two: {endpoints: [{fromCidr: 10.0.0.0/8}]}}", "{one: {gateways: [{address: name.example, port: 1}]}}"]
)
def test_without_gateways_everything_is_called_directly(network: str, networks: str | None) -> None:
    db = mesh(stores(*PLACES), *([NETWORKS % networks] if networks else []))
    assert reached(db, network) == DIRECT


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        ("one", {"10.0.0.1": (80, 6, True), "10.0.0.2": (80, 2, True), "10.0.0.3": (80, 2, False), "192.0.2.3": (15444, 2, True)}),
        ("two", {"192.0.2.1": (15443, 4, True), "192.0.2.2": (15443, 4, True), "10.0.0.4": (80, 2, True)}),
        ("", {"192.0.2.1": (15443, 4, True), "192.0.2.2": (15443, 4, True), "192.0.2.3": (15444, 2, True)}),
    ],
)
def test_other_networks_are_entered_through_their_gateways_by_mesh_tls_alone(network: str, wanted: dict[str, tuple[int, int, bool]]) -> None:
    """Weights are doubled, as each is shared by two gateways at most."""
    db = mesh(stores(*PLACES), NETWORKS % TWO)
    assert reached(db, network) == {**wanted, "10.0.0.5": (80, 2, False), "10.0.0.6": (80, 2, False)}


def test_names_are_behind_gateways_too() -> None:
    db = mesh(stores(f"{{address: a.example.com, network: two, {MESHED}}}", how="DNS"), NETWORKS % TWO)
    assert reached(db, "one", ResourceType.CLUSTER) == {"192.0.2.3": (15444, 1 * 2, True)}
    assert reached(db, "two", ResourceType.CLUSTER) == {"a.example.com": (80, 2, True)}


def pod(at: int, label: str = "") -> str:
    return f"""apiVersion: v1
kind: Pod
metadata: {{name: p{at}, namespace: shop, labels: {{app: p, security.istio.io/tlsMode: istio{label}}}}}
spec: {{serviceAccountName: p, containers: [{{name: a}}]}}
status: {{phase: Running, podIP: 10.0.0.{at}, conditions: [{{type: Ready, status: 'True'}}]}}
"""


def test_a_pod_is_in_the_network_of_its_label_the_root_namespace_or_its_address() -> None:
    selecting = stores().replace("endpoints: []", "workloadSelector: {labels: {app: p}}")
    written = TWO.replace("two: {", "two: {endpoints: [{fromCidr: 10.0.0.0/24}], ")
    pods = (pod(1), pod(2, ", topology.istio.io/network: one"))
    db = mesh(selecting, *pods, NETWORKS % written)
    assert reached(db, "three") == {"192.0.2.1": (15443, 1, True), "192.0.2.2": (15443, 1, True), "192.0.2.3": (15444, 2, True)}
    home = "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: three}}\n"
    db = mesh(selecting, *pods, NETWORKS % written, home)
    assert reached(db, "three") == {"10.0.0.1": (80, 2, True), "192.0.2.1": (15443, 1, True), "192.0.2.2": (15443, 1, True)}
    client = Proxy(ProxyType.SIDECAR, "p2.shop", "shop", addresses=("10.0.0.2",))
    assert view_of(db, client).network == "one"


@pytest.mark.parametrize(
    ("networks", "codes"),
    [
        (TWO, []),
        ("{one: {endpoints: [{fromRegistry: Kubernetes}]}}", []),
        ("{one: {endpoints: [{fromRegistry: other}]}}", ["IST0126"]),
        ("{one: {endpoints: [{fromCidr: 10.0.0.0/99}]}}", ["LTN0228"]),
        ("{one: {gateways: [{address: 192.0.2.1}]}}", ["LTN0228"]),
        ("{one: {gateways: [{registryServiceName: gw.shop.svc.cluster.local, port: 443}]}}", ["LTN0228"]),
    ],
)
def test_what_leads_nowhere_is_told(networks: str, codes: list[str]) -> None:
    found = findings(mesh(NETWORKS % networks))
    assert [one.code for one in found] == codes
    (mistake,) = findings(mesh(NETWORKS % "{one: {gateways: [{address: 192.0.2.1, port: many}]}}"))[:1]
    assert "port" in mistake.message
    assert all(one.object == ObjectRef("ConfigMap", "istio-system", "istio") and one.field == "data.meshNetworks" and one.hint for one in found)
