"""The words of the mesh: protocols, ports, services, endpoints, localities. Values only; the rules that make them are beside this file."""

from dataclasses import dataclass, field
from enum import Enum

from lateen.base.names import ObjectRef

Labels = tuple[tuple[str, str], ...]
"""Sorted (key, value) pairs: hashable."""


class Protocol(Enum):
    """What a port speaks. UNSUPPORTED: not declared, so detected per connection. Source: Istio, protocol selection."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    HTTPS = "HTTPS"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    TCP = "TCP"
    TLS = "TLS"
    UDP = "UDP"
    MONGO = "Mongo"
    REDIS = "Redis"
    MYSQL = "MySQL"
    HTTP_PROXY = "HTTP_PROXY"
    HBONE = "HBONE"
    UNSUPPORTED = ""

    @property
    def is_http(self) -> bool:
        """Speaks HTTP in the clear."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB, Protocol.HTTP_PROXY)

    @property
    def is_http2(self) -> bool:
        """Speaks HTTP/2 with prior knowledge."""
        return self in (Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_tcp(self) -> bool:
        """Handled as bytes."""
        return self in (Protocol.TCP, Protocol.HTTPS, Protocol.TLS, Protocol.MONGO, Protocol.REDIS, Protocol.MYSQL)

    @property
    def is_tls(self) -> bool:
        """TLS that the application itself ends; routed by server name."""
        return self in (Protocol.HTTPS, Protocol.TLS)

    @property
    def is_detected(self) -> bool:
        """Not declared: found out from the connection's first bytes."""
        return self is Protocol.UNSUPPORTED


class Resolution(Enum):
    """How a service's endpoints are found. Source: Istio ServiceEntry.resolution and Kubernetes Services."""

    STATIC = "static"  # endpoints by EDS (Kubernetes Services with an address, STATIC entries)
    HEADLESS = "headless"  # Kubernetes Service without address: the client's own choice of address
    DNS = "dns"  # strict DNS
    DNS_ROUND_ROBIN = "dns_round_robin"  # logical DNS
    DYNAMIC_DNS = "dynamic_dns"  # dynamic forward proxy
    NONE = "none"  # original destination
    ALIAS = "alias"  # ExternalName


class MtlsMode(Enum):
    """What a server accepts, once merged. Source: Istio PeerAuthentication."""

    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, order=True)
class Locality:
    """Region, zone and subzone; empty: not known."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.region, self.zone, self.subzone) if part)

    @staticmethod
    def parse(text: str) -> "Locality":
        """From `region/zone/subzone`."""
        region, zone, subzone, *_ = (*text.split("/"), "", "", "")
        return Locality(region, zone, subzone)


@dataclass(frozen=True)
class Port:
    """A service's port. `target`: the workload's port, a number or a container port's name; None: as `number` (0 where Kubernetes would refuse it)."""

    number: int
    name: str
    protocol: Protocol
    target: int | str | None = None


class Registry(Enum):
    """Where a service comes from."""

    KUBERNETES = "Kubernetes"
    EXTERNAL = "External"  # ServiceEntry


@dataclass(frozen=True)
class Service:
    """A host with ports. `hostname`: fully qualified, may be a wildcard; `addresses`: VIPs (IP addresses or CIDRs), empty: none; `selector`: empty: none.

    `export_to`: namespaces that see it, `*` all, `.` resolved to its own, `~` none. `aliases`: hostnames (ExternalName) that stand for it."""

    hostname: str
    namespace: str
    name: str
    ports: tuple[Port, ...]
    origin: ObjectRef
    resolution: Resolution = Resolution.STATIC
    registered_in: Registry = Registry.KUBERNETES
    addresses: tuple[str, ...] = ()
    auto_addresses: tuple[str, ...] = ()
    selector: Labels = ()
    labels: Labels = ()
    export_to: frozenset[str] = frozenset({"*"})
    is_external: bool = False
    created: float = 0.0
    subject_alt_names: tuple[str, ...] = ()
    external_name: str = ""
    aliases: tuple[str, ...] = ()
    is_node_local: bool = False
    publishes_not_ready: bool = False
    traffic_distribution: str = ""

    def port(self, number: int) -> Port | None:
        """The port of that number; None: there is none."""
        return next((port for port in self.ports if port.number == number), None)

    @property
    def is_headless(self) -> bool:
        """A Kubernetes Service without an address."""
        return self.resolution is Resolution.HEADLESS


class Health(Enum):
    """Of an endpoint."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"


@dataclass(frozen=True)
class Endpoint:
    """One address of one port of a service.

    `address`: an IP, a host name (DNS resolutions) or `unix:///path` (port 0). `weight`: 0 counts as 1. `has_mesh_tls`: it has a sidecar.
    `port_name`, `service_port`: which service port it serves. `labels`: of the pod or WorkloadEntry. `pod`: None unless a Pod stands behind it.
    """

    address: str
    port: int
    service_port: int
    labels: Labels = ()
    locality: Locality = field(default_factory=Locality)
    weight: int = 0
    health: Health = Health.HEALTHY
    has_mesh_tls: bool = False
    service_account: str = ""
    namespace: str = ""
    network: str = ""
    node: str = ""
    hostname: str = ""
    workload: str = ""
    pod: ObjectRef | None = None
    port_name: str = ""


def label_pairs(labels: "dict[str, str] | object") -> Labels:
    """Any mapping of labels as sorted pairs."""
    return tuple(sorted(labels.items())) if hasattr(labels, "items") else ()


def selects(selector: Labels, labels: Labels) -> bool:
    """Whether labels have every pair of the selector; an empty selector selects everything."""
    return not selector or set(selector) <= set(labels)
