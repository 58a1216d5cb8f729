"""WorkloadEntry and WorkloadGroup: workloads that are no pods. Istio: networking WorkloadEntry, WorkloadGroup."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Int32, Labels, Map, UInt32


class WorkloadEntrySpec(Spec, frozen=True):
    """Also the inline endpoints of a ServiceEntry. Istio: WorkloadEntry."""

    address: str = ""
    """An IP address, a DNS name, or `unix:///path`."""
    ports: Map[UInt32] = Map()
    labels: Labels = Map()
    network: str = ""
    locality: str = ""
    """`region/zone/subzone`."""
    weight: UInt32 = 0
    """0: 1."""
    service_account: str = ""


class WorkloadEntry(Object, frozen=True):
    """networking.istio.io WorkloadEntry."""

    kind: ClassVar[str] = "WorkloadEntry"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "workloadentries"

    spec: WorkloadEntrySpec = msgspec.field(default_factory=WorkloadEntrySpec)


class GroupMetadata(Spec, frozen=True):
    """Istio: WorkloadGroup.ObjectMeta."""

    labels: Labels = Map()
    annotations: Labels = Map()


class HttpHeader(Spec, frozen=True):
    """Istio: HTTPHeader."""

    name: str = ""
    value: str = ""


class HttpProbe(Spec, frozen=True):
    """Istio: HTTPHealthCheckConfig."""

    path: str = ""
    port: UInt32 = 0
    host: str = ""
    scheme: str = ""
    http_headers: tuple[HttpHeader, ...] = ()


class TcpProbe(Spec, frozen=True):
    """Istio: TCPHealthCheckConfig."""

    host: str = ""
    port: UInt32 = 0


class ExecProbe(Spec, frozen=True):
    """Istio: ExecHealthCheckConfig."""

    command: tuple[str, ...] = ()


class GrpcProbe(Spec, frozen=True):
    """Istio: GrpcHealthCheckConfig."""

    port: UInt32 = 0
    service: str = ""


class WorkloadProbe(Spec, frozen=True):
    """One way of four; zero in a number means Kubernetes' default. Istio: ReadinessProbe."""

    initial_delay_seconds: Int32 = 0
    timeout_seconds: Int32 = 0
    period_seconds: Int32 = 0
    success_threshold: Int32 = 0
    failure_threshold: Int32 = 0
    http_get: HttpProbe | None = None
    tcp_socket: TcpProbe | None = None
    exec: ExecProbe | None = None
    grpc: GrpcProbe | None = None


class WorkloadGroupSpec(Spec, frozen=True):
    """Istio: WorkloadGroup."""

    metadata: GroupMetadata | None = None
    template: WorkloadEntrySpec | None = None
    probe: WorkloadProbe | None = None


class WorkloadGroup(Object, frozen=True):
    """networking.istio.io WorkloadGroup."""

    kind: ClassVar[str] = "WorkloadGroup"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "workloadgroups"

    spec: WorkloadGroupSpec = msgspec.field(default_factory=WorkloadGroupSpec)
