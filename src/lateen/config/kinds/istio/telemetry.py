"""Telemetry: metrics, access logs and traces of workloads. Istio: telemetry Telemetry."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import LabelSelector, TargetRef
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Duration, Map


class WorkloadMode(StrEnum):
    """Istio: telemetry WorkloadMode."""

    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"
    CLIENT = "CLIENT"
    SERVER = "SERVER"


class ProviderRef(Spec, frozen=True):
    """Istio: ProviderRef."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("name",)

    name: Annotated[str, msgspec.Meta(min_length=1)] = ""


class ModeSelector(Spec, frozen=True):
    """Istio: Tracing.TracingSelector and AccessLogging.LogSelector."""

    mode: WorkloadMode = WorkloadMode.CLIENT_AND_SERVER


class SpanTagSource(Spec, frozen=True):
    """Istio: Tracing.Environment and Tracing.RequestHeader."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("name",)

    name: Annotated[str, msgspec.Meta(min_length=1)] = ""
    default_value: str = ""


class SpanTagValue(Spec, frozen=True):
    """Istio: Tracing.Literal and Tracing.Formatter."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("value",)

    value: Annotated[str, msgspec.Meta(min_length=1)] = ""


class SpanTag(Spec, frozen=True):
    """One of four. Istio: Tracing.CustomTag."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("environment", "formatter", "header", "literal"),)

    literal: SpanTagValue | None = None
    environment: SpanTagSource | None = None
    header: SpanTagSource | None = None
    formatter: SpanTagValue | None = None


class Tracing(Spec, frozen=True):
    """Istio: telemetry Tracing."""

    match: ModeSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    disable_span_reporting: bool | None = None
    custom_tags: Map[SpanTag] = Map()
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None
    disable_context_propagation: bool | None = None


class Metric(StrEnum):
    """Istio: MetricSelector.IstioMetric."""

    ALL_METRICS = "ALL_METRICS"
    REQUEST_COUNT = "REQUEST_COUNT"
    REQUEST_DURATION = "REQUEST_DURATION"
    REQUEST_SIZE = "REQUEST_SIZE"
    RESPONSE_SIZE = "RESPONSE_SIZE"
    TCP_OPENED_CONNECTIONS = "TCP_OPENED_CONNECTIONS"
    TCP_CLOSED_CONNECTIONS = "TCP_CLOSED_CONNECTIONS"
    TCP_SENT_BYTES = "TCP_SENT_BYTES"
    TCP_RECEIVED_BYTES = "TCP_RECEIVED_BYTES"
    GRPC_REQUEST_MESSAGES = "GRPC_REQUEST_MESSAGES"
    GRPC_RESPONSE_MESSAGES = "GRPC_RESPONSE_MESSAGES"


class MetricSelector(Spec, frozen=True):
    """Istio: MetricSelector."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("customMetric", "metric"),)

    metric: Metric | None = None
    custom_metric: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    mode: WorkloadMode = WorkloadMode.CLIENT_AND_SERVER


class TagOperation(StrEnum):
    """Istio: MetricsOverrides.TagOverride.Operation."""

    UPSERT = "UPSERT"
    REMOVE = "REMOVE"


class TagOverride(Spec, frozen=True):
    """Istio: MetricsOverrides.TagOverride."""

    operation: TagOperation = TagOperation.UPSERT
    value: str = ""


class MetricsOverrides(Spec, frozen=True):
    """Istio: MetricsOverrides."""

    match: MetricSelector | None = None
    disabled: bool | None = None
    tag_overrides: Map[TagOverride] = Map()


class Metrics(Spec, frozen=True):
    """Istio: Metrics."""

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverrides, ...] = ()
    reporting_interval: Duration | None = None


class LogFilter(Spec, frozen=True):
    """Istio: AccessLogging.Filter."""

    expression: str = ""
    """CEL."""


class AccessLogging(Spec, frozen=True):
    """Istio: AccessLogging."""

    match: ModeSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: LogFilter | None = None


class TelemetrySpec(Spec, frozen=True):
    """Istio: Telemetry."""

    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: Annotated[tuple[TargetRef, ...], msgspec.Meta(max_length=16)] = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()


class Telemetry(Object, frozen=True):
    """telemetry.istio.io Telemetry."""

    kind: ClassVar[str] = "Telemetry"
    group: ClassVar[str] = "telemetry.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1alpha1")
    plural: ClassVar[str] = "telemetries"

    spec: TelemetrySpec = msgspec.field(default_factory=TelemetrySpec)
