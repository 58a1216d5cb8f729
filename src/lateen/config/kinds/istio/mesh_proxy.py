"""The proxies' settings within the mesh configuration: `defaultConfig`, and the annotation `proxy.istio.io/config`. Istio: mesh ProxyConfig.

Field defaults are the values in force, so decoding a document is merging it over Istio's defaults.
"""

from enum import StrEnum
from typing import ClassVar

import msgspec

from lateen.config.kinds.istio.proxy_config import ProxyImage
from lateen.config.kinds.istio.traffic_policy import ClientTls, TcpKeepalive
from lateen.config.kinds.istio.workload_entry import WorkloadProbe
from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Duration, Int32, Labels, Map, UInt32


class TagSource(Spec, frozen=True):
    """Istio: Tracing.Environment and Tracing.RequestHeader."""

    name: str = ""
    default_value: str = ""


class TagLiteral(Spec, frozen=True):
    """Istio: Tracing.Literal."""

    value: str = ""


class ProxyCustomTag(Spec, frozen=True):
    """One of three. Istio: Tracing.CustomTag."""

    literal: TagLiteral | None = None
    environment: TagSource | None = None
    header: TagSource | None = None


class TracerAddress(Spec, frozen=True):
    """Istio: Tracing.Zipkin and Tracing.Datadog."""

    address: str = ""


class LightstepTracer(Spec, frozen=True):
    """Istio: Tracing.Lightstep."""

    address: str = ""
    access_token: str = ""


class StackdriverTracer(Spec, frozen=True):
    """Istio: Tracing.Stackdriver."""

    debug: bool = False
    max_number_of_attributes: int | None = None
    max_number_of_annotations: int | None = None
    max_number_of_message_events: int | None = None


class OpenCensusTracer(Spec, frozen=True):
    """Istio: Tracing.OpenCensusAgent."""

    address: str = ""
    context: tuple[str, ...] = ()


class ProxyTracing(Spec, frozen=True):
    """Istio: Tracing."""

    zipkin: TracerAddress | None = None
    lightstep: LightstepTracer | None = None
    datadog: TracerAddress | None = None
    stackdriver: StackdriverTracer | None = None
    open_census_agent: OpenCensusTracer | None = None
    custom_tags: Map[ProxyCustomTag] = Map()
    max_path_tag_length: UInt32 = 0
    sampling: float = 0.0
    """Percent."""
    tls_settings: ClientTls | None = None
    enable_istio_tags: bool | None = None


class Sds(Spec, frozen=True):
    """Deprecated. Istio: SDS."""

    enabled: bool = False
    k8s_sa_jwt_path: str = msgspec.field(default="", name="k8sSaJwtPath")


class ForwardClientCert(StrEnum):
    """Istio: ForwardClientCertDetails."""

    UNDEFINED = "UNDEFINED"
    SANITIZE = "SANITIZE"
    FORWARD_ONLY = "FORWARD_ONLY"
    APPEND_FORWARD = "APPEND_FORWARD"
    SANITIZE_SET = "SANITIZE_SET"
    ALWAYS_FORWARD_ONLY = "ALWAYS_FORWARD_ONLY"


class ProxyProtocolListener(Spec, frozen=True):
    """Its presence asks for the PROXY protocol. Istio: Topology.ProxyProtocolConfiguration."""


class Topology(Spec, frozen=True):
    """Istio: Topology."""

    num_trusted_proxies: UInt32 = 0
    forward_client_cert_details: ForwardClientCert = ForwardClientCert.UNDEFINED
    proxy_protocol: ProxyProtocolListener | None = None


class PrivateKeyMethod(Spec, frozen=True):
    """Istio: PrivateKeyProvider.CryptoMb and QAT."""

    poll_delay: Duration | None = None
    fallback: bool | None = None


class PrivateKeyProvider(Spec, frozen=True):
    """Istio: PrivateKeyProvider."""

    cryptomb: PrivateKeyMethod | None = None
    qat: PrivateKeyMethod | None = None


class StatsMatcher(Spec, frozen=True):
    """Istio: ProxyStatsMatcher."""

    inclusion_prefixes: tuple[str, ...] = ()
    inclusion_suffixes: tuple[str, ...] = ()
    inclusion_regexps: tuple[str, ...] = ()


class ServerHeader(Spec, frozen=True):
    """Istio: ProxyHeaders.Server."""

    disabled: bool | None = None
    value: str = ""


class HeaderOff(Spec, frozen=True):
    """Istio: ProxyHeaders.RequestId, AttemptCount, EnvoyDebugHeaders."""

    disabled: bool | None = None


class HeaderOn(Spec, frozen=True):
    """Istio: ProxyHeaders.XForwardedHost, XForwardedPort."""

    enabled: bool | None = None


class MetadataExchangeMode(StrEnum):
    """Istio: ProxyHeaders.MetadataExchangeMode."""

    UNDEFINED = "UNDEFINED"
    IN_MESH = "IN_MESH"


class MetadataExchangeHeaders(Spec, frozen=True):
    """Istio: ProxyHeaders.MetadataExchangeHeaders."""

    mode: MetadataExchangeMode = MetadataExchangeMode.UNDEFINED


class ClientCertDetails(Spec, frozen=True):
    """Istio: ProxyHeaders.SetCurrentClientCertDetails."""

    subject: bool | None = None
    cert: bool | None = None
    chain: bool | None = None
    dns: bool | None = None
    uri: bool | None = None


class ProxyHeaders(Spec, frozen=True):
    """Istio: ProxyHeaders."""

    forwarded_client_cert: ForwardClientCert = ForwardClientCert.UNDEFINED
    set_current_client_cert_details: ClientCertDetails | None = None
    request_id: HeaderOff | None = None
    server: ServerHeader | None = None
    attempt_count: HeaderOff | None = None
    envoy_debug_headers: HeaderOff | None = None
    metadata_exchange_headers: MetadataExchangeHeaders | None = None
    preserve_http1_header_case: bool | None = None
    x_forwarded_host: HeaderOn | None = None
    x_forwarded_port: HeaderOn | None = None


class ConnectionProfile(StrEnum):
    """Istio: ConnectionSettings.Profile."""

    SIDECAR = "SIDECAR"
    EDGE = "EDGE"


class UnderscoresAction(StrEnum):
    """Istio: ConnectionSettings.HeadersWithUnderscoresAction."""

    UNSPECIFIED = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED"
    ALLOW = "HEADERS_WITH_UNDERSCORES_ALLOW"
    REJECT_REQUEST = "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST"
    DROP_HEADER = "HEADERS_WITH_UNDERSCORES_DROP_HEADER"


class EscapedSlashesAction(StrEnum):
    """Istio: ConnectionSettings.PathWithEscapedSlashesAction."""

    UNSPECIFIED = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED"
    KEEP_UNCHANGED = "KEEP_UNCHANGED"
    REJECT_REQUEST = "REJECT_REQUEST"
    UNESCAPE_AND_REDIRECT = "UNESCAPE_AND_REDIRECT"
    UNESCAPE_AND_FORWARD = "UNESCAPE_AND_FORWARD"


class ConnectionSettings(Spec, frozen=True):
    """Istio: ConnectionSettings."""

    profile: ConnectionProfile = ConnectionProfile.SIDECAR
    listener_per_connection_buffer_limit_bytes: Int32 | None = None
    cluster_per_connection_buffer_limit_bytes: Int32 | None = None
    http_idle_timeout: Duration | None = None
    http_max_connection_duration: Duration | None = None
    http_drain_timeout: Duration | None = None
    http_request_timeout: Duration | None = None
    http_request_headers_timeout: Duration | None = None
    http_stream_idle_timeout: Duration | None = None
    http_max_stream_duration: Duration | None = None
    http_max_concurrent_streams: Int32 | None = None
    http2_initial_stream_window_size: Int32 | None = None
    http2_initial_connection_window_size: Int32 | None = None
    http_headers_with_underscores_action: UnderscoresAction = UnderscoresAction.UNSPECIFIED
    http_merge_slashes: bool | None = None
    http_path_with_escaped_slashes_action: EscapedSlashesAction = EscapedSlashesAction.UNSPECIFIED
    listener_connection_limit: Int32 | None = None
    global_downstream_connection_limit: Int32 | None = None


class RemoteService(Spec, frozen=True):
    """Istio: RemoteService."""

    address: str = ""
    tls_settings: ClientTls | None = None
    tcp_keepalive: TcpKeepalive | None = None


class TracingServiceName(StrEnum):
    """Istio: ProxyConfig.TracingServiceName."""

    APP_LABEL_AND_NAMESPACE = "APP_LABEL_AND_NAMESPACE"
    CANONICAL_NAME_ONLY = "CANONICAL_NAME_ONLY"
    CANONICAL_NAME_AND_NAMESPACE = "CANONICAL_NAME_AND_NAMESPACE"


class InterceptionMode(StrEnum):
    """Istio: ProxyConfig.InboundInterceptionMode."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


class AuthenticationPolicy(StrEnum):
    """Istio: AuthenticationPolicy."""

    NONE = "NONE"
    MUTUAL_TLS = "MUTUAL_TLS"
    INHERIT = "INHERIT"


class MeshProxyConfig(Spec, frozen=True):
    """Istio: mesh ProxyConfig, with the values in force as defaults."""

    MERGED_MAPS: ClassVar[frozenset[str]] = frozenset({"proxy_metadata", "runtime_values"})
    """Maps where a later document adds keys; elsewhere it replaces the map."""

    config_path: str = "./etc/istio/proxy"
    binary_path: str = "/usr/local/bin/envoy"
    service_cluster: str | None = None
    tracing_service_name: TracingServiceName | None = None
    drain_duration: Duration = Duration(45)
    discovery_address: str = "istiod.istio-system.svc:15012"
    discovery_refresh_delay: Duration | None = None
    zipkin_address: str = ""
    statsd_udp_address: str = ""
    envoy_metrics_service_address: str = ""
    proxy_admin_port: Int32 | None = None
    """Absent: no port, where Istio opens 15000: whoever is in the pod could stop the proxy there."""
    availability_zone: str = ""
    control_plane_auth_policy: AuthenticationPolicy = AuthenticationPolicy.MUTUAL_TLS
    custom_config_file: str = ""
    stat_name_length: Int32 = 189
    concurrency: Int32 | None = None
    """None: from the CPU limit; 0: all cores."""
    proxy_bootstrap_template_path: str = ""
    interception_mode: InterceptionMode = InterceptionMode.REDIRECT
    tracing: ProxyTracing | None = None
    sds: Sds | None = None
    envoy_access_log_service: RemoteService | None = None
    envoy_metrics_service: RemoteService | None = None
    proxy_metadata: Labels = Map()
    runtime_values: Labels = Map()
    status_port: Int32 = 15020
    extra_stat_tags: tuple[str, ...] = ()
    gateway_topology: Topology | None = None
    termination_drain_duration: Duration = Duration(5)
    mesh_id: str = ""
    readiness_probe: WorkloadProbe | None = None
    proxy_stats_matcher: StatsMatcher | None = None
    hold_application_until_proxy_starts: bool | None = None
    """None: false."""
    ca_certificates_pem: tuple[str, ...] = ()
    image: ProxyImage | None = None
    private_key_provider: PrivateKeyProvider | None = None
    proxy_headers: ProxyHeaders | None = None
    file_flush_interval: Duration | None = None
    """None: 1 s."""
    file_flush_min_size_kb: UInt32 | None = None
    """None: 64."""
    stats_compression: bool | None = None
    connection_settings: ConnectionSettings | None = None
