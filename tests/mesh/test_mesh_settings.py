"""Fields of the mesh configuration that decide what proxies see and speak, and what is told of those that come to nothing."""

import pytest

from lateen.config.decode import decode
from lateen.config.defaults import mesh_config_of
from lateen.config.validate import validate
from lateen.mesh.ingress import ingress_gateways
from lateen.mesh.projection import view_of
from lateen.mesh.service_entries import entry_services
from lateen.mesh.settings_findings import findings
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2 as forward_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from lateen.wire.pb.envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: NAME, labels: LABELS}\n---\n"
ENTRY = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: NAME}
spec: {hosts: [NAME.example.com], exportTo: TO, ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
"""
INGRESS = (
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i, namespace: a, annotations: {kubernetes.io/ingress.class: istio}}\nspec: {rules: []}\n"
)


def config_of(text):
    """The mesh configuration, and all that is told of it alone."""
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    (item,) = decode(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n{indented}\n", "f").objects
    return mesh_config_of(item)[0], [str(one.message) for one in validate(item)]


def entry(name, to="[]", labels="{}"):
    return NAMESPACE.replace("NAME", name).replace("LABELS", labels) + ENTRY.replace("NAME", name).replace("TO", to)


VISIBILITY = """serviceEntryVisibility:
  applyToSidecars: APPLY
  defaultVisibility: DEFAULT
  policies:
  - {visibility: PUBLIC, matchingRules: [{namespaceSelector: {matchLabels: {open: "yes"}}}, {namespaceSelector: {matchExpressions: [{key: tier, operator: Exists}]}}]}
  - {visibility: NONE, matchingRules: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: dark}}}]}
  - {visibility: NONE, matchingRules: [{}]}
"""


@pytest.mark.parametrize(
    "name, labels, to, default, apply, seen",
    [
        ("a", "{open: 'yes', tier: x}", "[]", "NAMESPACE", "true", {"*"}),
        ("a", "{open: 'yes'}", "[]", "NAMESPACE", "true", {"a"}),  # one rule of two is not enough
        ("a", "{}", "[b, a]", "NAMESPACE", "true", {"a"}),
        ("a", "{}", "[b]", "NAMESPACE", "true", {"~"}),  # what is allowed and what is said have nothing in common
        ("a", "{}", "[b]", "PUBLIC", "true", {"b"}),
        ("a", "{}", "['~']", "PUBLIC", "true", {"~"}),
        ("dark", "{}", "['*']", "PUBLIC", "true", {"~"}),  # by the label that every namespace has
        ("dark", "{}", "['*']", "PUBLIC", "false", {"*"}),
        ("a", "{}", "[b]", "VISIBILITY_UNSPECIFIED", "true", {"b"}),
    ],
)
def test_visibility_caps_what_entries_say(mesh, name, labels, to, default, apply, seen):
    config, _ = config_of(VISIBILITY.replace("DEFAULT", default).replace("APPLY", apply))
    db = mesh(entry(name, to, labels), config)
    (found,) = entry_services(db, name, "out")
    assert found.export_to == seen
    assert [one.code for one in findings(db)] == ([] if apply == "true" else ["LTN0224"])


@pytest.mark.parametrize(
    "text, label",
    [
        ("ingressSelector: one", "one"),
        ("{}", "ingressgateway"),
        ("{ingressSelector: '', ingressService: two}", "two"),
        ("{ingressSelector: '', ingressService: istio-ingressgateway}", "ingressgateway"),
        ("{ingressSelector: '', ingressService: ''}", "ingressgateway"),
        ("{ingressSelector: one, ingressService: two}", "one"),
    ],
)
def test_ingresses_are_served_by_the_gateways_of_selector_or_service(mesh, text, label):
    (gateway,) = ingress_gateways(mesh(INGRESS, config_of(text)[0]))
    assert gateway.spec.selector == {"istio": label}


def unknown_hosts(db, kind=ProxyType.SIDECAR):
    view = view_of(db, Proxy(kind, "w.a", "a", addresses=("10.1.0.1",)))
    assert ("AllowAnyDynamicDNSCluster" in resource_names(db, view, ResourceType.CLUSTER)) == (kind is ProxyType.SIDECAR)
    message = cluster_pb2.Cluster.FromString(resource(db, view, ResourceType.CLUSTER, "AllowAnyDynamicDNSCluster").body)
    forward, tls, options = forward_pb2.ClusterConfig(), tls_pb2.UpstreamTlsContext(), http_protocol_options_pb2.HttpProtocolOptions()
    message.cluster_type.typed_config.Unpack(forward)
    message.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].Unpack(options)
    message.transport_socket.typed_config.Unpack(tls)
    upstream = options.upstream_http_protocol_options
    return message.transport_socket.name, tls, (upstream.auto_sni, upstream.auto_san_validation), forward.allow_insecure_cluster_options


@pytest.mark.parametrize(
    "tls, name, follows, sni, told",
    [
        ("{mode: DISABLE}", "", (False, False), "", []),
        ("{mode: SIMPLE}", "envoy.transport_sockets.tls", (True, True), "", []),
        ("{mode: SIMPLE, sni: x.example.com}", "envoy.transport_sockets.tls", (False, False), "x.example.com", []),
        ("{mode: SIMPLE, insecureSkipVerify: true}", "envoy.transport_sockets.tls", (True, False), "", []),
        ("{mode: SIMPLE, subjectAltNames: [y]}", "envoy.transport_sockets.tls", (True, False), "", []),
        ("{mode: ISTIO_MUTUAL}", "envoy.transport_sockets.tls", (True, True), "", []),
        ("{mode: SIMPLE, credentialName: c}", "", (False, False), "", ["LTN0223"]),
        ("{mode: MUTUAL, clientCertificate: /c}", "", (False, False), "", ["LTN0223"]),
        ("{mode: MUTUAL, clientCertificate: /c, privateKey: /k}", "envoy.transport_sockets.tls", (True, True), "", []),
    ],
)
def test_unknown_hosts_are_spoken_to_with_the_mesh_s_tls(mesh, tls, name, follows, sni, told):
    db = mesh("", config_of(f"outboundTrafficPolicy: {{mode: ALLOW_ANY_DYNAMIC_DNS, tls: {tls}}}")[0])
    socket, context, found, is_insecure = unknown_hosts(db)
    assert (socket, found, context.sni) == (name, follows, sni)
    assert is_insecure == (follows != (True, True))
    assert [one.code for one in findings(db)] == told


def test_tls_to_unknown_hosts_needs_its_mode(mesh):
    (found,) = findings(mesh("", config_of("outboundTrafficPolicy: {mode: ALLOW_ANY, tls: {mode: SIMPLE}}")[0]))
    assert found.code == "LTN0223" and "ALLOW_ANY_DYNAMIC_DNS" in found.message


def test_selectors_that_nothing_meets_are_told():
    text = "serviceEntryVisibility: {policies: [{matchingRules: [{namespaceSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}, {key: a, operator: In}]}}]}]}"
    _, told = config_of(text)
    at = "serviceEntryVisibility.policies[0].matchingRules[0].namespaceSelector.matchExpressions"
    assert [one for one in told if one.startswith(at)] == [
        f"{at}[0].operator: no operator (In, NotIn, Exists, DoesNotExist): `Is`",
        f"{at}[1].values: In needs values",
    ]


@pytest.mark.parametrize(
    "kind, said, listener, cluster",
    [
        (ProxyType.SIDECAR, "{}", 0, 0),
        (ProxyType.SIDECAR, "{profile: EDGE}", 0, 0),
        (ProxyType.ROUTER, "{profile: EDGE}", 32768, 32768),
        (ProxyType.ROUTER, "{profile: EDGE, clusterPerConnectionBufferLimitBytes: 70000}", 32768, 70000),
        (ProxyType.SIDECAR, "{listenerPerConnectionBufferLimitBytes: 4096, clusterPerConnectionBufferLimitBytes: 8192}", 4096, 8192),
        (ProxyType.SIDECAR, "{listenerPerConnectionBufferLimitBytes: -1, clusterPerConnectionBufferLimitBytes: -5, httpIdleTimeout: -3s}", 0, 0),
    ],
)
def test_buffers_of_connections(mesh, kind, said, listener, cluster):
    config, told = config_of(f"defaultConfig: {{connectionSettings: {said}}}")
    gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: a}\nspec: {servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}]}"
    db = mesh(f"{entry('a')}{gateway}", config)
    view = view_of(db, Proxy(kind, "w.a", "a", addresses=("10.1.0.1",)))
    found = {}
    for type_ in (ResourceType.LISTENER, ResourceType.CLUSTER):
        bodies = [resource(db, view, type_, name) for name in resource_names(db, view, type_)]
        parsed = [cluster_pb2.Cluster.FromString(one.body) if type_ is ResourceType.CLUSTER else listener_of(one.body) for one in bodies]
        assert all(one.name == made.name for one, made in zip(parsed, bodies, strict=True))
        found[type_] = {one.per_connection_buffer_limit_bytes.value for one in parsed}
    assert found == {ResourceType.LISTENER: {listener}, ResourceType.CLUSTER: {cluster}}
    assert len([one for one in told if "must not be negative" in one]) == said.count("-")


def listener_of(body):
    from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2

    return listener_pb2.Listener.FromString(body)


def addresses(db, metadata=(), port=15101):
    """(listener, port, port of its loop's chain) of where redirected connections come in, and whether an outbound listener is at `port`."""
    view = view_of(db, Proxy(ProxyType.SIDECAR, "w.a", "a", addresses=("10.1.0.1",), metadata=metadata))
    found = {name: listener_of(resource(db, view, ResourceType.LISTENER, name).body) for name in resource_names(db, view, ResourceType.LISTENER)}
    captured = [found["virtualOutbound"], found["virtualInbound"]]
    loops = [one.filter_chains[0].filter_chain_match.destination_port.value for one in captured]
    return [one.address.socket_address.port_value for one in captured], loops, f"0.0.0.0_{port}" in found


@pytest.mark.parametrize(
    "text, metadata, ports, told",
    [
        ("{}", (), [15001, 15006], 0),
        ("{proxyListenPort: 15101, proxyInboundListenPort: 15106}", (), [15101, 15106], 0),
        ("{proxyListenPort: 15101}", (("OUTBOUND_LISTEN_PORT", "15201"), ("INBOUND_LISTEN_PORT", "15206")), [15201, 15206], 0),  # its pod's rules are older
        ("{proxyListenPort: 70000}", (), [15001, 15006], 1),
        ("{proxyListenPort: 15021}", (), [15001, 15006], 1),
        ("{proxyListenPort: 15101, proxyInboundListenPort: 15101}", (), [15001, 15006], 1),
    ],
)
def test_where_redirected_connections_come_in(mesh, text, metadata, ports, told):
    config, findings_of = config_of(text)
    entries = entry("a") + "".join(entry("b").replace("number: 80", f"number: {port}").replace("name: out", f"name: b{port}") for port in (15001, 15101))
    found, loops, is_listening = addresses(mesh(entries, config), metadata)
    assert (found, loops) == (ports, ports)
    assert is_listening == (15101 not in ports)  # a service's port is its listener's, but where the proxy takes what is redirected
    assert len([one for one in findings_of if "ListenPort" in one]) == told


@pytest.mark.parametrize("mode, filters", [("ALLOW_ANY", []), ("ALLOW_ANY_DYNAMIC_DNS", ["original_dst", "tls_inspector", "http_inspector"])])
def test_where_a_client_goes_is_found_out_before_it_may_say_nothing(mesh, mode, filters):
    """A connection whose first bytes are waited for in vain goes on without the filters that are left: to where the client went, or nowhere."""
    db = mesh(entry("a"), config_of(f"outboundTrafficPolicy: {{mode: {mode}}}")[0])
    view = view_of(db, Proxy(ProxyType.SIDECAR, "w.a", "a", addresses=("10.1.0.1",)))
    found = listener_of(resource(db, view, ResourceType.LISTENER, "virtualOutbound").body)
    assert [one.name.rpartition(".")[2] for one in found.listener_filters] == filters
