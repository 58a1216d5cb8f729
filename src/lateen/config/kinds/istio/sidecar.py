"""Sidecar: what a workload's proxy accepts and can reach. Istio: networking Sidecar."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from lateen.config.kinds.istio.gateway import ServerTls
from lateen.config.kinds.istio.selectors import ListenerPort, WorkloadSelector
from lateen.config.kinds.istio.traffic_policy import ConnectionPool
from lateen.config.kinds.istio.virtual_service import Destination
from lateen.config.kinds.objects import Object, Spec


class CaptureMode(StrEnum):
    """Istio: CaptureMode."""

    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


class IngressListener(Spec, frozen=True):
    """Istio: IstioIngressListener."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("port",)

    port: ListenerPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    default_endpoint: str = ""
    """`127.0.0.1:port`, `[::1]:port`, `0.0.0.0:port`, `[::]:port` or `unix:///path`; empty: the pod's own address."""
    tls: ServerTls | None = None
    connection_pool: ConnectionPool | None = None


class EgressListener(Spec, frozen=True):
    """Istio: IstioEgressListener."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("hosts",)

    port: ListenerPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    hosts: tuple[str, ...] = ()
    """`namespace/host`."""


class OutboundMode(StrEnum):
    """Istio: OutboundTrafficPolicy.Mode."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(Spec, frozen=True):
    """Istio: OutboundTrafficPolicy."""

    mode: OutboundMode = OutboundMode.REGISTRY_ONLY
    egress_proxy: Destination | None = None


class SidecarSpec(Spec, frozen=True):
    """Istio: Sidecar."""

    workload_selector: WorkloadSelector | None = None
    ingress: tuple[IngressListener, ...] = ()
    egress: tuple[EgressListener, ...] = ()
    inbound_connection_pool: ConnectionPool | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class Sidecar(Object, frozen=True):
    """networking.istio.io Sidecar."""

    kind: ClassVar[str] = "Sidecar"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "sidecars"

    spec: SidecarSpec = msgspec.field(default_factory=SidecarSpec)
