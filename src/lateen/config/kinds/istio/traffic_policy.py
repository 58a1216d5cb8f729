"""Traffic policies of DestinationRules, and the connection pools and client TLS that Sidecars and the mesh share. Istio: TrafficPolicy."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import PortSelector
from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Duration, Int32, Map, UInt32, UInt64


class H2UpgradePolicy(StrEnum):
    """Istio: ConnectionPoolSettings.HTTPSettings.H2UpgradePolicy."""

    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class Http2KeepAlive(Spec, frozen=True):
    """PING frames upstream. Istio: HTTPSettings.HTTP2KeepAlive."""

    interval: Duration | None = None
    timeout: Duration | None = None


class HttpPool(Spec, frozen=True):
    """Zero in a number means not set. Istio: ConnectionPoolSettings.HTTPSettings."""

    http1_max_pending_requests: Int32 = 0
    http2_max_requests: Int32 = 0
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: H2UpgradePolicy = H2UpgradePolicy.DEFAULT
    use_client_protocol: bool = False
    max_concurrent_streams: Int32 = 0
    http2_keep_alive: Http2KeepAlive | None = None


class TcpKeepalive(Spec, frozen=True):
    """Istio: TCPSettings.TcpKeepalive."""

    probes: UInt32 = 0
    time: Duration | None = None
    interval: Duration | None = None


class TcpPool(Spec, frozen=True):
    """Istio: ConnectionPoolSettings.TCPSettings."""

    max_connections: Int32 = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class ConnectionPool(Spec, frozen=True):
    """Istio: ConnectionPoolSettings."""

    tcp: TcpPool | None = None
    http: HttpPool | None = None


class SimpleLb(StrEnum):
    """Istio: LoadBalancerSettings.SimpleLB."""

    UNSPECIFIED = "UNSPECIFIED"
    LEAST_CONN = "LEAST_CONN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


class CookieAttribute(Spec, frozen=True):
    """Istio: HTTPCookie.Attribute."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("name",)

    name: str = ""
    value: str = ""


class HttpCookie(Spec, frozen=True):
    """Istio: ConsistentHashLB.HTTPCookie."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("name",)

    name: str = ""
    path: str = ""
    ttl: Duration | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class RingHash(Spec, frozen=True):
    """Istio: ConsistentHashLB.RingHash."""

    minimum_ring_size: UInt64 = 0


class Maglev(Spec, frozen=True):
    """Istio: ConsistentHashLB.MagLev."""

    table_size: UInt64 = 0


class ConsistentHash(Spec, frozen=True):
    """One key of four, one algorithm of two. Istio: ConsistentHashLB."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("httpCookie", "httpHeaderName", "httpQueryParameterName", "useSourceIp"),
        ("maglev", "ringHash"),
    )

    http_header_name: str | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: UInt64 = 0
    """Deprecated."""


class Distribute(Spec, frozen=True):
    """Istio: LocalityLoadBalancerSetting.Distribute."""

    from_: str = msgspec.field(default="", name="from")
    to: Map[UInt32] = Map()
    """Locality → percent; they sum to 100."""


class Failover(Spec, frozen=True):
    """Region to region. Istio: LocalityLoadBalancerSetting.Failover."""

    from_: str = msgspec.field(default="", name="from")
    to: str = ""


class LocalityLb(Spec, frozen=True):
    """Istio: LocalityLoadBalancerSetting."""

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None
    """None: enabled."""


class ZoneAwareLb(Spec, frozen=True):
    """Istio: ZoneAwareLoadBalancerSetting."""

    enabled: bool | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)] | None = None


class Warmup(Spec, frozen=True):
    """Istio: WarmupConfiguration."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("duration",)

    duration: Duration | None = None
    minimum_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    aggression: float | None = None


class BackendUtilization(Spec, frozen=True):
    """Istio: BackendUtilization (client-side weighted round robin)."""

    error_utilization_penalty_percent: UInt32 = 0
    metric_names_for_computing_utilization: tuple[str, ...] = ()
    weight_expiration_period: Duration | None = None
    weight_stabilization_period: Duration | None = None
    weight_update_period: Duration | None = None


class LoadBalancer(Spec, frozen=True):
    """Istio: LoadBalancerSettings."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("backendUtilization", "consistentHash", "simple"),)

    simple: SimpleLb | None = None
    consistent_hash: ConsistentHash | None = None
    backend_utilization: BackendUtilization | None = None
    locality_lb_setting: LocalityLb | None = None
    zone_aware_lb_setting: ZoneAwareLb | None = None
    warmup_duration_secs: Duration | None = None
    """Deprecated for `warmup`."""
    warmup: Warmup | None = None


class OutlierDetection(Spec, frozen=True):
    """Istio: OutlierDetection."""

    consecutive_errors: Int32 = 0
    """Deprecated."""
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = msgspec.field(default=None, name="consecutive5xxErrors")
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Int32 = 0
    min_health_percent: Int32 = 0
    outlier_detection_http_error_codes: tuple[UInt32, ...] = ()


class ClientTlsMode(StrEnum):
    """Istio: ClientTLSSettings.TLSmode."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class ClientTls(Spec, frozen=True):
    """Istio: ClientTLSSettings."""

    mode: ClientTlsMode = ClientTlsMode.DISABLE
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool | None = None
    ca_crl: str = ""


class Tunnel(Spec, frozen=True):
    """Istio: TrafficPolicy.TunnelSettings."""

    REQUIRED: ClassVar[tuple[str, ...]] = (
        "targetHost",
        "targetPort",
    )

    protocol: str = ""
    """`CONNECT` (or empty) or `POST`."""
    target_host: str = ""
    target_port: UInt32 = 0


class ProxyProtocolVersion(StrEnum):
    """Istio: TrafficPolicy.ProxyProtocol.VERSION."""

    V1 = "V1"
    V2 = "V2"


class ProxyProtocol(Spec, frozen=True):
    """Istio: TrafficPolicy.ProxyProtocol."""

    version: ProxyProtocolVersion = ProxyProtocolVersion.V1


class RetryBudget(Spec, frozen=True):
    """Istio: TrafficPolicy.RetryBudget."""

    percent: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    """None: 20."""
    min_retry_concurrency: UInt32 = 0
    budget_interval: Duration | None = None


class PortTrafficPolicy(Spec, frozen=True):
    """Istio: TrafficPolicy.PortTrafficPolicy."""

    port: PortSelector | None = None
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None


class TrafficPolicy(Spec, frozen=True):
    """Istio: TrafficPolicy."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], msgspec.Meta(max_length=4096)] = ()
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None
