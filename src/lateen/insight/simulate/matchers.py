"""Envoy's matchers of strings, headers, query parameters and paths. Source: Envoy's v3 API documentation of each message.

Regular expressions are RE2's, full match. Called by `routing`.
"""

from collections.abc import Mapping
from functools import cache

import re2

from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2
from lateen.wire.pb.envoy.type.matcher.v3 import string_pb2


@cache
def _compiled(pattern: str) -> "re2._Regexp":
    return re2.compile(pattern)


def matches_regex(pattern: str, text: str) -> bool:
    """The whole text. Raises re2.error: RE2 refuses the pattern, and so does Envoy."""
    return _compiled(pattern).fullmatch(text) is not None


def matches_string(matcher: string_pb2.StringMatcher, text: str) -> bool:
    """Source: Envoy type.matcher.v3.StringMatcher. `ignore_case` does nothing to regular expressions."""
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return matches_regex(matcher.safe_regex.regex, text)
    fold = str.lower if matcher.ignore_case else str
    given = fold(text)
    match kind:
        case "exact":
            return given == fold(matcher.exact)
        case "prefix":
            return given.startswith(fold(matcher.prefix))
        case "suffix":
            return given.endswith(fold(matcher.suffix))
        case "contains":
            return fold(matcher.contains) in given
        case _:
            return False


def matches_header(matcher: route_components_pb2.HeaderMatcher, headers: Mapping[str, str]) -> bool:
    """Source: Envoy config.route.v3.HeaderMatcher. A missing header matches nothing but `present_match`, inverted or not, unless it counts as empty."""
    value = headers.get(matcher.name.lower())
    kind = matcher.WhichOneof("header_match_specifier")
    if value is None and matcher.treat_missing_header_as_empty:
        value = ""
    if kind in (None, "present_match"):
        wants_present = matcher.present_match if kind else True
        return ((value is not None) == wants_present) != matcher.invert_match
    if value is None:
        return False
    return _matches_value(matcher, kind, value) != matcher.invert_match


def _matches_value(matcher: route_components_pb2.HeaderMatcher, kind: str, value: str) -> bool:
    match kind:
        case "string_match":
            return matches_string(matcher.string_match, value)
        case "range_match":
            digits = value.removeprefix("-")
            return digits.isascii() and digits.isdigit() and matcher.range_match.start <= int(value) < matcher.range_match.end
        case "exact_match":
            return value == matcher.exact_match
        case "prefix_match":
            return value.startswith(matcher.prefix_match)
        case "suffix_match":
            return value.endswith(matcher.suffix_match)
        case "contains_match":
            return matcher.contains_match in value
        case "safe_regex_match":
            return matches_regex(matcher.safe_regex_match.regex, value)
        case _:
            raise NotImplementedError(kind)


def matches_query(matcher: route_components_pb2.QueryParameterMatcher, query: Mapping[str, str]) -> bool:
    """Source: Envoy config.route.v3.QueryParameterMatcher. `query`: the first value of each key, not decoded."""
    value = query.get(matcher.name)
    match matcher.WhichOneof("query_parameter_match_specifier"):
        case "present_match":
            return (value is not None) == matcher.present_match
        case "string_match":
            return value is not None and matches_string(matcher.string_match, value)
        case _:
            return value is not None


def query_of(path: str) -> dict[str, str]:
    """The first value of each query parameter, as Envoy's router reads them: not decoded, empty where there is no `=`."""
    _, _, query = path.partition("#")[0].partition("?")
    found: dict[str, str] = {}
    for item in query.split("&") if query else ():
        key, _, value = item.partition("=")
        found.setdefault(key, value)
    return found
