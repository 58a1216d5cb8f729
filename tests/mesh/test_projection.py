"""Views: what of a proxy counts, and which services its workload serves."""

import pytest

from lateen.mesh.model import Locality
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType

MESH = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: aa, creationTimestamp: '2024-02-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http-app}, {name: raw, port: 81, targetPort: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: older, namespace: aa, creationTimestamp: '2024-01-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.2, selector: {app: web, version: v1}, ports: [{name: tcp, port: 82, targetPort: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: bb}
spec: {clusterIP: 10.96.0.3, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 9000}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: bb}
spec:
  hosts: [x.example.com]
  ports: [{number: 443, name: tls, protocol: TLS, targetPort: 8443}]
  resolution: STATIC
  endpoints: [{address: 10.1.0.1}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: aa, labels: {app: web, version: v1, hash: '123'}}
spec: {nodeName: n1, containers: [{name: a, ports: [{name: http-app, containerPort: 8080}]}]}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}
"""


def proxy(type_=ProxyType.SIDECAR, name="web-0.aa", labels=(), addresses=("10.1.0.1",), metadata=()):
    return Proxy(type_, name, "aa", labels=labels, addresses=addresses, metadata=metadata)


def test_a_workload_serves_what_selects_it_and_what_names_its_address_oldest_first(mesh):
    """An object without a time is the youngest."""
    view = view_of(mesh(MESH), proxy())
    found = [(target.hostname.partition(".")[0], target.service_port, target.port) for target in view.targets]
    assert found == [("older", 82, 9000), ("web", 80, 8080), ("web", 81, 9000), ("x", 443, 8443)]
    assert view.locality == Locality("r", "z")


def test_without_a_pod_labels_and_addresses_of_the_proxy_itself_count(mesh):
    view = view_of(mesh(MESH), proxy(name="gone-0.aa", labels=(("app", "web"),), addresses=("10.1.0.9",)))
    assert [(target.service_port, target.port) for target in view.targets] == [(81, 9000)]


@pytest.mark.parametrize(
    ("selecting", "labels"),
    [
        ("", ()),
        (
            "kind: Sidecar\napiVersion: networking.istio.io/v1\nmetadata: {name: s, namespace: aa}\nspec: {workloadSelector: {labels: {version: v1}}}",
            (("version", "v1"),),
        ),
        ("kind: Sidecar\napiVersion: networking.istio.io/v1\nmetadata: {name: s, namespace: bb}\nspec: {workloadSelector: {labels: {version: v1}}}", ()),
        (
            "kind: PeerAuthentication\napiVersion: security.istio.io/v1\nmetadata: {name: p, namespace: istio-system}\nspec: {selector: {matchLabels: {hash: x}}}",
            (("hash", "123"),),
        ),
        ("kind: Gateway\napiVersion: networking.istio.io/v1\nmetadata: {name: g, namespace: bb}\nspec: {selector: {app: web}, servers: []}", ()),
    ],
)
def test_only_labels_that_something_reads_are_in_a_view(mesh, selecting, labels):
    assert view_of(mesh(MESH + ("\n---\n" + selecting if selecting else "")), proxy()).labels == labels


def test_a_gateways_labels_are_those_that_gateways_select_by(mesh):
    gateway = "kind: Gateway\napiVersion: networking.istio.io/v1\nmetadata: {name: g, namespace: bb}\nspec: {selector: {app: web}, servers: []}"
    assert view_of(mesh(MESH + "\n---\n" + gateway), proxy(ProxyType.ROUTER)).labels == (("app", "web"),)


def test_metadata_that_nobody_reads_parts_no_views(mesh):
    db = mesh(MESH)
    assert view_of(db, proxy(metadata=(("POD_UID", "1"),))) == view_of(db, proxy(metadata=(("POD_UID", "2"),)))
    assert view_of(db, proxy(metadata=(("HTTP10", "1"),))) != view_of(db, proxy())


def test_the_node_counts_only_where_a_service_keeps_to_it(mesh):
    assert view_of(mesh(MESH), proxy()).node_name == ""
    local = MESH.replace("clusterIP: 10.96.0.3,", "clusterIP: 10.96.0.3, internalTrafficPolicy: Local,")
    assert view_of(mesh(local), proxy()).node_name == "n1"


JOINED = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: machines, namespace: shop}
spec:
  hosts: [machines.example]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: machine}}
  ports: [{number: 8000, name: http, protocol: HTTP}, {number: 9000, name: tcp, protocol: TCP, targetPort: 9001}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vms-10.9.0.1, namespace: shop, annotations: {proxy.istio.io/health-checks-enabled: "true"}}
spec: {address: 10.9.0.1, labels: {app: machine}, ports: {http: 8123}, serviceAccount: vm}
"""


@pytest.mark.parametrize("status", ["", "status: {conditions: [{type: Healthy, status: 'True'}]}\n"])
def test_a_registered_workload_serves_its_entrys_ports_and_no_others_well_or_not(mesh, status):
    """What it opens must not come and go with its health: who is sent to it again would come too early."""
    proxy = Proxy(ProxyType.SIDECAR, "vm.shop", "shop", "vm", addresses=("10.9.0.1",), metadata=(("AUTO_REGISTER_GROUP", "vms"),))
    view = view_of(mesh(JOINED + status), proxy)
    assert [(one.service_port, one.port) for one in view.targets] == [(8000, 8123), (9000, 9001)]
