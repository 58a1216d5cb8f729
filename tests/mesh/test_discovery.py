"""discoverySelectors: what of a namespace that is left out the mesh takes no notice of, and what goes on there."""

import pytest

from lateen.config.decode import decode, ref_of
from lateen.config.kinds.kubernetes.core import Namespace
from lateen.config.store import MESH_CONFIG, OBJECTS, is_discovered
from lateen.control.dns_table import dns_table
from lateen.control.gateway_pods import counted_gateways
from lateen.mesh.findings import mesh_findings
from lateen.mesh.projection import view_of
from lateen.mesh.services import all_services, foreign_services
from lateen.mesh.view import Proxy, ProxyType
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names
from tests.mesh.test_mesh_settings import config_of

SELECTORS = "discoverySelectors: [{matchLabels: {mesh: 'in'}}, {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [named]}]}]"
SPACES = ("in", "out", "named")
SPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: NAME, labels: {mesh: NAME}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAME}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: NAME}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: tcp, port: 90}]}
---
apiVersion: v1
kind: Service
metadata: {name: also, namespace: NAME}
spec: {type: ExternalName, externalName: web.in.svc.cluster.local}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: NAME, labels: {app: web}}
spec: {containers: [{name: a}]}
status: {podIP: 10.1.AT.1, podIPs: [{ip: 10.1.AT.1}], conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: NAME}
spec: {hosts: [NAME.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: NAME}
spec: {hosts: [NAME.example.com, web.in.svc.cluster.local], http: [{fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: NAME.example.com}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: NAME}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}]}
---
"""


def text():
    return "".join(SPACE.replace("NAME", name).replace("AT", str(at)) for at, name in enumerate(SPACES))


@pytest.fixture
def market(mesh):
    return mesh(text(), config_of(SELECTORS)[0])


def emitted(db, namespace="in", kind=ProxyType.SIDECAR, address="10.1.0.1"):
    view = view_of(db, Proxy(kind, f"web-0.{namespace}", namespace, addresses=(address,), labels=(("istio", "ingressgateway"),)))
    return {(type_, name): resource(db, view, type_, name).body for type_ in ResourceType for name in resource_names(db, view, type_)}


def test_what_is_left_out_is_known_to_no_proxy(market):
    assert {one.namespace for one in all_services(market)} == {"in", "named"}
    assert {one.hostname for one in foreign_services(market)} == {"web.out.svc.cluster.local", "db.out.svc.cluster.local", "also.out.svc.cluster.local"}
    found = emitted(market)
    assert found and not [key for key, body in found.items() if b"out.example" in body or b".out.svc" in body or b"10.1.1.1" in body]
    assert any(b"web.named.svc" in body for body in found.values())
    own = {name for type_, name in emitted(market, "out", address="10.1.1.1") if type_ is ResourceType.CLUSTER and name.startswith("inbound|")}
    assert own == set()  # a sidecar there serves no service that the mesh knows
    assert emitted(market, "in", ProxyType.ROUTER) and [one.meta.namespace for one in counted_gateways({ref_of(one): one for one in written()})] == [
        "in",
        "named",
    ]


def written():
    config = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: "MESH"}\n'.replace("MESH", SELECTORS)
    return decode(text() + config, "f").objects


def test_names_of_kubernetes_go_on(market):
    table = dns_table(market)
    entries, headless = dict(table.entries), dict(table.headless)
    for name in SPACES:
        assert entries[f"web.{name}.svc.cluster.local"], name
        assert entries[f"db.{name}.svc.cluster.local"] == (f"10.1.{SPACES.index(name)}.1",)
        assert headless[f"db.{name}.svc.cluster.local"]
    assert dict(table.aliases)["also.out.svc.cluster.local"] == "web.in.svc.cluster.local"
    assert "out.example.com" not in entries and "in.example.com" in entries


def test_addresses_stay_where_a_namespace_leaves_the_mesh(market):
    before = dict(dns_table(market).entries)
    MESH_CONFIG.set(market, "mesh", config_of("{}")[0])
    after = dict(dns_table(market).entries)
    assert {host: after[host] for host in before} == before


def test_a_label_brings_a_namespace_in(market):
    first = emitted(market)
    (space,) = decode("apiVersion: v1\nkind: Namespace\nmetadata: {name: out, labels: {mesh: 'in'}}\n", "f").objects
    OBJECTS.set(market, ref_of(space), space)
    assert is_discovered(market, "out") and any(b"out.example" in body for body in emitted(market).values())
    OBJECTS.remove(market, ref_of(space))
    assert not is_discovered(market, "out") and emitted(market) == first


def test_without_selectors_everything_counts(mesh):
    db = mesh(text(), config_of("{}")[0])
    assert {one.namespace for one in all_services(db)} == set(SPACES) and foreign_services(db) == ()
    assert any(b"out.example" in body for body in emitted(db).values())


def test_what_does_nothing_is_told_once_for_a_namespace(market):
    (found,) = [one for one in mesh_findings(market) if one.code == "LTN0225"]
    assert "`out`" in found.message and "and 2 more" in found.message and found.object.namespace == "out"


def test_selectors_that_select_nothing_and_a_root_left_out_are_told(mesh):
    root = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: istio-system}\nspec: {egress: [{hosts: ['./*']}]}\n"
    db = mesh(text() + root, config_of("discoverySelectors: [{matchLabels: {none: here}}]")[0])
    assert {one.code for one in mesh_findings(db)} >= {"LTN0226", "LTN0227"}
    assert is_discovered(db, "istio-system") and OBJECTS.keys(db, ("Sidecar",))
    labelled = mesh(text() + root + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {mesh: 'in'}}\n", config_of(SELECTORS)[0])
    assert not {one.code for one in mesh_findings(labelled)} & {"LTN0226", "LTN0227"}


def test_cluster_scoped_objects_are_of_no_namespace(market):
    assert OBJECTS.keys(market, (Namespace.__name__,)) and is_discovered(market, "")
