"""Extension providers of the mesh configuration: external authorizers, tracers, metrics and access logs. Istio: MeshConfig.ExtensionProvider."""

from enum import StrEnum

import msgspec

from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Duration, Int32, Json, Labels, Map, UInt32


class CheckedBody(Spec, frozen=True):
    """Istio: EnvoyExternalAuthorizationRequestBody."""

    max_request_bytes: UInt32 = 0
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class ExtAuthzHttp(Spec, frozen=True):
    """Istio: EnvoyExternalAuthorizationHttpProvider."""

    service: str = ""
    port: UInt32 = 0
    timeout: Duration | None = None
    """None: 600 s."""
    path_prefix: str = ""
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""
    include_headers_in_check: tuple[str, ...] = ()
    """Deprecated."""
    include_request_headers_in_check: tuple[str, ...] = ()
    include_additional_headers_in_check: Labels = Map()
    include_request_body_in_check: CheckedBody | None = None
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()


class ExtAuthzGrpc(Spec, frozen=True):
    """Istio: EnvoyExternalAuthorizationGrpcProvider."""

    service: str = ""
    port: UInt32 = 0
    timeout: Duration | None = None
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""
    include_request_body_in_check: CheckedBody | None = None


class ProviderHeader(Spec, frozen=True):
    """A value or an environment variable's. Istio: ExtensionProvider.HttpHeader."""

    name: str = ""
    value: str | None = None
    env_name: str | None = None


class TraceContextOption(StrEnum):
    """Istio: ZipkinTracingProvider.TraceContextOption."""

    USE_B3 = "USE_B3"
    USE_B3_WITH_W3C_PROPAGATION = "USE_B3_WITH_W3C_PROPAGATION"


class Zipkin(Spec, frozen=True):
    """Istio: ZipkinTracingProvider."""

    service: str = ""
    port: UInt32 = 0
    max_tag_length: UInt32 = 0
    enable_64bit_trace_id: bool = msgspec.field(default=False, name="enable64bitTraceId")
    path: str = ""
    trace_context_option: TraceContextOption = TraceContextOption.USE_B3
    timeout: Duration | None = None
    headers: tuple[ProviderHeader, ...] = ()


class Lightstep(Spec, frozen=True):
    """Istio: LightstepTracingProvider."""

    service: str = ""
    port: UInt32 = 0
    access_token: str = ""
    max_tag_length: UInt32 = 0


class Datadog(Spec, frozen=True):
    """Istio: DatadogTracingProvider."""

    service: str = ""
    port: UInt32 = 0
    max_tag_length: UInt32 = 0


class SkyWalking(Spec, frozen=True):
    """Istio: SkyWalkingTracingProvider."""

    service: str = ""
    port: UInt32 = 0
    access_token: str = ""


class StackdriverLogging(Spec, frozen=True):
    """Istio: StackdriverProvider.Logging."""

    labels: Labels = Map()


class Stackdriver(Spec, frozen=True):
    """Istio: StackdriverProvider."""

    debug: bool = False
    max_number_of_attributes: int | None = None
    max_number_of_annotations: int | None = None
    max_number_of_message_events: int | None = None
    max_tag_length: UInt32 = 0
    logging: StackdriverLogging | None = None


class OpenCensus(Spec, frozen=True):
    """Istio: OpenCensusAgentTracingProvider."""

    service: str = ""
    port: UInt32 = 0
    context: tuple[str, ...] = ()
    max_tag_length: UInt32 = 0


class HttpService(Spec, frozen=True):
    """Istio: ExtensionProvider.HttpService."""

    path: str = ""
    timeout: Duration | None = None
    headers: tuple[ProviderHeader, ...] = ()


class GrpcService(Spec, frozen=True):
    """Istio: ExtensionProvider.GrpcService."""

    timeout: Duration | None = None
    initial_metadata: tuple[ProviderHeader, ...] = ()


class EmptyMessage(Spec, frozen=True):
    """A message whose presence says all."""


class ResourceDetectors(Spec, frozen=True):
    """Istio: ExtensionProvider.ResourceDetectors."""

    environment: EmptyMessage | None = None
    dynatrace: EmptyMessage | None = None


class ServiceAttributeEnrichment(StrEnum):
    """Istio: ExtensionProvider.ServiceAttributeEnrichment."""

    ISTIO_CANONICAL = "ISTIO_CANONICAL"
    OTEL_SEMANTIC_CONVENTIONS = "OTEL_SEMANTIC_CONVENTIONS"


class DynatraceApi(Spec, frozen=True):
    """Istio: DynatraceSampler.DynatraceApi."""

    service: str = ""
    port: UInt32 = 0
    http: HttpService | None = None


class DynatraceSampler(Spec, frozen=True):
    """Istio: OpenTelemetryTracingProvider.DynatraceSampler."""

    tenant: str = ""
    cluster_id: Int32 = 0
    root_spans_per_minute: UInt32 = 0
    http_service: DynatraceApi | None = None


class OpenTelemetry(Spec, frozen=True):
    """Istio: OpenTelemetryTracingProvider."""

    service: str = ""
    port: UInt32 = 0
    max_tag_length: UInt32 = 0
    http: HttpService | None = None
    grpc: GrpcService | None = None
    resource_detectors: ResourceDetectors | None = None
    service_attribute_enrichment: ServiceAttributeEnrichment = ServiceAttributeEnrichment.ISTIO_CANONICAL
    dynatrace_sampler: DynatraceSampler | None = None


class LogFormat(Spec, frozen=True):
    """Text or labels. Istio: LogFormat of the file and OpenTelemetry log providers."""

    text: str | None = None
    labels: Json | None = None


class FileAccessLog(Spec, frozen=True):
    """Istio: EnvoyFileAccessLogProvider."""

    path: str = ""
    log_format: LogFormat | None = None
    omit_empty_values: bool = False


class HttpAccessLogService(Spec, frozen=True):
    """Istio: EnvoyHttpGrpcV3LogProvider."""

    service: str = ""
    port: UInt32 = 0
    log_name: str = ""
    filter_state_objects_to_log: tuple[str, ...] = ()
    additional_request_headers_to_log: tuple[str, ...] = ()
    additional_response_headers_to_log: tuple[str, ...] = ()
    additional_response_trailers_to_log: tuple[str, ...] = ()


class TcpAccessLogService(Spec, frozen=True):
    """Istio: EnvoyTcpGrpcV3LogProvider."""

    service: str = ""
    port: UInt32 = 0
    log_name: str = ""
    filter_state_objects_to_log: tuple[str, ...] = ()


class OtelAccessLog(Spec, frozen=True):
    """Istio: EnvoyOpenTelemetryLogProvider."""

    service: str = ""
    port: UInt32 = 0
    log_name: str = ""
    log_format: LogFormat | None = None


class SdsProvider(Spec, frozen=True):
    """Istio: SDSProvider."""

    name: str = ""
    service: str = ""
    port: UInt32 = 0


class ExtensionProvider(Spec, frozen=True):
    """A name and one provider. Istio: MeshConfig.ExtensionProvider."""

    name: str = ""
    envoy_ext_authz_http: ExtAuthzHttp | None = None
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = None
    zipkin: Zipkin | None = None
    lightstep: Lightstep | None = None
    datadog: Datadog | None = None
    stackdriver: Stackdriver | None = None
    opencensus: OpenCensus | None = None
    skywalking: SkyWalking | None = None
    opentelemetry: OpenTelemetry | None = None
    prometheus: EmptyMessage | None = None
    envoy_file_access_log: FileAccessLog | None = None
    envoy_http_als: HttpAccessLogService | None = None
    envoy_tcp_als: TcpAccessLogService | None = None
    envoy_otel_als: OtelAccessLog | None = None
    sds: SdsProvider | None = None
