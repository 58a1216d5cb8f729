"""WorkloadEntry and WorkloadGroup: workloads that are no pods. Istio: networking WorkloadEntry, WorkloadGroup."""

from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Int32, Json, Labels, Map, UInt32


class WorkloadEntrySpec(Spec, frozen=True):
    """Also the inline endpoints of a ServiceEntry. Istio: WorkloadEntry."""

    address: Annotated[str, msgspec.Meta(max_length=256)] = ""
    """An IP address, a DNS name, or `unix:///path`."""
    ports: Map[UInt32] = Map()
    labels: Labels = Map()
    network: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    locality: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    """`region/zone/subzone`."""
    weight: UInt32 = 0
    """0: 1."""
    service_account: Annotated[str, msgspec.Meta(max_length=253)] = ""


HEALTH_CHECKED = "proxy.istio.io/health-checks-enabled"
"""Annotation of a WorkloadEntry: it takes traffic only while it is reported healthy. Istio's."""
HEALTHY = "Healthy"
"""The condition that says so. Istio's."""


class WorkloadCondition(Spec, frozen=True):
    """Istio: IstioCondition."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_probe_time: str | None = None
    last_transition_time: str | None = None
    observed_generation: Json | None = None


class WorkloadEntryStatus(Spec, frozen=True):
    """Istio: IstioStatus."""

    conditions: tuple[WorkloadCondition, ...] = ()
    validation_messages: Json | None = None
    observed_generation: Json | None = None


class WorkloadEntry(Object, frozen=True):
    """networking.istio.io WorkloadEntry."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("spec",)

    kind: ClassVar[str] = "WorkloadEntry"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "workloadentries"

    spec: WorkloadEntrySpec = msgspec.field(default_factory=WorkloadEntrySpec)
    status: WorkloadEntryStatus | None = None


class GroupMetadata(Spec, frozen=True):
    """Istio: WorkloadGroup.ObjectMeta."""

    labels: Labels = Map()
    annotations: Labels = Map()


class HttpHeader(Spec, frozen=True):
    """Istio: HTTPHeader."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[-_A-Za-z0-9]+$")] = ""
    value: str = ""


class HttpProbe(Spec, frozen=True):
    """Istio: HTTPHealthCheckConfig."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("port",)

    path: str = ""
    port: UInt32 = 0
    host: str = ""
    scheme: str = ""
    http_headers: tuple[HttpHeader, ...] = ()


class TcpProbe(Spec, frozen=True):
    """Istio: TCPHealthCheckConfig."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("port",)

    host: str = ""
    port: UInt32 = 0


class ExecProbe(Spec, frozen=True):
    """Istio: ExecHealthCheckConfig."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("command",)

    command: tuple[str, ...] = ()


class GrpcProbe(Spec, frozen=True):
    """Istio: GrpcHealthCheckConfig."""

    port: UInt32 = 0
    service: str = ""


class WorkloadProbe(Spec, frozen=True):
    """One way of four; zero in a number means Kubernetes' default. Istio: ReadinessProbe."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("exec", "grpc", "httpGet", "tcpSocket"),)

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

    REQUIRED: ClassVar[tuple[str, ...]] = ("template",)

    metadata: GroupMetadata | None = None
    template: WorkloadEntrySpec | None = None
    probe: WorkloadProbe | None = None


class WorkloadGroup(Object, frozen=True):
    """networking.istio.io WorkloadGroup."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("spec",)

    kind: ClassVar[str] = "WorkloadGroup"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "workloadgroups"

    spec: WorkloadGroupSpec = msgspec.field(default_factory=WorkloadGroupSpec)
