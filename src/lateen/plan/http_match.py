"""What HTTP routes match: the conditions of a VirtualService as conditions of a route. Called by `plan.http_routes`.

Source: Istio HTTPMatchRequest, and what Envoy's route match can say.
"""

from collections.abc import Mapping

import re2

from lateen.config.kinds.istio.virtual_service import HttpMatch, StringMatch
from lateen.plan.route import ANY_PATH, PRESENT, ClaimMatch, Form, HeaderMatch, QueryMatch, RouteMatch, TextMatch

CLAIM_HEADER = "@request.auth.claims"
EVERYTHING = RouteMatch()
MAX_PROGRAM = 32768
"""The size of compiled patterns that our proxies take. Source: Istio, runtime `re2.max_program_size.error_level`."""


def text_match(written: StringMatch | None) -> TextMatch:
    """A text condition; one that says nothing, or the pattern `*`, asks for presence."""
    if written is None or written.regex == "*":
        return PRESENT
    for form, value in ((Form.EXACT, written.exact), (Form.PREFIX, written.prefix), (Form.REGEX, written.regex)):
        if value is not None:
            return TextMatch(form, value)
    return PRESENT


def is_valid_regex(pattern: str) -> bool:
    """Whether RE2, and so Envoy, takes the pattern."""
    options = re2.Options()
    options.log_errors = False
    try:
        return bool(pattern) and re2.compile(pattern, options).programsize <= MAX_PROGRAM
    except re2.error:
        return False


def route_match(written: HttpMatch | None, *, by_segments: bool = False) -> RouteMatch | None:
    """The conditions of one entry of `match`; None of them: every request. `by_segments`: a prefix ends at a `/` (Gateway API, Ingress).

    None: it holds a pattern that Envoy would refuse, so it matches nothing.
    """
    if written is None:
        return EVERYTHING
    headers = [_header(name, value, False) for name, value in written.headers.items() if claim_path(name) is None]
    headers += [_header(name, value, True) for name, value in written.without_headers.items() if claim_path(name) is None]
    headers.sort(key=lambda header: header.name)
    for name, value in ((":method", written.method), (":authority", written.authority), (":scheme", written.scheme)):
        if value is not None:
            headers.append(_header(name, value, False))
    found = RouteMatch(
        _path(written.uri, by_segments),
        not written.ignore_uri_case,
        tuple(headers),
        tuple(QueryMatch(name, text_match(value)) for name, value in written.query_params.items()),
        (*_claims(written.headers, False), *_claims(written.without_headers, True)),
    )
    return found if all(is_valid_regex(pattern) for pattern in patterns(found)) else None


def patterns(match: RouteMatch) -> tuple[str, ...]:
    """All regular expressions in it."""
    texts = (match.path, *(one.match for one in match.headers), *(one.match for one in match.query), *(one.match for one in match.claims))
    return tuple(text.value for text in texts if text.form is Form.REGEX)


def _path(written: StringMatch | None, by_segments: bool) -> TextMatch:
    if written is None:
        return ANY_PATH
    if written.exact is not None:
        return TextMatch(Form.EXACT, written.exact)
    if written.prefix is not None:
        segments = written.prefix.removesuffix("/")
        by_segments = by_segments and segments.startswith("/") and not segments.endswith("/") and not {"?", "#"} & set(segments)
        return TextMatch(Form.SEGMENTS, segments) if by_segments else TextMatch(Form.PREFIX, written.prefix)
    return ANY_PATH if written.regex is None else TextMatch(Form.REGEX, written.regex)


def _header(name: str, written: StringMatch | None, inverts: bool) -> HeaderMatch:
    match = text_match(written)
    return HeaderMatch(name, match, inverts, missing_is_empty=inverts and match.form is not Form.PRESENT)


def claim_path(header: str) -> tuple[str, ...] | None:
    """The claim that a header name stands for, as names from the outermost on; None: an ordinary header.

    `@request.auth.claims.a.b` or `@request.auth.claims[a][b]`. Source: Istio, JWT claim based routing.
    """
    if not header.lower().startswith(CLAIM_HEADER):
        return None
    rest = header[len(CLAIM_HEADER) :]
    if rest.startswith("[") and rest.endswith("]"):
        return tuple(rest[1:-1].split("]["))
    return tuple(rest[1:].split(".")) if rest.startswith(".") and len(rest) > 1 else None


def _claims(written: Mapping[str, StringMatch], inverts: bool) -> tuple[ClaimMatch, ...]:
    found = ((claim_path(name), value) for name, value in written.items())
    return tuple(ClaimMatch(path, text_match(value), inverts) for path, value in found if path)
