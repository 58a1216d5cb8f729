"""What an HTTP connection manager does to requests besides routing them: normal form of paths, headers about the client, limits. Called by `xds.filters`.

Source: Istio MeshConfig.pathNormalization, ProxyConfig gatewayTopology, proxyHeaders, connectionSettings; defaults by role as Istio has them.
"""

from dataclasses import dataclass, replace

from lateen.config.kinds.istio.mesh_config import NormalizationType, PathNormalization
from lateen.config.kinds.istio.mesh_proxy import (
    ClientCertDetails,
    ConnectionProfile,
    ConnectionSettings,
    EscapedSlashesAction,
    ForwardClientCert,
    MeshProxyConfig,
    ProxyHeaders,
    Topology,
    UnderscoresAction,
)
from lateen.config.store import mesh_field
from lateen.incremental import Db, query
from lateen.mesh.proxy_settings import proxy_config
from lateen.mesh.view import View
from lateen.plan.listener import Role

SERVER = "istio-envoy"


@dataclass(frozen=True)
class HttpSettings:
    """Settings of a connection manager. Durations in seconds, sizes in bytes; None: Envoy's default. Empty texts: Envoy's default too.

    `server_name` empty with `keeps_server`: the upstream's own `server` header passes. `tells_upstream`: Envoy's own `x-envoy-` headers are added.
    `finds_clusters`: one that is not there is asked for."""

    normalizes_path: bool = True
    merges_slashes: bool = False
    escaped_slashes: str = "KEEP_UNCHANGED"
    server_name: str = ""
    keeps_server: bool = False
    forward_client_cert: str = ""
    client_cert_details: tuple[str, ...] = ()
    uses_remote_address: bool = False
    trusted_hops: int = 0
    makes_request_id: bool = True
    accepts_http10: bool = False
    keeps_header_case: bool = False
    appends_forwarded_port: bool = False
    tells_upstream: bool = True
    counts_attempts: bool = True
    underscores: str = ""
    idle_timeout_s: float | None = None
    max_connection_s: float | None = None
    drain_timeout_s: float | None = None
    request_timeout_s: float | None = None
    headers_timeout_s: float | None = None
    stream_idle_timeout_s: float = 0.0
    max_stream_s: float | None = None
    max_streams: int | None = None
    stream_window_bytes: int | None = None
    connection_window_bytes: int | None = None
    finds_clusters: bool = False


@dataclass(frozen=True)
class ForwardedHeaders:
    """Headers that routes add to requests. `counts_attempts`: `x-envoy-attempt-count`; `tells_host`: the host before a rewrite, as `x-forwarded-host`.

    Source: Istio ProxyConfig.proxyHeaders attemptCount, xForwardedHost."""

    counts_attempts: bool = True
    tells_host: bool = False


_PATHS: dict[NormalizationType, HttpSettings] = {
    NormalizationType.NONE: HttpSettings(normalizes_path=False),
    NormalizationType.MERGE_SLASHES: HttpSettings(merges_slashes=True),
    NormalizationType.DECODE_AND_MERGE_SLASHES: HttpSettings(merges_slashes=True, escaped_slashes="UNESCAPE_AND_FORWARD"),
}
EDGE = HttpSettings(
    idle_timeout_s=3600.0,
    request_timeout_s=300.0,
    headers_timeout_s=60.0,
    stream_idle_timeout_s=300.0,
    max_streams=100,
    stream_window_bytes=65536,
    connection_window_bytes=1048576,
    underscores="REJECT_REQUEST",
    merges_slashes=True,
    escaped_slashes="UNESCAPE_AND_REDIRECT",
)
"""Source: Istio ProxyConfig.connectionSettings, profile EDGE."""


@query
def http_settings(db: Db, config: MeshProxyConfig, role: Role, has_http10: bool) -> HttpSettings:
    """The settings of one role under a ProxyConfig."""
    said = mesh_field(db, "path_normalization")
    kind = said.normalization if isinstance(said, PathNormalization) else NormalizationType.DEFAULT
    settings = _PATHS.get(kind, HttpSettings())
    topology = config.gateway_topology or Topology()
    if role is Role.GATEWAY:
        settings = replace(settings, uses_remote_address=True, trusted_hops=topology.num_trusted_proxies)
    if role is not Role.CLIENT:
        settings = replace(settings, server_name=SERVER)
    settings = replace(settings, accepts_http10=has_http10)
    settings = _client_certificate(settings, role, topology, config.proxy_headers or ProxyHeaders())
    settings = _connections(settings, config.connection_settings or ConnectionSettings(), role)
    return _headers(settings, config.proxy_headers)


def accepts_http10(db: Db, view: View) -> bool:
    """HTTP/1.0 is spoken. Source: Istio node metadata HTTP10, from ISTIO_META_HTTP10 of the proxy's environment."""
    said = dict(view.metadata).get("HTTP10") or proxy_config(db, view).proxy_metadata.get("ISTIO_META_HTTP10", "")
    return said in ("1", "true")


def settings_for(db: Db, view: View, role: Role) -> HttpSettings:
    """The settings of one role for a view."""
    return http_settings(db, proxy_config(db, view), role, accepts_http10(db, view))


def forwarded_headers(db: Db, view: View) -> ForwardedHeaders:
    """What a view's routes add."""
    said = proxy_config(db, view).proxy_headers or ProxyHeaders()
    counts = not (said.attempt_count is not None and said.attempt_count.disabled)
    return ForwardedHeaders(counts, bool(said.x_forwarded_host and said.x_forwarded_host.enabled))


def _client_certificate(settings: HttpSettings, role: Role, topology: Topology, headers: ProxyHeaders) -> HttpSettings:
    """How `x-forwarded-client-cert` is made."""
    if role is Role.CLIENT:
        return settings
    said = headers.forwarded_client_cert
    if said is ForwardClientCert.UNDEFINED and role is Role.GATEWAY:
        said = topology.forward_client_cert_details
    default = "APPEND_FORWARD" if role is Role.SERVER else "SANITIZE_SET"
    details = headers.set_current_client_cert_details or ClientCertDetails()
    wanted = {"subject": True, "dns": True, "uri": True, "cert": role is Role.GATEWAY, "chain": False}
    chosen = tuple(name for name, given in wanted.items() if (given if getattr(details, name) is None else getattr(details, name)))
    how = default if said is ForwardClientCert.UNDEFINED else said.value
    return replace(settings, forward_client_cert=how, client_cert_details=chosen)


def _headers(settings: HttpSettings, headers: ProxyHeaders | None) -> HttpSettings:
    if headers is None:
        return settings
    if headers.server is not None:
        off = bool(headers.server.disabled)
        settings = replace(settings, keeps_server=off, server_name="" if off else headers.server.value or settings.server_name)
    if headers.request_id is not None and headers.request_id.disabled:
        settings = replace(settings, makes_request_id=False)
    if headers.attempt_count is not None and headers.attempt_count.disabled:
        settings = replace(settings, counts_attempts=False)
    if headers.envoy_debug_headers is not None and headers.envoy_debug_headers.disabled:
        settings = replace(settings, tells_upstream=False)
    settings = replace(settings, keeps_header_case=bool(headers.preserve_http1_header_case))
    return replace(settings, appends_forwarded_port=bool(headers.x_forwarded_port and headers.x_forwarded_port.enabled))


def _connections(settings: HttpSettings, said: ConnectionSettings, role: Role) -> HttpSettings:
    """What connectionSettings say; the EDGE profile is for gateways."""
    if role is Role.GATEWAY and said.profile is ConnectionProfile.EDGE:
        taken = {name: getattr(EDGE, name) for name in _EDGE_FIELDS}
        settings = replace(settings, **taken)
    given = {
        "idle_timeout_s": said.http_idle_timeout,
        "max_connection_s": said.http_max_connection_duration,
        "drain_timeout_s": said.http_drain_timeout,
        "request_timeout_s": said.http_request_timeout,
        "headers_timeout_s": said.http_request_headers_timeout,
        "stream_idle_timeout_s": said.http_stream_idle_timeout,
        "max_stream_s": said.http_max_stream_duration,
        "max_streams": said.http_max_concurrent_streams,
        "stream_window_bytes": said.http2_initial_stream_window_size,
        "connection_window_bytes": said.http2_initial_connection_window_size,
        "merges_slashes": said.http_merge_slashes,
        "underscores": None
        if said.http_headers_with_underscores_action is UnderscoresAction.UNSPECIFIED
        else said.http_headers_with_underscores_action.value.removeprefix("HEADERS_WITH_UNDERSCORES_"),
        "escaped_slashes": None
        if said.http_path_with_escaped_slashes_action is EscapedSlashesAction.UNSPECIFIED
        else said.http_path_with_escaped_slashes_action.value,
    }
    return replace(settings, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


_EDGE_FIELDS = (
    "idle_timeout_s",
    "request_timeout_s",
    "headers_timeout_s",
    "stream_idle_timeout_s",
    "max_streams",
    "stream_window_bytes",
    "connection_window_bytes",
    "underscores",
    "merges_slashes",
    "escaped_slashes",
)
