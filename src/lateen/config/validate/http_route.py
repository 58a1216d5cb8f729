"""HTTP routes of a VirtualService. Source: Istio, validateHTTPRoute."""

import base64
import binascii
from http import HTTPStatus

from lateen.config.kinds.istio.virtual_service import (
    CorsPolicy,
    DirectResponse,
    Headers,
    HttpFault,
    HttpMatch,
    HttpRedirect,
    HttpRetry,
    HttpRewrite,
    HttpRoute,
    StringMatch,
)
from lateen.config.validate.destinations import check_destination, check_gateways, check_weights
from lateen.config.validate.names import (
    check_duration,
    check_header_name,
    check_labels,
    check_matched,
    check_percentage,
    check_port,
    check_regex,
    check_substitution,
    check_written,
    is_label,
)
from lateen.config.validate.report import Report

MAX_BODY_BYTES = 2**20
"""Of a direct response. Source: Istio."""
RETRY_CONDITIONS = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
"""Source: Envoy, x-envoy-retry-on and x-envoy-retry-grpc-on."""
GRPC_CODES = frozenset(
    {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    }
)
"""Source: gRPC, status codes."""
HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"})
CLAIMS = "@request.auth.claims"
"""Beginning of a header key that matches a token's claim. Source: Istio, JWT claim based routing."""
_AUTHORITY = frozenset({":authority", "host"})


def check_http_route(report: Report, field: str, route: HttpRoute, is_delegate: bool) -> None:
    """One route. `is_delegate`: it belongs to a VirtualService without hosts."""
    if route.delegate is not None:
        _root(report, field, route, is_delegate)
    else:
        _action(report, field, route)
    for index, match in enumerate(route.match):
        _match(report, f"{field}.match[{index}]", match)
    _mirrors(report, field, route)
    if route.redirect is not None:
        _redirect(report, f"{field}.redirect", route.redirect)
    if route.direct_response is not None:
        _direct_response(report, f"{field}.directResponse", route.direct_response)
    if route.retries is not None:
        _retries(report, f"{field}.retries", route.retries)
    if route.rewrite is not None:
        _rewrite(report, f"{field}.rewrite", route.rewrite)
    if route.cors_policy is not None:
        _cors(report, f"{field}.corsPolicy", route.cors_policy)
    if route.fault is not None:
        _fault(report, f"{field}.fault", route.fault)
    check_duration(report, f"{field}.timeout", route.timeout)
    _headers(report, f"{field}.headers", route.headers)
    _authority(report, field, route)
    check_weights(report, f"{field}.route", route.route)
    for index, destination in enumerate(route.route):
        _headers(report, f"{field}.route[{index}].headers", destination.headers)


def _actions(route: HttpRoute) -> dict[str, bool]:
    return {"route": bool(route.route), "redirect": route.redirect is not None, "directResponse": route.direct_response is not None}


def _root(report: Report, field: str, route: HttpRoute, is_delegate: bool) -> None:
    """A route that hands over: nothing that the delegate decides, and matches that can be merged with its own."""
    if is_delegate:
        report.error(f"{field}.delegate", "a delegate hands over to no further delegate")
    for name, is_set in _actions(route).items():
        if is_set:
            report.error(f"{field}.{name}", "a route with a delegate has no action of its own")
    for index, match in enumerate(route.match):
        named: list[tuple[str, StringMatch | None]] = [("uri", match.uri), ("scheme", match.scheme), ("method", match.method), ("authority", match.authority)]
        named += [(f"headers[{name}]", value) for name, value in match.headers.items()]
        named += [(f"withoutHeaders[{name}]", value) for name, value in match.without_headers.items()]
        named += [(f"queryParams[{name}]", value) for name, value in match.query_params.items()]
        for name, value in named:
            if value is not None and value.regex is not None:
                report.error(f"{field}.match[{index}].{name}.regex", "a route with a delegate matches by no regular expression")


def _action(report: Report, field: str, route: HttpRoute) -> None:
    """Exactly one of route, redirect and direct response; faults and rewrites go with routes only."""
    chosen = [name for name, is_set in _actions(route).items() if is_set]
    if not chosen:
        report.error(field, "a route needs an action", "add route, redirect or directResponse")
    elif len(chosen) > 1:
        report.error(f"{field}.{chosen[-1]}", f"a route has one action, this has {' and '.join(chosen)}")
    elif chosen != ["route"]:
        for name, value in (("fault", route.fault), ("rewrite", route.rewrite)):
            if value is not None:
                report.error(f"{field}.{name}", f"a {name} does not go with {chosen[0]}")


def _string(report: Report, field: str, match: StringMatch | None) -> None:
    if match is None:
        return
    if match.regex is not None:
        check_regex(report, f"{field}.regex", match.regex)
    check_matched(report, f"{field}.exact", match.exact)
    check_matched(report, f"{field}.prefix", match.prefix)


def _match(report: Report, field: str, match: HttpMatch) -> None:
    for name, value in (("uri", match.uri), ("scheme", match.scheme), ("method", match.method), ("authority", match.authority)):
        _string(report, f"{field}.{name}", value)
    for group, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for name, value in headers.items():
            here = f"{field}.{group}[{name}]"
            check_header_name(report, here, name)
            if name.lower().startswith(CLAIMS):
                _claim(report, here, name)
            if value.regex != "*":
                _string(report, here, value)
    for name, value in match.query_params.items():
        if not name:
            report.error(f"{field}.queryParams", "a query parameter's name must not be empty")
        if value.regex != "*":
            _string(report, f"{field}.queryParams[{name}]", value)
    if match.port:
        check_port(report, f"{field}.port", match.port)
    check_labels(report, f"{field}.sourceLabels", match.source_labels)
    check_gateways(report, f"{field}.gateways", match.gateways)
    if match.source_namespace and not is_label(match.source_namespace):
        report.error(f"{field}.sourceNamespace", f"not a namespace: `{match.source_namespace}`")


def _claim(report: Report, field: str, name: str) -> None:
    rest = name[len(CLAIMS) :]
    if len(rest) < 2 or rest[0] not in ".[":
        report.error(field, f"names no claim: `{name}`", f"write {CLAIMS}.group or {CLAIMS}[group]")


def _mirrors(report: Report, field: str, route: HttpRoute) -> None:
    if route.mirror is not None and route.mirrors:
        report.error(f"{field}.mirrors", "either mirror or mirrors")
    if route.mirror is not None:
        check_destination(report, f"{field}.mirror", route.mirror)
    if route.mirror_percent is not None:
        report.deprecated(f"{field}.mirrorPercent", "mirrorPercentage")
        check_percentage(report, f"{field}.mirrorPercent", route.mirror_percent)
    if route.mirror_percentage is not None:
        check_percentage(report, f"{field}.mirrorPercentage.value", route.mirror_percentage.value)
    for index, mirror in enumerate(route.mirrors):
        check_destination(report, f"{field}.mirrors[{index}].destination", mirror.destination)
        if mirror.percentage is not None:
            check_percentage(report, f"{field}.mirrors[{index}].percentage.value", mirror.percentage.value)


def _redirect(report: Report, field: str, redirect: HttpRedirect) -> None:
    says = redirect.uri or redirect.authority or redirect.scheme or redirect.prefix_rewrite
    if not says and redirect.port is None and redirect.derive_port is None:
        report.error(field, "a redirect must say where to", "set uri, prefixRewrite, authority, scheme or port")
    if redirect.uri and redirect.prefix_rewrite:
        report.error(f"{field}.prefixRewrite", "either uri or prefixRewrite")
    if redirect.redirect_code and not 300 <= redirect.redirect_code <= 399:
        report.error(f"{field}.redirectCode", f"a redirect's code is 3xx: {redirect.redirect_code}")
    if redirect.scheme not in ("", "http", "https"):
        report.error(f"{field}.scheme", f"http or https: `{redirect.scheme}`")
    if redirect.port is not None:
        check_port(report, f"{field}.port", redirect.port)
    for name, text in (("uri", redirect.uri), ("prefixRewrite", redirect.prefix_rewrite), ("authority", redirect.authority)):
        check_written(report, f"{field}.{name}", text)


def _direct_response(report: Report, field: str, response: DirectResponse) -> None:
    if not 200 <= response.status <= 599:
        report.error(f"{field}.status", f"a status is between 200 and 599: {response.status}")
    if response.body is None:
        return
    size = len((response.body.string or "").encode())
    if response.body.bytes is not None:
        try:
            size = len(base64.b64decode(response.body.bytes, validate=True))
        except (binascii.Error, ValueError):
            report.error(f"{field}.body.bytes", "not base64")
    if size > MAX_BODY_BYTES:
        report.error(f"{field}.body", f"a body has at most 1 MiB, this has {size} bytes")


def _retries(report: Report, field: str, retries: HttpRetry) -> None:
    if retries.attempts < 0:
        report.error(f"{field}.attempts", f"must not be negative: {retries.attempts}")
    is_said = retries.per_try_timeout is not None or retries.retry_on or retries.retry_remote_localities is not None
    if retries.attempts == 0 and is_said:
        report.error(field, "attempts is 0, which switches retries off, yet other fields say how to retry", "set attempts")
    check_duration(report, f"{field}.perTryTimeout", retries.per_try_timeout)
    check_duration(report, f"{field}.backoff", retries.backoff)
    if retries.retry_on:
        for condition in retries.retry_on.split(","):
            name = condition.strip()
            if name not in RETRY_CONDITIONS and not _is_status(name):
                report.error(f"{field}.retryOn", f"no such condition: `{condition}`", "one of " + ", ".join(sorted(RETRY_CONDITIONS)))


def _is_status(text: str) -> bool:
    return text.isdigit() and int(text) in {int(status) for status in HTTPStatus}


def _rewrite(report: Report, field: str, rewrite: HttpRewrite) -> None:
    regex = rewrite.uri_regex_rewrite
    if rewrite.uri and regex is not None:
        report.error(f"{field}.uriRegexRewrite", "either uri or uriRegexRewrite")
    check_written(report, f"{field}.uri", rewrite.uri)
    check_written(report, f"{field}.authority", rewrite.authority)
    if not rewrite.uri and not rewrite.authority and regex is None:
        report.error(field, "a rewrite must say what it rewrites", "set uri, uriRegexRewrite or authority")
    if regex is not None:
        if not regex.match or not regex.rewrite:
            report.error(f"{field}.uriRegexRewrite", "needs both match and rewrite")
        if regex.match:
            check_written(report, f"{field}.uriRegexRewrite.rewrite", regex.rewrite)
            check_regex(report, f"{field}.uriRegexRewrite.match", regex.match)
            check_substitution(report, f"{field}.uriRegexRewrite.rewrite", regex.match, regex.rewrite)


def _cors(report: Report, field: str, cors: CorsPolicy) -> None:
    if cors.allow_origin:
        report.deprecated(f"{field}.allowOrigin", "allowOrigins")
    for index, origin in enumerate(cors.allow_origins):
        here = f"{field}.allowOrigins[{index}]"
        if not (origin.exact or origin.prefix or origin.regex):
            report.error(here, "an origin must not be empty")
        _string(report, here, origin)
    for index, method in enumerate(cors.allow_methods):
        if method not in HTTP_METHODS:
            report.error(f"{field}.allowMethods[{index}]", f"no such method: `{method}`")
    for name, headers in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, header in enumerate(headers):
            check_header_name(report, f"{field}.{name}[{index}]", header)
    if cors.max_age is not None:
        check_duration(report, f"{field}.maxAge", cors.max_age)
        if cors.max_age.nanoseconds % 10**9:
            report.error(f"{field}.maxAge", f"must be in whole seconds: {cors.max_age}")


def _fault(report: Report, field: str, fault: HttpFault) -> None:
    abort, delay = fault.abort, fault.delay
    if abort is None and delay is None:
        report.error(field, "a fault needs an abort or a delay")
    if abort is not None:
        if abort.percentage is not None:
            check_percentage(report, f"{field}.abort.percentage.value", abort.percentage.value)
        if abort.http_status is not None and not 200 <= abort.http_status <= 599:
            report.error(f"{field}.abort.httpStatus", f"a status is between 200 and 599: {abort.http_status}")
        if abort.grpc_status is not None and abort.grpc_status not in GRPC_CODES:
            report.error(f"{field}.abort.grpcStatus", f"no such gRPC status: `{abort.grpc_status}`", "one of " + ", ".join(sorted(GRPC_CODES)))
        if abort.http2_error is not None:
            report.error(f"{field}.abort.http2Error", "aborts by HTTP/2 error do not exist", "use httpStatus or grpcStatus")
    if delay is not None:
        if delay.percent:
            report.deprecated(f"{field}.delay.percent", "percentage")
            check_percentage(report, f"{field}.delay.percent", delay.percent)
        if delay.percentage is not None:
            check_percentage(report, f"{field}.delay.percentage.value", delay.percentage.value)
        check_duration(report, f"{field}.delay.fixedDelay", delay.fixed_delay)
        if delay.exponential_delay is not None:
            check_duration(report, f"{field}.delay.exponentialDelay", delay.exponential_delay)
            report.error(f"{field}.delay.exponentialDelay", "delays that grow do not exist", "use fixedDelay")


def _headers(report: Report, field: str, headers: Headers | None) -> None:
    """Names of header operations; `host` and `:authority` may be set on requests, no other internal header may be touched."""
    if headers is None:
        return
    for side, operations in (("request", headers.request), ("response", headers.response)):
        if operations is None:
            continue
        groups = (("set", tuple(operations.set)), ("add", tuple(operations.add)), ("remove", operations.remove))
        for name, names in groups:
            for header in names:
                here = f"{field}.{side}.{name}" + ("" if name == "remove" else f"[{header}]")
                check_header_name(report, here, header)
                is_internal = header.startswith(":") or header.lower() == "host"
                if is_internal and not (side == "request" and name != "remove" and header.lower() in _AUTHORITY):
                    report.error(here, f"this header cannot be changed so: `{header}`")


def _authority(report: Report, field: str, route: HttpRoute) -> None:
    """The authority is rewritten once. Source: Istio, validateAuthorityRewrite."""
    whole = route.rewrite.authority if route.rewrite is not None else ""
    _authority_once(report, f"{field}.headers", whole, route.headers)
    for index, destination in enumerate(route.route):
        _authority_once(report, f"{field}.route[{index}].headers", "", destination.headers)


def _authority_once(report: Report, field: str, current: str, headers: Headers | None) -> None:
    if headers is None or headers.request is None:
        return
    for operations, name in ((headers.request.set, "set"), (headers.request.add, "add")):
        for header, value in operations.items():
            if header.lower() not in _AUTHORITY:
                continue
            if current:
                report.error(f"{field}.request.{name}[{header}]", f"the authority is set twice: `{current}` and `{value}`")
            current = value
