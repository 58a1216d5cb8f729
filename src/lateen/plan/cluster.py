"""Clusters as a proxy will use them: the IR. Frozen values without kinds and without Envoy messages; made by `outbound_clusters` and `inbound_clusters`,
emitted by `xds.clusters` and `xds.transport`.

Numbers of None mean: Envoy's default. All times are in seconds.
"""

from dataclasses import dataclass
from enum import Enum

from lateen.base.names import ObjectRef
from lateen.plan.assignment import Assignment

UNLIMITED = 4294967295


class Discovery(Enum):
    """How a cluster finds its endpoints. Envoy: cluster.v3.Cluster.DiscoveryType."""

    EDS = "EDS"
    STATIC = "STATIC"
    STRICT_DNS = "STRICT_DNS"
    LOGICAL_DNS = "LOGICAL_DNS"
    ORIGINAL_DST = "ORIGINAL_DST"
    FORWARD = "dynamic forward proxy"


class Family(Enum):
    """Which addresses names resolve to. Envoy: cluster.v3.Cluster.DnsLookupFamily."""

    V4_ONLY = "V4_ONLY"
    V6_ONLY = "V6_ONLY"
    ALL = "ALL"


class Hypertext(Enum):
    """What HTTP is spoken upstream. CLIENT: whatever the client speaks."""

    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    CLIENT = "client's"


@dataclass(frozen=True)
class Http:
    """HTTP upstream. `is_plain`: nothing but defaults of HTTP/1.1, so nothing is said."""

    protocol: Hypertext = Hypertext.HTTP1
    idle_timeout_s: float | None = None
    max_connection_duration_s: float | None = None
    max_requests_per_connection: int | None = None
    max_concurrent_streams: int | None = None
    keepalive_interval_s: float | None = None
    keepalive_timeout_s: float | None = None
    has_auto_sni: bool = False
    has_auto_san_validation: bool = False
    error_codes: tuple[int, ...] = ()
    """Status codes that count as errors for outlier detection; empty: 5xx."""

    @property
    def is_plain(self) -> bool:
        """HTTP/1.1 with Envoy's own defaults."""
        return self == Http()


@dataclass(frozen=True)
class Breakers:
    """Envoy: cluster.v3.CircuitBreakers, priority DEFAULT. `retry_budget_percent`: None: `max_retries` counts."""

    max_connections: int = UNLIMITED
    max_pending_requests: int = UNLIMITED
    max_requests: int = UNLIMITED
    max_retries: int = UNLIMITED
    retry_budget_percent: float | None = None
    retry_budget_interval_s: float | None = None
    min_retry_concurrency: int | None = None


@dataclass(frozen=True)
class Outlier:
    """Envoy: cluster.v3.OutlierDetection; success rates never eject. Limits of 0 switch their check off."""

    consecutive_5xx: int | None = None
    consecutive_gateway_errors: int | None = None
    consecutive_local_failures: int | None = None
    interval_s: float | None = None
    base_ejection_s: float | None = None
    max_ejection_percent: int | None = None
    splits_local_errors: bool = False


@dataclass(frozen=True)
class Keepalive:
    """TCP keepalive upstream. Envoy: core.v3.TcpKeepalive."""

    probes: int | None = None
    time_s: int | None = None
    interval_s: int | None = None


@dataclass(frozen=True)
class SlowStart:
    """A new endpoint's share grows over `window_s`. Envoy: Cluster.SlowStartConfig."""

    window_s: float
    aggression: float | None = None
    min_weight_percent: float | None = None


class Choice(Enum):
    """A simple choice of endpoint. PROVIDED: the discovery type's own."""

    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    PROVIDED = "CLUSTER_PROVIDED"


@dataclass(frozen=True)
class Simple:
    """A choice without a key."""

    choice: Choice = Choice.LEAST_REQUEST
    slow_start: SlowStart | None = None


@dataclass(frozen=True)
class RingHash:
    """Consistent by a ring. Envoy: Cluster.RingHashLbConfig."""

    minimum_size: int = 1024


@dataclass(frozen=True)
class Maglev:
    """Consistent by a Maglev table. `table_size` None: Envoy's."""

    table_size: int | None = None


Balancer = Simple | RingHash | Maglev


@dataclass(frozen=True)
class Weighted:
    """A locality gets as much as its weight says. Envoy: LocalityWeightedLbConfig."""


@dataclass(frozen=True)
class ZoneAware:
    """A proxy prefers endpoints of its own zone, as far as its own kind is spread like them. `is_off`: never; `min_size`: of the cluster, None: Envoy's.
    Envoy: ZoneAwareLbConfig."""

    is_off: bool = False
    min_size: int | None = None


Localities = Weighted | ZoneAware


@dataclass(frozen=True)
class Raw:
    """In the clear."""


@dataclass(frozen=True)
class MeshTls:
    """Mutual TLS with the workload's certificate. `identities`: SPIFFE IDs the server may have; empty: any of the mesh."""

    sni: str
    identities: tuple[str, ...]
    alpn: tuple[str, ...]


@dataclass(frozen=True)
class ClientTls:
    """TLS as a user set it up. `certificate`, `authority`: names of secrets, empty: none. `alpn` empty: nothing offered."""

    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    certificate: str = ""
    authority: str = ""
    alpn: tuple[str, ...] = ()


Socket = Raw | MeshTls | ClientTls


@dataclass(frozen=True)
class Transport:
    """What is spoken to endpoints: `socket`; with `is_matched` only to endpoints that take mesh TLS, in the clear to the others.
    `proxy_protocol`: version of the PROXY header sent first, 0: none."""

    socket: Socket = Raw()
    is_matched: bool = False
    proxy_protocol: int = 0


@dataclass(frozen=True)
class Bind:
    """The source address of upstream connections. `extra`: of the other IP version; empty: none."""

    address: str
    extra: str = ""


@dataclass(frozen=True)
class Dns:
    """How names of endpoints are resolved. `cache`: name of the cache of a FORWARD cluster, `max_hosts` its size (None: Envoy's)."""

    family: Family
    refresh_s: float = 60.0
    cache: str = ""
    max_hosts: int | None = None
    is_insecure: bool = False


@dataclass(frozen=True)
class Cluster:
    """One cluster. `service`: (host, namespace, name) for metadata, None: none. `assignment`: endpoints of STATIC and DNS clusters.
    `panic_percent` None: Envoy's 50. `origins`: the objects that decided it."""

    name: str
    discovery: Discovery
    connect_timeout_s: float
    http: Http = Http()
    balancer: Balancer = Simple()
    breakers: Breakers = Breakers()
    outlier: Outlier | None = None
    panic_percent: float | None = None
    localities: Localities | None = None
    keepalive: Keepalive | None = None
    transport: Transport = Transport()
    assignment: Assignment | None = None
    dns: Dns | None = None
    bind: Bind | None = None
    keeps_hosts: bool = False
    """Original-destination hosts are never cleaned up."""
    service: tuple[str, str, str] | None = None
    origins: frozenset[ObjectRef] = frozenset()
    rule: ObjectRef | None = None
    """The DestinationRule in force, named in the cluster's metadata."""
    subset: str = ""
    stat_name: str = ""
    """Its name in statistics; empty: as `name`."""
