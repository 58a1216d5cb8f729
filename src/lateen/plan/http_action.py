"""What HTTP routes do: redirects, answers, faults, cross-origin rules, retries, header changes. Called by `plan.http_routes`.

Where requests go is `plan.destinations`'.

Source: Istio HTTPRoute and its parts; defaults as Istio has them.
"""

from base64 import b64decode
from collections.abc import Mapping
from http import HTTPStatus

from lateen.config.kinds.istio.virtual_service import (
    CorsPolicy,
    DirectResponse,
    HeaderOperations,
    Headers,
    HttpFault,
    HttpMirror,
    HttpRedirect,
    HttpRetry,
    HttpRewrite,
    HttpRoute,
    Percent,
    RedirectPort,
    StringMatch,
    UnmatchedPreflights,
)
from lateen.mesh.header_values import header_text
from lateen.plan.http_match import is_valid_regex, text_match
from lateen.plan.route import (
    NO_CHANGES,
    Cors,
    Fault,
    Form,
    Fraction,
    HeaderChanges,
    Redirect,
    RegexRewrite,
    Respond,
    Retries,
    TextMatch,
)

RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_RETRIES = Retries(2, RETRY_ON)
REDIRECT_CODES = (301, 302, 303, 307, 308)
GRPC_STATUSES = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}
_HTTP_CODES = frozenset(status.value for status in HTTPStatus) | {103, 425}


def percent_of_million(percent: Percent) -> Fraction:
    """A percentage with four decimals."""
    return Fraction(int(percent.value * 10_000))


def retries(written: HttpRetry | None, hashes: bool) -> Retries | None:
    """The retry policy; None written: the built-in one. None: no retries. `hashes`: the endpoint is chosen by a hash, so another one is not looked for."""
    if written is None:
        return Retries(2, RETRY_ON, avoids_tried_hosts=not hashes)
    if written.attempts <= 0:
        return None
    on, codes = _retry_on(written.retry_on) if written.retry_on else (RETRY_ON, ())
    ignores = written.retry_ignore_previous_hosts
    return Retries(
        written.attempts,
        on,
        codes,
        per_try_timeout_s=written.per_try_timeout,
        base_interval_s=written.backoff or None,
        avoids_tried_hosts=not hashes if ignores is None else ignores,
        prefers_other_priorities=bool(written.retry_remote_localities),
    )


def _retry_on(written: str) -> tuple[str, tuple[int, ...]]:
    """Conditions and status codes of one list; codes ask for the condition that reads them."""
    parts = [part for part in (part.strip() for part in written.split(",")) if part]
    codes = tuple(int(part) for part in parts if part.isdigit() and int(part) in _HTTP_CODES)
    names = [part for part in parts if not (part.isdigit() and int(part) in _HTTP_CODES)]
    text = ",".join(names)
    if codes and "retriable-status-codes" not in names:
        text += ",retriable-status-codes"
    return text, codes


def _is_free(name: str) -> bool:
    """Whether header operations may touch it; pseudo headers and Host are not theirs."""
    return not name.startswith(":") and name.lower() != "host"


def header_changes(written: HeaderOperations | None) -> HeaderChanges:
    """What becomes of headers in one direction."""
    if written is None:
        return NO_CHANGES
    return HeaderChanges(_values(written.set), _values(written.add), tuple(name for name in written.remove if _is_free(name)))


def _values(written: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Names and values as the proxy takes them; what can be no header's value is left out."""
    return tuple((name, text) for name, value in written.items() if _is_free(name) and (text := header_text(value)) is not None)


def authority_of(written: Headers | None) -> str:
    """The authority that request headers set; empty: none."""
    if written is None or written.request is None:
        return ""
    return next((value for name, value in written.request.set.items() if name.lower() in (":authority", "host")), "")


def joined(first: HeaderChanges, second: HeaderChanges) -> HeaderChanges:
    """Both, as one list of operations."""
    if not (first is NO_CHANGES or second is NO_CHANGES):
        return HeaderChanges((*first.put, *second.put), (*first.added, *second.added), (*first.removed, *second.removed))
    return second if first is NO_CHANGES else first


def rewrites(written: HttpRewrite | None) -> tuple[str | None, RegexRewrite | None]:
    """(prefix, pattern) in place of the path; a pattern wins. A pattern that RE2 refuses counts as none."""
    if written is None:
        return None, None
    if written.uri_regex_rewrite is not None:
        pattern = RegexRewrite(written.uri_regex_rewrite.match, written.uri_regex_rewrite.rewrite)
        return None, pattern if is_valid_regex(pattern.pattern) else None
    return written.uri or None, None


def redirect(written: HttpRedirect, port: int, is_tls: bool) -> Redirect | None:
    """A redirect, for a listener's `port`. None: a code that there is no redirect with."""
    code = written.redirect_code or 301
    if code not in REDIRECT_CODES:
        return None
    named = written.port or (port if written.derive_port is RedirectPort.FROM_REQUEST_PORT and written.port is None else 0)
    scheme = written.scheme or ("https" if is_tls else "http")
    is_usual = (scheme, named) in (("http", 80), ("https", 443))
    return Redirect(
        code,
        written.authority,
        "" if written.prefix_rewrite else written.uri,
        written.prefix_rewrite or None,
        scheme=written.scheme,
        port=0 if is_usual else named,
    )


def respond(written: DirectResponse) -> Respond | None:
    """An answer at once. None: a status that no answer has."""
    if not 200 <= written.status < 600:
        return None
    if written.body is None:
        return Respond(written.status)
    return Respond(written.status, written.body.string or "", b64decode(written.body.bytes or ""))


def fault(written: HttpFault | None) -> Fault | None:
    """Injected faults. Envoy has no exponential delay, no HTTP/2 error and no status outside 200 to 599; without any other fault there is none."""
    if written is None:
        return None
    delay, abort = written.delay, written.abort
    delays = delay is not None and bool(delay.fixed_delay)
    aborts = abort is not None and (200 <= abort.http_status < 600 if abort.http_status is not None else abort.grpc_status is not None)
    if not delays and not aborts:
        return None
    delay_s = delay_share = http_status = grpc_status = abort_share = None
    if delay is not None and delays:
        delay_s = delay.fixed_delay
        delay_share = percent_of_million(delay.percentage) if delay.percentage else Fraction(delay.percent, 100)
    if abort is not None and aborts:
        http_status = abort.http_status
        grpc_status = GRPC_STATUSES.get(abort.grpc_status or "", 2) if http_status is None else None
        abort_share = percent_of_million(abort.percentage) if abort.percentage else None
    return Fault(delay_s, delay_share, http_status, grpc_status, abort_share)


def cors(written: CorsPolicy | None) -> Cors | None:
    """A cross-origin policy; origins with a pattern that RE2 refuses are left out."""
    if written is None:
        return None
    origins = written.allow_origins or tuple(StringMatch(exact=origin) for origin in written.allow_origin)
    return Cors(
        tuple(match for match in map(_origin, origins) if match.form is not Form.REGEX or is_valid_regex(match.value)),
        ",".join(written.allow_methods),
        ",".join(written.allow_headers),
        ",".join(written.expose_headers),
        "" if written.max_age is None else str(int(written.max_age)),
        written.allow_credentials,
        written.unmatched_preflights is not UnmatchedPreflights.IGNORE,
    )


def _origin(written: StringMatch) -> TextMatch:
    return TextMatch(Form.REGEX, written.regex) if written.regex is not None else text_match(written)


def mirrors(written: HttpRoute) -> tuple[tuple[HttpMirror, Fraction], ...]:
    """What gets a copy, and of how many requests; one of no requests is left out."""
    found: list[tuple[HttpMirror, Fraction | None]] = []
    if written.mirror is not None:
        found.append((HttpMirror(destination=written.mirror), _mirror_share(written)))
    for mirror in written.mirrors:
        if mirror.destination is not None:
            found.append((mirror, percent_of_million(mirror.percentage) if mirror.percentage else Fraction(100, 100)))
    return tuple((mirror, share) for mirror, share in found if share is not None and share.numerator > 0)


def _mirror_share(written: HttpRoute) -> Fraction:
    if written.mirror_percentage is not None:
        return percent_of_million(written.mirror_percentage)
    return Fraction(100 if written.mirror_percent is None else written.mirror_percent, 100)
