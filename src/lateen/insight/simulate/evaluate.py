"""One call against everything a proxy gets: listener, filter chain, virtual host, route, cluster, or a typed reason why not.

Called by `answer`, and by whatever explains a request. No I/O; reads nothing but the decoded resources.
"""

from dataclasses import dataclass

from google.protobuf.message import Message

from lateen.insight.simulate.call import Call, ClientTls, Outcome, Speech
from lateen.insight.simulate.connection import connection, filter_chain, listener_for
from lateen.insight.simulate.emitted import Chain, Emitted, RouteMatchFound
from lateen.insight.simulate.paths import NormalizedPath, normalized
from lateen.insight.simulate.routing import Request, Unsupported, route_for, virtual_host, without_port
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from lateen.wire.pb.envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2
from lateen.wire.pb.envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import tls_pb2

MESH_CERTIFICATE = "default"


@dataclass(frozen=True)
class Result:
    """The answer to one call. `clusters`: (name, weight); one for CLUSTER, none where it goes nowhere. `virtual_host`: None where none was chosen.

    `chain`, `manager`, `route`, `tcp_proxy`: what decided it; None where the call did not come so far. `reason`: for a person, may be empty."""

    outcome: Outcome
    clusters: tuple[tuple[str, int], ...] = ()
    chain: Chain | None = None
    manager: hcm_pb2.HttpConnectionManager | None = None
    route_config: str | None = None
    virtual_host: str | None = None
    route: RouteMatchFound | None = None
    tcp_proxy: tcp_proxy_pb2.TcpProxy | None = None
    requires_client_certificate: bool = False
    reason: str = ""


def evaluate(emitted: Emitted, call: Call) -> Result:
    """What becomes of the call. Never raises for a configuration it does not know: outcome UNSUPPORTED."""
    listener = listener_for(emitted, call)
    if listener is None:
        return Result(Outcome.NO_LISTENER)
    if listener.message.HasField("filter_chain_matcher"):
        return Result(Outcome.UNSUPPORTED, reason="Listener.filter_chain_matcher")
    seen = connection(listener, call)
    chain = filter_chain(listener, seen)
    if chain is None:
        return Result(Outcome.NO_FILTER_CHAIN)
    if refusal := _handshake(chain, call):
        return Result(refusal, chain=chain)
    try:
        return _through(emitted, chain, call, seen.server_name)
    except Unsupported as error:
        return Result(Outcome.UNSUPPORTED, chain=chain, reason=error.what)


def _handshake(chain: Chain, call: Call) -> Outcome | None:
    """How the transport socket ends the connection. None: it does not."""
    if chain.tls is None:
        return None
    if call.tls is ClientTls.PLAINTEXT:
        return Outcome.TLS_ERROR
    if chain.tls.require_client_certificate.value:
        return Outcome.MTLS_ERROR if call.tls is ClientTls.TLS else None
    if call.tls is ClientTls.MTLS and call.alpn.startswith("istio") and not _is_mesh(chain.tls):
        return Outcome.MTLS_ERROR  # the client expects a mesh identity and gets another certificate
    return None


def _is_mesh(tls: tls_pb2.DownstreamTlsContext) -> bool:
    return any(one.name == MESH_CERTIFICATE for one in tls.common_tls_context.tls_certificate_sds_secret_configs)


def _through(emitted: Emitted, chain: Chain, call: Call, server_name: str) -> Result:
    """Past the transport: the network filters, in order, to the one that ends them."""
    required = chain.tls is not None and chain.tls.require_client_certificate.value and not _is_mesh(chain.tls)
    takes_server_name = False
    for name, message in chain.filters:
        if isinstance(message, hcm_pb2.HttpConnectionManager):
            return _http(emitted, chain, message, call, required)
        if isinstance(message, tcp_proxy_pb2.TcpProxy):
            return _tcp(chain, message, server_name if takes_server_name else "", required)
        if isinstance(message, sni_cluster_pb2.SniCluster):
            takes_server_name = True
        elif not _passes(name, message):
            raise Unsupported(name)
    return Result(Outcome.NO_FILTER_CHAIN, chain=chain, reason="the chain has no filter that forwards")


PASSING = (
    "envoy.extensions.filters.network.rbac.",
    "envoy.extensions.filters.network.ext_authz.",
    "envoy.extensions.filters.network.mongo_proxy.",
    "envoy.extensions.filters.network.set_filter_state.",
    "envoy.extensions.filters.network.sni_dynamic_forward_proxy.",
    "envoy.extensions.filters.network.local_ratelimit.",
    "envoy.extensions.filters.network.ratelimit.",
    "envoy.extensions.filters.network.connection_limit.",
    "envoy.extensions.filters.network.wasm.",
)
"""Network filters that let bytes through to the next one: the simulator decides routing, not policy."""


def _passes(name: str, message: Message) -> bool:
    return message.DESCRIPTOR.full_name.startswith(PASSING)


def _tcp(chain: Chain, proxy: tcp_proxy_pb2.TcpProxy, server_name: str, required: bool) -> Result:
    if server_name:
        clusters: tuple[tuple[str, int], ...] = ((server_name, 1),)
    elif proxy.WhichOneof("cluster_specifier") == "weighted_clusters":
        clusters = tuple((one.name, one.weight) for one in proxy.weighted_clusters.clusters)
    else:
        clusters = ((proxy.cluster, 1),)
    outcome = Outcome.WEIGHTED_CLUSTERS if proxy.HasField("weighted_clusters") and not server_name else Outcome.CLUSTER
    return Result(outcome, clusters, chain=chain, tcp_proxy=proxy, requires_client_certificate=required)


def _http(emitted: Emitted, chain: Chain, manager: hcm_pb2.HttpConnectionManager, call: Call, required: bool) -> Result:
    """Through an HTTP connection manager."""
    ends_tls = chain.tls is not None
    if call.speech is Speech.TCP or (call.tls is not ClientTls.PLAINTEXT and not ends_tls):
        return Result(Outcome.PROTOCOL_ERROR, chain=chain, requires_client_certificate=required)
    at = Result(Outcome.NO_VIRTUAL_HOST, chain=chain, manager=manager, requires_client_certificate=required)
    if manager.HasField("scoped_routes"):
        raise Unsupported("HttpConnectionManager.scoped_routes")
    config = emitted.route_config(manager)
    if config is None:
        return _with(at, route_config=manager.rds.route_config_name, reason="the route configuration does not exist")
    request, path = _request(manager, call, ends_tls)
    at = _with(at, route_config=config.name)
    if path is not NormalizedPath.KEPT:
        raise Unsupported("HttpConnectionManager.path_with_escaped_slashes_action")
    chosen = virtual_host(config, request.headers[":authority"])
    if chosen is None:
        return at
    at = _with(at, virtual_host=chosen.name)
    if _needs_tls(chosen, request):
        return _with(at, outcome=Outcome.TLS_REDIRECT)
    found = route_for(config, chosen, request)
    if found is None:
        return _with(at, outcome=Outcome.NO_ROUTE)
    return _acted(_with(at, route=found), found.route, request)


def _with(result: Result, **fields: object) -> Result:
    from dataclasses import replace

    return replace(result, **fields)  # type: ignore[arg-type]


def _needs_tls(chosen: route_components_pb2.VirtualHost, request: Request) -> bool:
    return chosen.require_tls != route_components_pb2.VirtualHost.NONE and not request.is_secure


def _request(manager: hcm_pb2.HttpConnectionManager, call: Call, ends_tls: bool) -> tuple[Request, NormalizedPath]:
    """The request as the router sees it: pseudo headers, host and path as the manager normalises them."""
    host = call.host
    if manager.strip_trailing_host_dot:
        host = host.removesuffix(".")
    if manager.strip_any_host_port or (manager.strip_matching_host_port and host.endswith(f":{call.port}")):
        host = without_port(host)
    scheme = "https" if ends_tls else "http"
    path, what = normalized(manager, call.path)
    headers = {**dict(call.headers), ":method": call.method, ":path": path, ":authority": host, "host": host, ":scheme": scheme}
    headers.setdefault("x-forwarded-proto", scheme)
    is_mtls = ends_tls and call.tls is ClientTls.MTLS
    return Request(headers, has_client_certificate=is_mtls, is_validated=is_mtls), what


def _acted(at: Result, route: route_components_pb2.Route, request: Request) -> Result:
    match route.WhichOneof("action"):
        case "redirect":
            return _with(at, outcome=Outcome.REDIRECT)
        case "direct_response":
            return _with(at, outcome=Outcome.DIRECT_RESPONSE)
        case "route":
            return _forwarded(at, route.route, request)
        case kind:
            raise Unsupported(f"Route.{kind}")


def _forwarded(at: Result, action: route_components_pb2.RouteAction, request: Request) -> Result:
    match action.WhichOneof("cluster_specifier"):
        case "cluster":
            return _with(at, outcome=Outcome.CLUSTER, clusters=((action.cluster, 1),))
        case "weighted_clusters":
            weights = tuple((one.name, one.weight.value) for one in action.weighted_clusters.clusters)
            return _with(at, outcome=Outcome.WEIGHTED_CLUSTERS, clusters=weights)
        case "cluster_header":
            return _with(at, outcome=Outcome.CLUSTER, clusters=((request.headers.get(action.cluster_header.lower(), ""), 1),))
        case kind:
            raise Unsupported(f"RouteAction.{kind}")
