"""Which services a workload sees: exportTo, Sidecars, one service for each host."""

from lateen.mesh.model import Labels, Locality
from lateen.mesh.sidecar_findings import findings
from lateen.mesh.view import ProxyType, View
from lateen.mesh.virtual_services import imported_claims
from lateen.mesh.visibility import egress_listeners, outbound_policy, scope, service_seen, visible_services

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}, annotations: {annotations}}}
spec: {{clusterIP: {ip}, ports: [{{name: http, port: 80}}, {{name: tcp, port: 9000}}], selector: {{app: x}}}}
---
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{hosts: [{host}], ports: [{{number: {port}, name: http, protocol: HTTP}}], resolution: DNS}}
---
"""
SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
---
"""
VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec: {hosts: [cart], http: [{route: [{destination: {host: till.bank.svc.cluster.local, port: {number: 9000}}}]}]}
---
"""


def service(name, namespace, annotations="{}", ip="10.96.0.1"):
    return SERVICE.format(name=name, namespace=namespace, annotations=annotations, ip=ip)


def view(namespace, labels: Labels = (), type_=ProxyType.SIDECAR):
    return View(type_, namespace, "default", labels, f"{namespace}.svc.cluster.local", Locality(), "", "Kubernetes", True, False)


def hosts(db, who):
    return [one.hostname.removesuffix(".svc.cluster.local") for one in visible_services(db, who)]


SHOP = service("cart", "shop") + service("till", "bank", ip="10.96.0.2") + service("safe", "bank", '{networking.istio.io/exportTo: "."}', "10.96.0.3")


def test_everything_exported_is_seen(mesh):
    assert hosts(mesh(SHOP), view("shop")) == ["cart.shop", "till.bank"]
    assert hosts(mesh(SHOP), view("bank")) == ["safe.bank", "cart.shop", "till.bank"]


def test_a_sidecar_narrows_what_is_seen(mesh):
    text = SHOP + SIDECAR.format(name="all", namespace="shop", spec="{egress: [{hosts: ['./*']}]}")
    assert hosts(mesh(text), view("shop")) == ["cart.shop"]
    assert hosts(mesh(text), view("shop", type_=ProxyType.ROUTER)) == ["cart.shop", "till.bank"], "no Sidecar concerns a gateway"
    text += SIDECAR.format(name="some", namespace="shop", spec="{workloadSelector: {labels: {app: x}}, egress: [{hosts: ['bank/*']}]}")
    assert hosts(mesh(text), view("shop", (("app", "x"),))) == ["till.bank"]


def test_a_sidecar_excludes_hosts_of_one_namespace_or_of_all(mesh):
    def seen(*entries):
        text = SHOP + SIDECAR.format(name="all", namespace="shop", spec=f"{{egress: [{{hosts: {list(entries)}}}]}}")
        return hosts(mesh(text), view("shop"))

    assert seen("*/*") == ["cart.shop", "till.bank"]
    assert seen("*/*", "~bank/*") == ["cart.shop"]
    assert seen("*/*", "~./*") == ["till.bank"]
    assert seen("~/*.bank.svc.cluster.local", "*/*") == ["cart.shop"]
    assert seen("*/*", "~shop/till.bank.svc.cluster.local") == ["cart.shop", "till.bank"]
    assert seen("*/*", "~/*") == []


def test_routes_for_excluded_hosts_alone_are_not_imported(mesh):
    def claimed(*entries):
        db = mesh(SHOP + VIRTUAL_SERVICE + SIDECAR.format(name="all", namespace="shop", spec=f"{{egress: [{{hosts: {list(entries)}}}]}}"))
        return [one.origin.name for one in imported_claims(db, "shop", egress_listeners(db, view("shop"))[0].imports)]

    assert claimed("*/*") == ["cart"]
    assert claimed("*/*", "~bank/*") == ["cart"]
    assert claimed("*/*", "~/cart.shop.svc.cluster.local") == []


def test_the_root_namespaces_sidecar_is_the_last_resort(mesh):
    text = SHOP + SIDECAR.format(name="wide", namespace="istio-system", spec="{egress: [{hosts: ['*/till.bank.svc.cluster.local']}]}")
    assert hosts(mesh(text), view("shop")) == ["till.bank"]


def test_destinations_of_imported_routes_are_seen_with_their_ports(mesh):
    db = mesh(SHOP + VIRTUAL_SERVICE + SIDECAR.format(name="all", namespace="shop", spec="{egress: [{hosts: ['./*']}]}"))
    assert hosts(db, view("shop")) == ["cart.shop", "till.bank"]
    assert [port.number for port in service_seen(db, scope(db, view("shop")), "till.bank.svc.cluster.local").ports] == [9000]
    assert [one.hostname for listener in egress_listeners(db, view("shop")) for one in listener.services] == ["cart.shop.svc.cluster.local"]


def test_an_egress_listener_has_the_services_of_its_port(mesh):
    egress = "{egress: [{port: {number: 9000, protocol: TCP, name: t}, hosts: ['./*']}, {hosts: ['bank/*']}]}"
    listeners = egress_listeners(mesh(SHOP + SIDECAR.format(name="all", namespace="shop", spec=egress)), view("shop"))
    assert [(one.port.number if one.port else None, [(s.name, [p.number for p in s.ports]) for s in one.services]) for one in listeners] == [
        (9000, [("cart", [9000])]),
        (None, [("till", [80, 9000])]),
    ]


def test_one_namespace_has_a_host(mesh):
    text = ENTRY.format(name="a", namespace="bank", host="api.example.com", port=80) + ENTRY.format(name="b", namespace="shop", host="api.example.com", port=81)
    db = mesh(text)
    assert service_seen(db, scope(db, view("shop")), "api.example.com").namespace == "shop"
    assert service_seen(db, scope(db, view("other")), "api.example.com").namespace == "bank"


def test_who_may_leave_the_mesh(mesh):
    db = mesh(SIDECAR.format(name="all", namespace="shop", spec="{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))
    assert not outbound_policy(db, view("shop")).is_open
    assert outbound_policy(db, view("bank")).is_open


def test_sidecars_without_effect_and_imports_of_nothing_are_told(mesh):
    spec = "{egress: [{hosts: ['./*', bank/till.bank.svc.cluster.local, ./till.shop.svc.cluster.local, '~/*']}]}"
    text = SHOP + SIDECAR.format(name="a", namespace="shop", spec=spec) + SIDECAR.format(name="b", namespace="shop", spec=spec)
    found = [(one.code, one.object.name, one.field) for one in findings(mesh(text))]
    missing = "spec.egress[0].hosts[2]"
    assert found == [("IST0101", "a", missing), ("IST0111", "b", "spec.workloadSelector"), ("IST0101", "b", missing)]
