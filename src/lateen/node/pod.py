"""Who a proxy is: the pod it stands beside, as the control plane is told. Called by whoever starts proxies (`local`, `kubernetes`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})


class ProxyType(Enum):
    """What the proxy is for. The value stands first in its node id. Source: Istio, node ids."""

    SIDECAR = "sidecar"
    ROUTER = "router"


class Interception(Enum):
    """How traffic reaches the proxy. Source: Istio, `sidecar.istio.io/interceptionMode`."""

    REDIRECT = "REDIRECT"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Locality:
    """Where the pod runs. Empty: unknown."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """The pod beside a proxy.

    `addresses`: IPv4 first, at least one. `workload`: the Deployment (…) it comes from. `owner`: `kubernetes://apis/…`, may be empty.
    """

    namespace: str
    name: str
    service_account: str
    addresses: tuple[str, ...]
    workload: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    proxy_type: ProxyType = ProxyType.SIDECAR
    interception: Interception = Interception.REDIRECT
    locality: Locality = Locality()
    node_name: str = ""
    owner: str = ""

    @property
    def app(self) -> str:
        """The application's name for peers and metrics. Source: Istio, canonical service name."""
        labels = self.labels
        return labels.get("service.istio.io/canonical-name") or labels.get("app.kubernetes.io/name") or labels.get("app") or self.workload or self.name

    @property
    def version(self) -> str:
        """The application's version. Source: Istio, canonical revision (`latest` if there is none)."""
        labels = self.labels
        return labels.get("service.istio.io/canonical-revision") or labels.get("app.kubernetes.io/version") or labels.get("version") or "latest"

    def node_id(self, domain: str) -> str:
        """The id this pod's proxy connects with. `domain`: the cluster's DNS domain, `cluster.local`."""
        return f"{self.proxy_type.value}~{self.addresses[0]}~{self.name}.{self.namespace}~{self.namespace}.svc.{domain}"
