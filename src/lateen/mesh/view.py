"""Who looks: the proxy that asks, and the View, which is what queries read of it. Proxies with equal views share every byte.

Called by `serve` (for a connection) and `insight` (for a simulated proxy); every query of `plan` and `xds` takes a View and never a Proxy.
"""

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from lateen.mesh.model import Labels, Locality


class ProxyType(Enum):
    """Source: Istio, first part of the node id."""

    SIDECAR = "sidecar"
    ROUTER = "router"


def _hash_once(value: Any) -> int:  # Any: a frozen dataclass with a dictionary
    """The hash of all fields, computed once."""
    found: int | None = value.__dict__.get("_hash")
    if found is None:
        found = value.__dict__["_hash"] = hash(tuple(getattr(value, one.name) for one in fields(value)))
    return found


@dataclass(frozen=True)
class Proxy:
    """A connected (or simulated) proxy, as its node id and metadata say. `id`: `<pod>.<namespace>`."""

    type: ProxyType
    id: str
    namespace: str
    service_account: str = "default"
    labels: Labels = ()
    addresses: tuple[str, ...] = ()
    dns_domain: str = ""
    locality: Locality = field(default_factory=Locality)
    network: str = ""
    cluster_id: str = "Kubernetes"
    node_name: str = ""
    metadata: Labels = ()
    """Further string metadata that queries may need (INTERCEPTION_MODE, HTTP10, …)."""

    def __hash__(self) -> int:
        """A connected proxy is looked up at every publication."""
        return _hash_once(self)


@dataclass(frozen=True)
class ServiceTarget:
    """A service port that the proxy's workload serves. `port`: the workload's own port. `created`: of the service, for oldest-wins."""

    hostname: str
    namespace: str
    service_port: int
    port: int


@dataclass(frozen=True)
class View:
    """What of a proxy its configuration depends on. `labels`: only those that some selector reads; `addresses`, `node_name`: empty unless something reads them.

    `targets`: the services the workload belongs to, oldest service first."""

    type: ProxyType
    namespace: str
    service_account: str
    labels: Labels
    dns_domain: str
    locality: Locality
    network: str
    cluster_id: str
    has_ipv4: bool
    has_ipv6: bool
    targets: tuple[ServiceTarget, ...] = ()
    addresses: tuple[str, ...] = ()
    node_name: str = ""
    metadata: Labels = ()

    def __hash__(self) -> int:
        """Every query takes a view: it is looked up far more often than made."""
        return _hash_once(self)

    @property
    def is_router(self) -> bool:
        """A gateway."""
        return self.type is ProxyType.ROUTER

    @property
    def is_proxyless(self) -> bool:
        """A gRPC client or server that is configured itself. Source: Istio, metadata GENERATOR."""
        return ("GENERATOR", "grpc") in self.metadata
