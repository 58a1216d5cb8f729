"""Rules of HTTPRoutes, GRPCRoutes, TLSRoutes and TCPRoutes as routes of a VirtualService. Called by `routes`.

Source: Gateway API v1, HTTPRouteRule and its kin; names and details as Istio's controller has them.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from lateen.config.kinds.gateway.routes import (
    BackendReference,
    Cors,
    GRPCRoute,
    GrpcRouteMatch,
    GrpcRouteRule,
    HeaderModifier,
    HTTPRoute,
    HttpRouteMatch,
    HttpRouteRule,
    PathModifier,
    RequestMirror,
    RequestRedirect,
    RouteBackend,
    RouteFilter,
    TCPRoute,
    TLSRoute,
    UrlRewrite,
    ValueMatch,
)
from lateen.config.kinds.istio.virtual_service import (
    CorsPolicy,
    DirectResponse,
    HeaderOperations,
    Headers,
    HttpDestination,
    HttpMatch,
    HttpMirror,
    HttpRedirect,
    HttpRetry,
    HttpRewrite,
    HttpRoute,
    Percent,
    RedirectPort,
    RegexRewrite,
    RouteDestination,
    StringMatch,
    UnmatchedPreflights,
)
from lateen.config.kinds.values import Duration, Map
from lateen.incremental import Db
from lateen.mesh.gateway_api.backends import destination

RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"
NO_BACKEND = DirectResponse(status=500)
FILTERS = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "CORS": "cors",
}
"""Type of a filter → its part; the types in force."""


def http_rules(db: Db, route: HTTPRoute | GRPCRoute, *, needs_grant: bool) -> Iterator[HttpRoute]:
    """The routes of all its rules, one for each condition, in order."""
    rules: tuple[HttpRouteRule | GrpcRouteRule, ...] = (*route.spec.rules,)
    for position, rule in enumerate(rules):
        converted = _rule(db, route, rule, rule.name or f"{route.namespace}.{route.name}.{position}", needs_grant)
        matches = [_http_match(match) for match in rule.matches] if isinstance(rule, HttpRouteRule) else [_grpc_match(match) for match in rule.matches]
        for match in matches or [HttpMatch()]:
            if match == HttpMatch():
                yield _fitted(converted, None)
            else:
                yield _fitted(msgspec.structs.replace(converted, match=(match,)), match)


def _rule(db: Db, route: HTTPRoute | GRPCRoute, rule: HttpRouteRule | GrpcRouteRule, name: str, needs_grant: bool) -> HttpRoute:
    kind = type(route).__name__
    filters = tuple(_typed(item) for item in rule.filters)
    changes = _changes(rule.filters)
    mirrors: list[HttpMirror] = []
    redirect: HttpRedirect | None = None
    rewrite: HttpRewrite | None = None
    cors: CorsPolicy | None = None
    for item in filters:
        if item.request_mirror and item.request_mirror.backend_ref:
            to = destination(db, kind, route.namespace, item.request_mirror.backend_ref, needs_grant=needs_grant)
            mirrors += [HttpMirror(destination=to, percentage=_share(item.request_mirror))] if to.host else []
        redirect = _redirect(item.request_redirect) if item.request_redirect else redirect
        rewrite = _rewrite(item.url_rewrite) if item.url_rewrite else rewrite
        cors = _cors(item.cors) if item.cors else cors
    retries = _retries(rule) if isinstance(rule, HttpRouteRule) else None
    timeout = _timeout(rule) if isinstance(rule, HttpRouteRule) else None
    backends = tuple(_weighted(db, kind, route.namespace, to, needs_grant) for to in rule.backend_refs)
    has_backend = sum(to.weight for to in rule.backend_refs) > 0
    return HttpRoute(
        name=name,
        route=backends if has_backend and redirect is None else (),
        redirect=redirect,
        direct_response=None if has_backend or redirect is not None else NO_BACKEND,
        rewrite=rewrite,
        mirrors=tuple(mirrors),
        cors_policy=cors,
        headers=changes,
        retries=retries,
        timeout=timeout,
    )


def _fitted(route: HttpRoute, match: HttpMatch | None) -> HttpRoute:
    """Taking a prefix away leaves no double slash behind. Source: Gateway API ReplacePrefixMatch `/`."""
    if route.rewrite is None or route.rewrite.uri != "/":
        return route
    prefix = match.uri.prefix if match is not None and match.uri is not None and match.uri.prefix else ""
    pattern = RegexRewrite(match=f"^{re.escape(prefix.removesuffix('/'))}(/?)(.*)".replace(r"\-", "-"), rewrite=r"/\2")
    return msgspec.structs.replace(route, rewrite=msgspec.structs.replace(route.rewrite, uri="", uri_regex_rewrite=pattern))


# Conditions


def _http_match(written: HttpRouteMatch) -> HttpMatch:
    uri: StringMatch | None = None
    if written.path is not None:
        value = written.path.value
        if written.path.type == "Exact":
            uri = StringMatch(exact=value)
        elif written.path.type == "RegularExpression":
            uri = StringMatch(regex=value)
        else:
            uri = StringMatch(prefix=value.removesuffix("/") or "/")
    method = StringMatch(exact=written.method) if written.method else None
    return HttpMatch(uri=uri, method=method, headers=_values(written.headers), query_params=_values(written.query_params))


def _grpc_match(written: GrpcRouteMatch) -> HttpMatch:
    return HttpMatch(uri=_grpc_path(written), headers=_values(written.headers))


def _grpc_path(written: GrpcRouteMatch) -> StringMatch | None:
    method = written.method
    if method is None or not (method.service or method.method):
        return None
    if method.type == "RegularExpression":
        return StringMatch(regex=f"/{method.service or '[^/]+'}/{method.method or '[^/]+'}")
    if method.service and method.method:
        return StringMatch(exact=f"/{method.service}/{method.method}")
    return StringMatch(prefix=f"/{method.service}") if method.service else StringMatch(regex=f"/[^/]+/{method.method}")


def _values(written: Iterable[ValueMatch]) -> Map[StringMatch]:
    """Of two with one name the first counts."""
    found: dict[str, StringMatch] = {}
    for one in written:
        found.setdefault(one.name, StringMatch(regex=one.value) if one.type == "RegularExpression" else StringMatch(exact=one.value))
    return Map(found)


# What is done


def _operations(written: HeaderModifier | None) -> HeaderOperations | None:
    if written is None:
        return None
    return HeaderOperations(set=Map({one.name: one.value for one in written.set}), add=Map({one.name: one.value for one in written.add}), remove=written.remove)


def _typed(written: RouteFilter) -> RouteFilter:
    """The filter with the one part that its type names."""
    name = FILTERS.get(written.type)
    return RouteFilter(type=written.type, **{name: getattr(written, name)}) if name else RouteFilter()


def _changes(filters: Iterable[RouteFilter]) -> Headers | None:
    request = response = None
    for one in map(_typed, filters):
        request = _operations(one.request_header_modifier) or request
        response = _operations(one.response_header_modifier) or response
    return Headers(request=request, response=response) if request or response else None


def _weighted(db: Db, kind: str, namespace: str, to: RouteBackend, needs_grant: bool) -> HttpDestination:
    found = destination(db, kind, namespace, to, needs_grant=needs_grant)
    return HttpDestination(destination=found, weight=to.weight, headers=_changes(to.filters))


def _share(written: RequestMirror) -> Percent | None:
    if written.percent is not None:
        return Percent(value=float(written.percent))
    if written.fraction is not None:
        return Percent(value=100.0 * written.fraction.numerator / (written.fraction.denominator or 100))
    return None


def _paths(written: PathModifier | None) -> tuple[str, str | None]:
    """(whole path, prefix) in place of the request's."""
    if written is None:
        return "", None
    if written.type == "ReplacePrefixMatch":
        return "", written.replace_prefix_match
    return (written.replace_full_path or "", None) if written.type == "ReplaceFullPath" else ("", None)


def _redirect(written: RequestRedirect) -> HttpRedirect:
    whole, prefix = _paths(written.path)
    derived = RedirectPort.FROM_PROTOCOL_DEFAULT if written.scheme else RedirectPort.FROM_REQUEST_PORT
    return HttpRedirect(
        uri=whole,
        prefix_rewrite=prefix or "",
        authority=written.hostname or "",
        scheme=written.scheme or "",
        port=written.port,
        derive_port=None if written.port else derived,
        redirect_code=written.status_code or 302,
    )


def _rewrite(written: UrlRewrite) -> HttpRewrite | None:
    whole, prefix = _paths(written.path)
    pattern = RegexRewrite(match="/.*", rewrite=whole) if whole else None
    uri = (prefix.removesuffix("/") or "/") if prefix is not None else ""
    return HttpRewrite(uri=uri, authority=written.hostname or "", uri_regex_rewrite=pattern) if uri or pattern or written.hostname else None


def _cors(written: Cors) -> CorsPolicy:
    return CorsPolicy(
        allow_origins=tuple(_origin(origin) for origin in written.allow_origins),
        allow_methods=written.allow_methods,
        allow_headers=written.allow_headers,
        expose_headers=written.expose_headers,
        max_age=Duration(written.max_age),
        allow_credentials=written.allow_credentials,
        unmatched_preflights=UnmatchedPreflights.IGNORE,
    )


def _origin(written: str) -> StringMatch:
    """`*`, or a scheme and host whose first part may be a wildcard."""
    if written == "*" or "*" not in written:
        return StringMatch(exact=written)
    return StringMatch(regex=".*".join(re.escape(part) for part in written.split("*")))


def _retries(rule: HttpRouteRule) -> HttpRetry | None:
    if rule.retry is None:
        return None
    per_try = rule.timeouts.backend_request if rule.timeouts else None
    return HttpRetry(
        attempts=2 if rule.retry.attempts is None else rule.retry.attempts,
        retry_on=",".join((RETRY_ON, *(str(code) for code in rule.retry.codes))),
        backoff=rule.retry.backoff,
        per_try_timeout=per_try or None,
    )


def _timeout(rule: HttpRouteRule) -> Duration | None:
    if rule.timeouts is None:
        return None
    if rule.timeouts.backend_request and rule.retry is None:
        return rule.timeouts.backend_request
    return rule.timeouts.request or None


# Streams


def stream_targets(db: Db, route: TLSRoute | TCPRoute, backends: tuple[BackendReference, ...], *, needs_grant: bool) -> tuple[RouteDestination, ...]:
    """Where connections go; backends that may not be used, and those of weight 0, are left out."""
    kind = type(route).__name__
    found = ((destination(db, kind, route.namespace, to, needs_grant=needs_grant), to.weight) for to in backends)
    return tuple(RouteDestination(destination=to, weight=weight) for to, weight in found if to.host and weight)


# Order


def precedence(route: HttpRoute) -> tuple[int, int, bool, int, int]:
    """Sort key, ascending: exact paths, then longer ones, then with a method, with more headers, with more query parameters. Source: Gateway API."""
    if not route.match:
        return (9, 0, True, 0, 0)
    match = route.match[0]
    uri = match.uri
    kind, size = 3, 0
    if uri is not None:
        kind = 0 if uri.exact is not None else 1 if uri.prefix is not None else 2
        size = len(uri.exact or uri.prefix or uri.regex or "")
    return (kind, -size, match.method is None, -len(match.headers), -len(match.query_params))
