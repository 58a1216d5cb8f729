"""Services and endpoints: protocols, aliases, automatic addresses, where endpoints come from and what they say."""

import pytest

from lateen.mesh.endpoints import endpoints
from lateen.mesh.model import Health, Locality, Protocol
from lateen.mesh.protocols import declared_protocol, service_protocol
from lateen.mesh.services import all_services, service

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: aa, labels: {app: web, version: v1, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: web, nodeName: n1, containers: [{name: a, ports: [{name: http-app, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}], conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: aa}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http-app}]}
"""
HOST = "web.aa.svc.cluster.local"


@pytest.mark.parametrize(
    ("number", "name", "app_protocol", "protocol"),
    [
        (80, "http", None, Protocol.HTTP),
        (80, "HTTP-web", None, Protocol.HTTP),
        (80, "grpc-web-x", None, Protocol.GRPC_WEB),
        (80, "http", "grpc", Protocol.GRPC),
        (80, "tcp", "kubernetes.io/h2c", Protocol.HTTP2),
        (80, "foo", None, Protocol.UNSUPPORTED),
        (80, "http2x", None, Protocol.UNSUPPORTED),
        (3306, "", None, Protocol.TCP),
        (3306, "http", None, Protocol.HTTP),
        (80, "udp", None, Protocol.UDP),
    ],
)
def test_a_ports_name_and_app_protocol_say_what_it_speaks(number, name, app_protocol, protocol):
    assert service_protocol(number, name, "TCP", app_protocol) is protocol


def test_a_ports_transport_beats_its_name():
    assert service_protocol(80, "http", "UDP", None) is Protocol.UDP
    assert declared_protocol("gRPC-Web") is Protocol.GRPC_WEB


def test_a_selected_pod_is_an_endpoint_with_its_place_and_identity(mesh):
    (found,) = endpoints(mesh(POD), "aa", HOST)
    assert (found.address, found.port, found.service_port, found.port_name) == ("10.1.0.1", 8080, 80, "http")
    assert (found.service_account, found.has_mesh_tls, found.locality) == ("web", True, Locality("r", "z"))
    assert found.health is Health.HEALTHY


@pytest.mark.parametrize(
    ("change", "to", "expected"),
    [
        ("status: 'True'", "status: 'False'", [("10.1.0.1", Health.UNHEALTHY)]),
        ("phase: Running", "phase: Failed", []),
        ("name: http-app", "name: other", []),
        ("app: web, version", "app: else, version", []),
        ("clusterIP: 10.96.0.1", "clusterIP: 'fd01::1'", [("fd00::1", Health.HEALTHY)]),
    ],
)
def test_what_of_a_pod_makes_an_endpoint(mesh, change, to, expected):
    assert change in POD
    assert [(one.address, one.health) for one in endpoints(mesh(POD.replace(change, to)), "aa", HOST)] == expected


def test_endpoint_slices_win_over_the_selector_and_wait_for_the_pods_they_name(mesh):
    text = (
        POD
        + """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: aa, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.1.0.9], conditions: {ready: true}}
- {addresses: [10.1.0.1], conditions: {ready: false}}
- {addresses: [10.1.0.7], conditions: {ready: false, terminating: true}}
- {addresses: [10.1.0.8], targetRef: {kind: Pod, name: not-yet, namespace: aa}}
ports: [{name: http, port: 8080}, {name: unknown, port: 1}]
"""
    )
    found = endpoints(mesh(text), "aa", HOST)
    assert [(one.address, one.health, one.has_mesh_tls) for one in found] == [("10.1.0.1", Health.UNHEALTHY, True), ("10.1.0.9", Health.HEALTHY, False)]


ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: aa}
spec:
  hosts: [x.example.com, y.example.com]
  ports: [{number: 443, name: tls, protocol: TLS, targetPort: 8443}]
  resolution: RESOLUTION
  ENDPOINTS
"""


@pytest.mark.parametrize(
    ("resolution", "written", "expected"),
    [
        ("DNS", "", [("x.example.com", 8443, 0)]),
        ("NONE", "", []),
        ("STATIC", "endpoints: [{address: 192.0.2.1, ports: {tls: 9}, weight: 3}, {address: 192.0.2.2}]", [("192.0.2.1", 9, 3), ("192.0.2.2", 8443, 0)]),
        ("STATIC", "endpoints: [{address: 'unix:///run/x.sock'}]", [("unix:///run/x.sock", 0, 0)]),
    ],
)
def test_endpoints_of_a_service_entry(mesh, resolution, written, expected):
    db = mesh(ENTRY.replace("RESOLUTION", resolution).replace("ENDPOINTS", written))
    assert [(one.address, one.port, one.weight) for one in endpoints(db, "aa", "x.example.com")] == expected


def test_a_selecting_entry_takes_workload_entries_of_its_namespace_with_mesh_tls_if_they_have_an_account(mesh):
    text = ENTRY.replace("RESOLUTION", "STATIC").replace("ENDPOINTS", "workloadSelector: {labels: {app: vm}}")
    for name, namespace, account in (("one", "aa", "serviceAccount: vm"), ("two", "aa", ""), ("far", "bb", "serviceAccount: vm")):
        text += f"""
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  address: 192.0.2.{len(name)}{len(namespace) + len(account)}
  labels: {{app: vm}}
  {account}
"""
    found = endpoints(mesh(text), "aa", "x.example.com")
    assert [(one.workload, one.has_mesh_tls) for one in sorted(found, key=lambda one: one.workload)] == [("one", True), ("two", False)]


def test_an_external_name_is_an_alias_through_chains_and_not_in_rings(mesh):
    def alias(name, target):
        return f"\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: aa}}\nspec: {{type: ExternalName, externalName: {target}}}"

    db = mesh(POD + alias("a", "b.aa.svc.cluster.local") + alias("b", HOST) + alias("c", "d.aa.svc.cluster.local") + alias("d", "c.aa.svc.cluster.local"))
    found = service(db, "aa", HOST)
    assert found is not None and found.aliases == ("a.aa.svc.cluster.local", "b.aa.svc.cluster.local")


def test_automatic_addresses_are_stable_and_never_shared(mesh):
    def named(at):
        return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{at}, namespace: aa, creationTimestamp: '2024-01-01T00:{at // 60:02}:{at % 60:02}Z'}}
spec: {{hosts: [s{at}.example.com], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]}}
"""

    few = mesh("\n---\n".join(named(at) for at in range(5)))
    many = mesh("\n---\n".join(named(at) for at in range(400)))
    first = {one.hostname: one.auto_addresses for one in all_services(few)}
    then = {one.hostname: one.auto_addresses for one in all_services(many)}
    assert all(then[host] == addresses for host, addresses in first.items())
    assert len({address for addresses in then.values() for address in addresses}) == 800
    assert all(one.addresses == () for one in all_services(many))


def test_services_are_oldest_first_then_by_name_and_namespace(mesh):
    def one(name, namespace, created):
        return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}\nspec: {{ports: [{{port: 80}}]}}"

    db = mesh("\n---\n".join((one("b", "aa", "2024-01-02T00:00:00Z"), one("a", "bb", "2024-01-02T00:00:00Z"), one("z", "aa", "2024-01-01T00:00:00Z"))))
    assert [found.name for found in all_services(db)] == ["z", "a", "b"]
