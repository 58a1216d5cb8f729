"""Listeners as planned: which there are, and what their chains take and do."""

from dataclasses import replace

import pytest

from lateen.config.kinds.istio.mesh_config import MeshConfig, MeshOutboundMode, MeshOutboundPolicy
from lateen.mesh.inbound import inbound_ports
from lateen.mesh.model import Locality
from lateen.mesh.view import ProxyType, ServiceTarget, View
from lateen.plan.listener import HTTP_PROTOCOLS, MESH_ALPN, MESH_HTTP_ALPN, MESH_TCP_ALPN, RAW, TLS, Chain, ChainMatch, Http, Tcp, TcpTarget, unique_chains
from lateen.plan.listeners import listener, listener_names

CART = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.96.0.7
  selector: {app: cart}
  ports: [{name: http-web, port: 80, targetPort: 8080}, {name: tcp-db, port: 5432}, {name: any, port: 7000}, {name: tls-x, port: 9443}]
---
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec: {{hosts: [{host}], ports: [{{number: {port}, name: p, protocol: {protocol}}}], resolution: DNS}}
---
"""
MODE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: own, namespace: shop}}
spec: {{mtls: {{mode: {mode}}}}}
---
"""


def view(type_=ProxyType.SIDECAR, metadata=()):
    ports = ((80, 8080), (5432, 5432), (7000, 7000))
    targets = tuple(ServiceTarget("cart.shop.svc.cluster.local", "shop", number, port) for number, port in ports)
    return View(type_, "shop", "cart", (("app", "cart"),), "shop.svc.cluster.local", Locality(), "", "Kubernetes", True, False, targets, metadata=metadata)


def matches(plan):
    return [(chain.match.transport, chain.match.protocols, bool(chain.tls), type(chain.does).__name__) for chain in plan]


def at(plan, port):
    return [chain for chain in plan.chains if chain.match.port == port]


def test_http_ports_share_the_wildcard_and_others_sit_at_the_service(mesh):
    assert listener_names(mesh(CART), view()) == {
        "0.0.0.0_80",
        "10.96.0.7_5432",
        "10.96.0.7_7000",
        "10.96.0.7_9443",
        "virtualInbound",
        "virtualOutbound",
    }


def test_what_an_http_port_cannot_read_goes_where_unknown_traffic_goes(mesh):
    plan = listener(mesh(CART), view(), "0.0.0.0_80")
    assert matches(plan.chains) == [(RAW, ("http/1.0", *HTTP_PROTOCOLS), False, "Http")]
    assert plan.chains[0].does.route == "80"
    assert plan.fallback.does.targets == (TcpTarget("PassthroughCluster"),)
    closed = MeshConfig(outbound_traffic_policy=MeshOutboundPolicy(mode=MeshOutboundMode.REGISTRY_ONLY))
    assert listener(mesh(CART, closed), view(), "0.0.0.0_80").fallback.does.targets == (TcpTarget("BlackHoleCluster"),)


def test_a_detected_port_offers_the_version_of_http_it_was_spoken_to_in(mesh):
    plan = listener(mesh(CART), view(), "10.96.0.7_7000")
    assert [(chain.match.protocols, chain.does.route, chain.does.alpn) for chain in plan.chains] == [
        (("http/1.1",), "cart.shop.svc.cluster.local:7000", "istio-http/1.1,istio"),
        (("h2c",), "cart.shop.svc.cluster.local:7000", "istio-h2,istio"),
    ]
    assert plan.fallback.does.targets == (TcpTarget("outbound|7000||cart.shop.svc.cluster.local"),)


def test_a_declared_tcp_port_is_not_looked_into(mesh):
    plan = listener(mesh(CART), view(), "10.96.0.7_5432")
    assert (plan.inspects_http, plan.inspects_tls, matches(plan.chains)) == (False, False, [("", (), False, "Tcp")])


def test_tls_services_without_address_are_told_apart_by_server_name(mesh):
    entries = [ENTRY.format(name=name, host=f"{name}.example.com", port=443, protocol="TLS") for name in ("a", "b")]
    plan = listener(mesh("".join(entries)), view(), "0.0.0.0_443")
    assert [(chain.match.server_names, chain.does.targets[0].cluster) for chain in plan.chains] == [
        (("a.example.com",), "outbound|443||a.example.com"),
        (("b.example.com",), "outbound|443||b.example.com"),
    ]
    assert plan.inspects_tls


HTTP_TLS, TCP_TLS = (TLS, MESH_HTTP_ALPN, True, "Http"), (TLS, MESH_TCP_ALPN, True, "Tcp")
RAW_HTTP, RAW_TCP, FOREIGN = (RAW, HTTP_PROTOCOLS, False, "Http"), (RAW, (), False, "Tcp"), (TLS, (), False, "Tcp")


@pytest.mark.parametrize(
    ("mode", "port", "expected"),
    [
        ("PERMISSIVE", 8080, [(TLS, MESH_ALPN, True, "Http"), (RAW, (), False, "Http")]),
        ("PERMISSIVE", 5432, [(TLS, MESH_ALPN, True, "Tcp"), FOREIGN, RAW_TCP]),
        ("PERMISSIVE", 7000, [HTTP_TLS, RAW_HTTP, TCP_TLS, RAW_TCP, FOREIGN]),
        ("STRICT", 8080, [(TLS, (), True, "Http")]),
        ("STRICT", 5432, [(TLS, (), True, "Tcp")]),
        ("STRICT", 7000, [HTTP_TLS, (TLS, (), True, "Tcp")]),
        ("DISABLE", 8080, [("", (), False, "Http")]),
        ("DISABLE", 5432, [("", (), False, "Tcp")]),
        ("DISABLE", 7000, [RAW_HTTP, RAW_TCP, FOREIGN]),
    ],
)
def test_inbound_chains_of_a_port(mesh, mode, port, expected):
    plan = listener(mesh(CART + MODE.format(mode=mode)), view(), "virtualInbound")
    assert matches(at(plan, port)) == expected
    assert at(plan, 15006)[0].does.targets == (TcpTarget("BlackHoleCluster"),)


def test_ports_no_service_has_pass_through_under_the_workloads_mode(mesh):
    plan = listener(mesh(CART + MODE.format(mode="STRICT")), view(), "virtualInbound")
    assert matches(at(plan, 0)) == [HTTP_TLS, (TLS, (), True, "Tcp")]


def test_without_capture_nothing_inbound_is_opened_for_the_whole_pod(mesh):
    names = listener_names(mesh(CART), view(metadata=(("INTERCEPTION_MODE", "NONE"),)))
    assert "virtualInbound" not in names
    assert "127.0.0.1_5432_bound" in names


def test_without_capture_the_application_is_at_the_loopback_address(mesh):
    """The proxy has the workload's own address; where that is the loopback address, it would call itself."""
    none = (("INTERCEPTION_MODE", "NONE"),)
    db = mesh(CART)
    ours = replace(view(metadata=none), addresses=("10.9.0.1",))
    assert {(one.port, one.endpoint) for one in inbound_ports(db, ours)} == {(8080, "127.0.0.1:8080"), (5432, "127.0.0.1:5432"), (7000, "127.0.0.1:7000")}
    assert "10.9.0.1_8080_bound" in listener_names(db, ours)
    assert {one.endpoint for one in inbound_ports(db, replace(ours, addresses=("fd00::1",)))} == {"[::1]:8080", "[::1]:5432", "[::1]:7000"}
    for address in ("127.0.0.1", "::1", "no-address"):
        assert {one.endpoint for one in inbound_ports(db, replace(ours, addresses=(address,)))} == {""}
    assert {one.endpoint for one in inbound_ports(db, replace(ours, metadata=()))} == {""}, "captured traffic goes on as it was addressed"


SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: own, namespace: shop}
spec: {egress: [{port: {number: 80, protocol: HTTP, name: http}, bind: 127.0.0.3, hosts: ["./*"]}, {hosts: ["./*"]}]}
"""


def test_an_http_port_apart_from_the_wildcard_takes_all_that_comes(mesh):
    plan = listener(mesh(CART + SIDECAR), view(), "127.0.0.3_80")
    assert plan.chains == ()
    assert isinstance(plan.fallback.does, Http) and plan.fallback.match == ChainMatch()
    assert not plan.inspects_http


@pytest.mark.parametrize(("protocol", "is_there"), [("TCP", True), ("REDIS", True), ("MONGO", False), ("MYSQL", False)])
def test_where_servers_speak_first_no_other_protocol_shares_the_port(mesh, protocol, is_there):
    plan = listener(mesh(CART + ENTRY.format(name="db", host="db.example.com", port=80, protocol=protocol)), view(), "0.0.0.0_80")
    targets = plan.fallback.does.targets
    assert targets == (TcpTarget("outbound|80||db.example.com" if is_there else "PassthroughCluster"),)
    assert [chain.does.route for chain in plan.chains] == ["80"]


def test_a_proxy_that_shares_its_machine_opens_what_is_written_and_its_http_proxy(mesh):
    outside = (("HTTP_PROXY_PORT", "3128"), ("INTERCEPTION_MODE", "NONE"), ("OUTBOUND_LISTENERS", "WRITTEN"))
    shared = replace(view(metadata=outside), addresses=("10.9.0.1",))
    inbound = {"10.9.0.1_8080_bound", "10.9.0.1_5432_bound", "10.9.0.1_7000_bound"}
    assert listener_names(mesh(CART), shared) == inbound | {"127.0.0.1_3128_bound"}
    assert listener_names(mesh(CART + SIDECAR), shared) == inbound | {"127.0.0.1_3128_bound", "127.0.0.3_80_bound"}
    proxy = listener(mesh(CART), shared, "127.0.0.1_3128_bound")
    assert isinstance(proxy.chains[0].does, Http)
    assert proxy.chains[0].does.is_proxy
    for nonsense in ("0", "70000", "x", "-1", "15021"):
        assert listener_names(mesh(CART), replace(shared, metadata=(("HTTP_PROXY_PORT", nonsense), *outside[1:]))) == inbound


def test_equal_matches_are_left_out_and_server_names_belong_to_the_first():
    to = Tcp((TcpTarget("x"),))
    chains = [Chain(ChainMatch(server_names=("a", "b")), to), Chain(ChainMatch(server_names=("b", "c")), to), Chain(ChainMatch(server_names=("a",)), to)]
    assert [chain.match.server_names for chain in unique_chains(chains)] == [("a", "b"), ("c",)]


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g, namespace: shop}}
spec: {{selector: {{app: cart}}, servers: {servers}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: shop}}
spec:
  hosts: ['*.example.com']
  gateways: [g]
  http: [{{route: [{{destination: {{host: cart, port: {{number: 80}}}}}}]}}]
  tcp: [{{route: [{{destination: {{host: cart, port: {{number: 5432}}}}}}]}}]
  tls: [{{match: [{{sniHosts: [p.example.com]}}], route: [{{destination: {{host: cart, port: {{number: 9443}}}}}}]}}]
"""


@pytest.mark.parametrize(
    ("server", "names", "cluster_or_route"),
    [
        ("{port: {number: 1, name: h, protocol: HTTP}, hosts: ['*']}", (), "http.1"),
        (
            "{port: {number: 1, name: h, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: SIMPLE, credentialName: c}}",
            ("a.example.com",),
            "https.1.h.g.shop",
        ),
        ("{port: {number: 1, name: t, protocol: TCP}, hosts: ['*']}", (), "outbound|5432||cart.shop.svc.cluster.local"),
        (
            "{port: {number: 1, name: t, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}",
            ("p.example.com",),
            "outbound|9443||cart.shop.svc.cluster.local",
        ),
        (
            "{port: {number: 1, name: t, protocol: TLS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}",
            (),
            "outbound|5432||cart.shop.svc.cluster.local",
        ),
    ],
)
def test_gateway_chains(mesh, server, names, cluster_or_route):
    (chain,) = listener(mesh(CART + GATEWAY.format(servers=f"[{server}]")), view(ProxyType.ROUTER), "0.0.0.0_1").chains
    assert chain.match.server_names == names
    assert (chain.does.route if isinstance(chain.does, Http) else chain.does.targets[0].cluster) == cluster_or_route


def test_auto_passthrough_has_a_chain_for_each_service_port(mesh):
    server = "{port: {number: 1, name: t, protocol: TLS}, hosts: ['*.shop.svc.cluster.local'], tls: {mode: AUTO_PASSTHROUGH}}"
    plan = listener(mesh(CART + GATEWAY.format(servers=f"[{server}]")), view(ProxyType.ROUTER), "0.0.0.0_1")
    assert [chain.match.server_names for chain in plan.chains] == [(f"outbound_.{port}_._.cart.shop.svc.cluster.local",) for port in (80, 5432, 7000, 9443)]


def test_no_two_listeners_have_one_address(mesh):
    two = [
        ENTRY.format(name=name, host=f"{name}.example.com", port=9999, protocol="TCP").replace("spec: {", f"spec: {{addresses: [{addresses}], ")
        for name, addresses in (("a", "1.1.1.1"), ("b", "'2.2.2.2', '1.1.1.1', '3.3.3.3'"))
    ]
    db = mesh("".join(two))
    assert [listener(db, view(), name).addresses for name in ("1.1.1.1_9999", "2.2.2.2_9999")] == [("1.1.1.1",), ("2.2.2.2", "3.3.3.3")]
