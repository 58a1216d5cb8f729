"""HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute of the Gateway API. Class names are the kinds'."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.gateway.gateways import GROUP, ObjectReference, ParentReference
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Duration, Int32, Json


class HeaderValue(Spec, frozen=True):
    """Gateway API: HTTPHeader."""

    name: str = ""
    value: str = ""


class HeaderModifier(Spec, frozen=True):
    """Gateway API: HTTPHeaderFilter."""

    set: tuple[HeaderValue, ...] = ()
    add: tuple[HeaderValue, ...] = ()
    remove: tuple[str, ...] = ()


class BackendReference(Spec, frozen=True):
    """Gateway API: BackendObjectReference, BackendRef."""

    group: str = ""
    kind: str = "Service"
    name: str = ""
    namespace: str | None = None
    port: Int32 | None = None
    weight: Int32 = 1


class Fraction(Spec, frozen=True):
    """Gateway API: Fraction."""

    numerator: Int32 = 0
    denominator: Int32 = 100


class RequestMirror(Spec, frozen=True):
    """Gateway API: HTTPRequestMirrorFilter."""

    backend_ref: BackendReference | None = None
    percent: Int32 | None = None
    fraction: Fraction | None = None


class PathModifier(Spec, frozen=True):
    """Gateway API: HTTPPathModifier."""

    type: str = ""
    """`ReplaceFullPath` or `ReplacePrefixMatch`."""
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RequestRedirect(Spec, frozen=True):
    """Gateway API: HTTPRequestRedirectFilter."""

    scheme: str | None = None
    hostname: str | None = None
    path: PathModifier | None = None
    port: Int32 | None = None
    status_code: Int32 | None = None
    """None: 302."""


class UrlRewrite(Spec, frozen=True):
    """Gateway API: HTTPURLRewriteFilter."""

    hostname: str | None = None
    path: PathModifier | None = None


class Cors(Spec, frozen=True):
    """Gateway API: HTTPCORSFilter."""

    allow_origins: tuple[str, ...] = ()
    allow_credentials: bool | None = None
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Int32 = 5
    """Seconds."""


class RouteFilter(Spec, frozen=True):
    """`type` names the one field that is set. Gateway API: HTTPRouteFilter, GRPCRouteFilter."""

    type: str = ""
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    cors: Cors | None = None
    external_auth: Json | None = None
    extension_ref: ObjectReference | None = None


class RouteBackend(Spec, frozen=True):
    """Gateway API: HTTPBackendRef, GRPCBackendRef."""

    group: str = ""
    kind: str = "Service"
    name: str = ""
    namespace: str | None = None
    port: Int32 | None = None
    weight: Int32 = 1
    filters: tuple[RouteFilter, ...] = ()


class PathMatch(Spec, frozen=True):
    """Gateway API: HTTPPathMatch."""

    type: str = "PathPrefix"
    """`Exact`, `PathPrefix` or `RegularExpression`."""
    value: str = "/"


class ValueMatch(Spec, frozen=True):
    """Gateway API: HTTPHeaderMatch, HTTPQueryParamMatch, GRPCHeaderMatch."""

    type: str = "Exact"
    """`Exact` or `RegularExpression`."""
    name: str = ""
    value: str = ""


class HttpRouteMatch(Spec, frozen=True):
    """Gateway API: HTTPRouteMatch."""

    path: PathMatch | None = None
    """None: prefix `/`."""
    headers: tuple[ValueMatch, ...] = ()
    query_params: tuple[ValueMatch, ...] = ()
    method: str | None = None


class Timeouts(Spec, frozen=True):
    """Gateway API: HTTPRouteTimeouts."""

    request: Duration | None = None
    backend_request: Duration | None = None


class RouteRetry(Spec, frozen=True):
    """Gateway API: HTTPRouteRetry."""

    codes: tuple[Int32, ...] = ()
    attempts: Int32 | None = None
    backoff: Duration | None = None


class HttpRouteRule(Spec, frozen=True):
    """Gateway API: HTTPRouteRule."""

    name: str | None = None
    matches: tuple[HttpRouteMatch, ...] = ()
    filters: tuple[RouteFilter, ...] = ()
    backend_refs: tuple[RouteBackend, ...] = ()
    timeouts: Timeouts | None = None
    retry: RouteRetry | None = None
    session_persistence: Json | None = None


class HttpRouteSpec(Spec, frozen=True):
    """Gateway API: HTTPRouteSpec."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[HttpRouteRule, ...] = ()
    use_default_gateways: str | None = None


class HTTPRoute(Object, frozen=True):
    """gateway.networking.k8s.io HTTPRoute."""

    kind: ClassVar[str] = "HTTPRoute"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    plural: ClassVar[str] = "httproutes"

    spec: HttpRouteSpec = msgspec.field(default_factory=HttpRouteSpec)


class GrpcMethodMatch(Spec, frozen=True):
    """Gateway API: GRPCMethodMatch."""

    type: str = "Exact"
    service: str | None = None
    method: str | None = None


class GrpcRouteMatch(Spec, frozen=True):
    """Gateway API: GRPCRouteMatch."""

    method: GrpcMethodMatch | None = None
    headers: tuple[ValueMatch, ...] = ()


class GrpcRouteRule(Spec, frozen=True):
    """Gateway API: GRPCRouteRule."""

    name: str | None = None
    matches: tuple[GrpcRouteMatch, ...] = ()
    filters: tuple[RouteFilter, ...] = ()
    backend_refs: tuple[RouteBackend, ...] = ()
    session_persistence: Json | None = None


class GrpcRouteSpec(Spec, frozen=True):
    """Gateway API: GRPCRouteSpec."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[GrpcRouteRule, ...] = ()
    use_default_gateways: str | None = None


class GRPCRoute(Object, frozen=True):
    """gateway.networking.k8s.io GRPCRoute."""

    kind: ClassVar[str] = "GRPCRoute"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1alpha2")
    plural: ClassVar[str] = "grpcroutes"

    spec: GrpcRouteSpec = msgspec.field(default_factory=GrpcRouteSpec)


class StreamRule(Spec, frozen=True):
    """Gateway API: TLSRouteRule, TCPRouteRule, UDPRouteRule."""

    name: str | None = None
    backend_refs: tuple[BackendReference, ...] = ()


class TlsRouteSpec(Spec, frozen=True):
    """Gateway API: TLSRouteSpec."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[StreamRule, ...] = ()
    use_default_gateways: str | None = None


class TLSRoute(Object, frozen=True):
    """gateway.networking.k8s.io TLSRoute."""

    kind: ClassVar[str] = "TLSRoute"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1alpha3", "v1alpha2")
    plural: ClassVar[str] = "tlsroutes"

    spec: TlsRouteSpec = msgspec.field(default_factory=TlsRouteSpec)


class StreamRouteSpec(Spec, frozen=True):
    """Gateway API: TCPRouteSpec, UDPRouteSpec."""

    parent_refs: tuple[ParentReference, ...] = ()
    rules: tuple[StreamRule, ...] = ()
    use_default_gateways: str | None = None


class TCPRoute(Object, frozen=True):
    """gateway.networking.k8s.io TCPRoute."""

    kind: ClassVar[str] = "TCPRoute"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1alpha2")
    plural: ClassVar[str] = "tcproutes"

    spec: StreamRouteSpec = msgspec.field(default_factory=StreamRouteSpec)


class UDPRoute(Object, frozen=True):
    """gateway.networking.k8s.io UDPRoute."""

    kind: ClassVar[str] = "UDPRoute"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1alpha2")
    plural: ClassVar[str] = "udproutes"

    spec: StreamRouteSpec = msgspec.field(default_factory=StreamRouteSpec)
