"""VirtualService: how calls to hosts are routed. Istio: networking VirtualService."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import PortSelector
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Duration, Int32, Labels, Map, UInt32


class StringMatch(Spec, frozen=True):
    """At most one is set; none set asks for presence. Istio: StringMatch."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("exact", "prefix", "regex"),)

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None
    """RE2, matching the whole value."""


class Percent(Spec, frozen=True):
    """Istio: Percent."""

    value: float = 0.0
    """0 to 100."""


class Destination(Spec, frozen=True):
    """Istio: Destination."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("host",)

    host: str = ""
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(Spec, frozen=True):
    """Istio: Headers.HeaderOperations."""

    set: Labels = Map()
    add: Labels = Map()
    remove: tuple[str, ...] = ()


class Headers(Spec, frozen=True):
    """Istio: Headers."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HttpMatch(Spec, frozen=True):
    """One condition; its fields are ANDed. Istio: HTTPMatchRequest."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Map[StringMatch] = Map()
    without_headers: Map[StringMatch] = Map()
    query_params: Map[StringMatch] = Map()
    port: UInt32 = 0
    """0: any."""
    ignore_uri_case: bool = False
    source_labels: Labels = Map()
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    stat_prefix: str = ""


class HttpDestination(Spec, frozen=True):
    """Istio: HTTPRouteDestination."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("destination",)

    destination: Destination | None = None
    weight: Int32 = 0
    """Relative to the others'. 0 alone means all."""
    headers: Headers | None = None


class RedirectPort(StrEnum):
    """Istio: HTTPRedirect.RedirectPortSelection."""

    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


class HttpRedirect(Spec, frozen=True):
    """Istio: HTTPRedirect."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("derivePort", "port"),)

    uri: str = ""
    authority: str = ""
    scheme: str = ""
    port: UInt32 | None = None
    derive_port: RedirectPort | None = None
    redirect_code: UInt32 = 0
    """0: 301."""
    prefix_rewrite: str = ""


class HttpBody(Spec, frozen=True):
    """One of both. Istio: HTTPBody."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("bytes", "string"),)

    string: str | None = None
    bytes: str | None = None
    """Base64."""


class DirectResponse(Spec, frozen=True):
    """Istio: HTTPDirectResponse."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("status",)

    status: UInt32 = 0
    body: HttpBody | None = None


class RegexRewrite(Spec, frozen=True):
    """Istio: RegexRewrite."""

    match: str = ""
    rewrite: str = ""


class HttpRewrite(Spec, frozen=True):
    """Istio: HTTPRewrite."""

    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class Delegate(Spec, frozen=True):
    """The VirtualService that a route hands over to. Istio: Delegate."""

    name: str = ""
    namespace: str = ""
    """Empty: the root's own."""


class HttpRetry(Spec, frozen=True):
    """Istio: HTTPRetry."""

    attempts: Int32 = 0
    """0: no retries (a route without this block has the mesh's)."""
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None


class UnmatchedPreflights(StrEnum):
    """Istio: CorsPolicy.UnmatchedPreflights."""

    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


class CorsPolicy(Spec, frozen=True):
    """Istio: CorsPolicy."""

    allow_origin: tuple[str, ...] = ()
    """Deprecated: exact origins."""
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: UnmatchedPreflights = UnmatchedPreflights.UNSPECIFIED


class FaultDelay(Spec, frozen=True):
    """Istio: HTTPFaultInjection.Delay."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("exponentialDelay", "fixedDelay"),)

    percent: Int32 = 0
    """Deprecated: whole percent."""
    percentage: Percent | None = None
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None


class FaultAbort(Spec, frozen=True):
    """One of the three codes. Istio: HTTPFaultInjection.Abort."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("grpcStatus", "http2Error", "httpStatus"),)

    http_status: Int32 | None = None
    grpc_status: str | None = None
    http2_error: str | None = None
    percentage: Percent | None = None


class HttpFault(Spec, frozen=True):
    """Istio: HTTPFaultInjection."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class HttpMirror(Spec, frozen=True):
    """Istio: HTTPMirrorPolicy."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("destination",)

    destination: Destination | None = None
    percentage: Percent | None = None
    """None: all."""


class HttpRoute(Spec, frozen=True):
    """Istio: HTTPRoute."""

    ALIASES: ClassVar[dict[str, str]] = {"mirror_percent": "mirrorPercent"}

    name: str = ""
    match: tuple[HttpMatch, ...] = ()
    """ORed. Empty: every request."""
    route: tuple[HttpDestination, ...] = ()
    redirect: HttpRedirect | None = None
    direct_response: DirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HttpRewrite | None = None
    timeout: Duration | None = None
    """Seconds for the whole exchange. 0.0: no limit. None: not said, which is no limit too."""
    retries: HttpRetry | None = None
    fault: HttpFault | None = None
    mirror: Destination | None = None
    mirrors: tuple[HttpMirror, ...] = ()
    mirror_percent: UInt32 | None = None
    """Deprecated: whole percent."""
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class RouteDestination(Spec, frozen=True):
    """Istio: RouteDestination (tcp and tls)."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("destination",)

    destination: Destination | None = None
    weight: Int32 = 0


class TlsMatch(Spec, frozen=True):
    """Istio: TLSMatchAttributes."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("sniHosts",)

    sni_hosts: tuple[str, ...] = ()
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_labels: Labels = Map()
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TlsRoute(Spec, frozen=True):
    """Istio: TLSRoute."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("match",)

    match: tuple[TlsMatch, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class TcpMatch(Spec, frozen=True):
    """Istio: L4MatchAttributes."""

    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_subnet: str = ""
    """Accepted, without effect; as in Istio."""
    source_labels: Labels = Map()
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TcpRoute(Spec, frozen=True):
    """Istio: TCPRoute."""

    match: tuple[TcpMatch, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualServiceSpec(Spec, frozen=True):
    """Istio: VirtualService."""

    hosts: tuple[str, ...] = ()
    """Empty: a delegate."""
    gateways: tuple[str, ...] = ()
    """Empty: `mesh`."""
    http: tuple[HttpRoute, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    export_to: tuple[str, ...] = ()
    """Empty: as the mesh says."""


class VirtualService(Object, frozen=True):
    """networking.istio.io VirtualService."""

    kind: ClassVar[str] = "VirtualService"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "virtualservices"

    spec: VirtualServiceSpec = msgspec.field(default_factory=VirtualServiceSpec)
