"""Listeners as bytes: what a change of a route does not touch, and what Envoy is told of TLS, logs and detection."""

from lateen.config.kinds.istio.mesh_config import AccessLogEncoding, MeshConfig
from lateen.config.store import OBJECTS, ref
from lateen.mesh.model import Locality
from lateen.mesh.view import ProxyType, ServiceTarget, View
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from lateen.wire.pb.envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from lateen.xds.extensions import secret_names, secret_resource
from lateen.xds.listeners import listener_names, listener_resource

MESH = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.7, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}, {name: any, port: 7000}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec: {hosts: [cart], http: [{route: [{destination: {host: cart}, weight: 100}]}]}
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: shop}
spec:
  selector: {app: cart}
  servers:
  - {port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: MUTUAL, credentialName: web, minProtocolVersion: TLSV1_3}}
  - {port: {number: 443, name: b, protocol: HTTPS}, hosts: [b.example.com], tls: {mode: SIMPLE, credentialName: gone}}
---
apiVersion: v1
kind: Secret
metadata: {name: web, namespace: shop}
stringData: {tls.crt: no certificate, tls.key: no key}
"""


def view(type_=ProxyType.SIDECAR):
    targets = (ServiceTarget("cart.shop.svc.cluster.local", "shop", 80, 8080), ServiceTarget("cart.shop.svc.cluster.local", "shop", 7000, 7000))
    return View(type_, "shop", "cart", (("app", "cart"),), "shop.svc.cluster.local", Locality(), "", "Kubernetes", True, False, targets)


def message(db, name, who=None):
    return listener_pb2.Listener.FromString(listener_resource(db, who or view(), name).body)


def manager(chain):
    return hcm.HttpConnectionManager.FromString(chain.filters[-1].typed_config.value)


def test_a_route_change_runs_no_listener_again(mesh):
    db = mesh(MESH)
    names = sorted(listener_names(db, view()))
    before = {name: listener_resource(db, view(), name).version for name in names}
    service = next(item for item in mesh_objects(db) if type(item).__name__ == "VirtualService")
    changed = service.__class__(meta=service.meta, spec=service.spec.__class__(hosts=service.spec.hosts))
    db.runs.clear()
    OBJECTS.set(db, ref(changed), changed)
    assert {name: listener_resource(db, view(), name).version for name in names} == before
    assert not {name: count for name, count in db.runs.items() if name.startswith("xds.listeners") or "tcp" in name}


def mesh_objects(db):
    return [OBJECTS.at(db, key) for kind in ("VirtualService", "Service") for key in OBJECTS.keys(db, (kind,))]


def test_inbound_mesh_tls_asks_for_a_certificate_of_the_trust_domain(mesh):
    chain = next(one for one in message(mesh(MESH), "virtualInbound").filter_chains if one.HasField("transport_socket"))
    context = tls_pb2.DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
    common = context.common_tls_context
    assert context.require_client_certificate.value
    assert list(common.alpn_protocols) == ["h2", "http/1.1"]
    assert common.tls_certificate_sds_secret_configs[0].sds_config.path_config_source.path
    names = common.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    assert [one.matcher.prefix for one in names] == ["spiffe://cluster.local/"]


def test_bytes_reach_the_application_after_the_handshake_only(mesh):
    chains = message(mesh(MESH), "virtualInbound").filter_chains
    modes = [(chain.HasField("transport_socket"), proxy.upstream_connect_mode, proxy.max_early_data_bytes.value) for chain, proxy in byte_chains(chains)]
    assert set(modes) == {(True, tcp_proxy_pb2.ON_DOWNSTREAM_TLS_HANDSHAKE, 65536), (False, tcp_proxy_pb2.IMMEDIATE, 0)}


def byte_chains(chains):
    last = [(chain, chain.filters[-1]) for chain in chains]
    return [(chain, tcp_proxy_pb2.TcpProxy.FromString(one.typed_config.value)) for chain, one in last if one.name == "envoy.filters.network.tcp_proxy"]


def test_detection_waits_a_moment_and_declared_ports_are_left_alone(mesh):
    inbound = message(mesh(MESH), "virtualInbound")
    assert (inbound.listener_filters_timeout.ToMilliseconds(), inbound.continue_on_listener_filters_timeout) == (200, True)
    http = inbound.listener_filters[-1]
    assert (http.name, http.filter_disabled.destination_port_range.start) == ("envoy.filters.listener.http_inspector", 8080)


def test_access_logs_are_written_where_the_mesh_says(mesh):
    assert not message(mesh(MESH), "0.0.0.0_80").access_log
    config = MeshConfig(access_log_file="/dev/stdout", access_log_encoding=AccessLogEncoding.JSON, access_log_format='{"a": {"b": "%PROTOCOL%"}}')
    found = message(mesh(MESH, config), "0.0.0.0_80")
    assert [one.name for one in found.access_log] == ["envoy.access_loggers.stdout"]
    assert [one.name for one in manager(found.filter_chains[0]).access_log] == ["envoy.access_loggers.stdout"]


def test_headers_about_the_client_are_the_gateways_own(mesh):
    chain = message(mesh(MESH + "---" + GATEWAY), "0.0.0.0_443", view(ProxyType.ROUTER)).filter_chains[0]
    found = manager(chain)
    assert found.use_remote_address.value
    assert found.forward_client_cert_details == hcm.HttpConnectionManager.SANITIZE_SET
    context = tls_pb2.DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
    assert context.common_tls_context.tls_params.tls_minimum_protocol_version == context.common_tls_context.tls_params.TLSv1_3


def test_a_bad_or_missing_secret_is_not_served(mesh):
    db = mesh(MESH + "---" + GATEWAY)
    assert secret_names(db, view(ProxyType.ROUTER)) == {"kubernetes://web", "kubernetes://web-cacert", "kubernetes://gone"}
    assert [secret_resource(db, view(ProxyType.ROUTER), name) for name in sorted(secret_names(db, view(ProxyType.ROUTER)))] == [None, None, None]
    assert secret_resource(db, view(), "kubernetes://bank/web") is None, "another namespace's"


def test_files_are_named_for_the_proxy_to_read(mesh):
    secret = secret_pb2.Secret.FromString(secret_resource(mesh(""), view(), "file-cert:/a.pem~/b.pem").body)
    assert (secret.tls_certificate.certificate_chain.filename, secret.tls_certificate.private_key.filename) == ("/a.pem", "/b.pem")
