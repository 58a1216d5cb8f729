"""A request and a route configuration: which virtual host and which route. Source: Envoy's v3 route documentation and the order its router evaluates in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from lateen.insight.simulate.emitted import RouteMatchFound
from lateen.insight.simulate.matchers import matches_header, matches_query, matches_regex, query_of
from lateen.insight.simulate.messages import unpacked
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2, route_pb2
from lateen.wire.pb.envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from lateen.wire.pb.envoy.type.v3 import percent_pb2


class Unsupported(Exception):
    """The configuration uses what the simulator does not know. `what`: the message or field."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True)
class Request:
    """An HTTP request as routes see it. `headers`: lower-case, with the pseudo headers."""

    headers: Mapping[str, str]
    has_client_certificate: bool = False
    is_validated: bool = False

    @property
    def path(self) -> str:
        """With its query."""
        return self.headers[":path"]

    @property
    def is_secure(self) -> bool:
        """Came over TLS that this proxy ended."""
        return self.headers[":scheme"] == "https"


def virtual_host(config: route_pb2.RouteConfiguration, authority: str) -> route_components_pb2.VirtualHost | None:
    """Exact domain, else the longest `*suffix`, else the longest `prefix*`, else `*`. None: no domain fits."""
    host = authority.lower()
    if config.ignore_port_in_host_matching:
        host = without_port(host)
    exact: dict[str, route_components_pb2.VirtualHost] = {}
    suffixes: list[tuple[str, route_components_pb2.VirtualHost]] = []
    prefixes: list[tuple[str, route_components_pb2.VirtualHost]] = []
    default = None
    for one in config.virtual_hosts:
        for domain in map(str.lower, one.domains):
            if domain == "*":
                default = default or one
            elif domain.startswith("*"):
                suffixes.append((domain[1:], one))
            elif domain.endswith("*"):
                prefixes.append((domain[:-1], one))
            else:
                exact.setdefault(domain, one)
    if not host:
        return default
    if found := exact.get(host):
        return found
    return _widest(host, suffixes, str.endswith) or _widest(host, prefixes, str.startswith) or default


def _widest(host: str, parts: Iterable[tuple[str, route_components_pb2.VirtualHost]], fits: object) -> route_components_pb2.VirtualHost | None:
    found = [(len(part), one) for part, one in parts if len(part) < len(host) and fits(host, part)]  # type: ignore[operator]
    return max(found, key=lambda item: item[0])[1] if found else None


def without_port(host: str) -> str:
    """The host without a port number at its end."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (":" not in name or name.endswith("]")) else host


def route_for(config: route_pb2.RouteConfiguration, chosen: route_components_pb2.VirtualHost, request: Request) -> RouteMatchFound | None:
    """The first route that matches. None: none does (404). Raises Unsupported."""
    if chosen.HasField("matcher"):
        raise Unsupported("VirtualHost.matcher")
    for index, route in enumerate(chosen.routes):
        if _matches(route.match, request):
            return RouteMatchFound(config, chosen, route, index)
    return None


def _matches(match: route_components_pb2.RouteMatch, request: Request) -> bool:
    if not _fraction_is_whole(match):
        return False
    if not _matches_path(match, request):
        return False
    if match.HasField("grpc") and not _is_grpc(request):
        return False
    if not all(matches_header(one, request.headers) for one in match.headers):
        return False
    if match.query_parameters:
        query = query_of(request.path)
        if not all(matches_query(one, query) for one in match.query_parameters):
            return False
    if match.dynamic_metadata or match.filter_state:
        raise Unsupported("RouteMatch.dynamic_metadata")
    return _matches_tls(match, request)


def _is_grpc(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    return kind == "application/grpc" or kind.startswith(("application/grpc+", "application/grpc;"))


def _fraction_is_whole(match: route_components_pb2.RouteMatch) -> bool:
    """Whether the route's share is everything. Raises Unsupported: some requests but not all."""
    if not match.HasField("runtime_fraction"):
        return True
    share = match.runtime_fraction.default_value
    whole = {percent_pb2.FractionalPercent.HUNDRED: 100, percent_pb2.FractionalPercent.TEN_THOUSAND: 10_000}.get(share.denominator, 1_000_000)
    if 0 < share.numerator < whole:
        raise Unsupported("RouteMatch.runtime_fraction")
    return share.numerator >= whole


def _matches_tls(match: route_components_pb2.RouteMatch, request: Request) -> bool:
    if not match.HasField("tls_context"):
        return True
    wanted = match.tls_context
    if wanted.HasField("presented") and wanted.presented.value != request.has_client_certificate:
        return False
    return not wanted.HasField("validated") or wanted.validated.value == request.is_validated


def _matches_path(match: route_components_pb2.RouteMatch, request: Request) -> bool:
    kind = match.WhichOneof("path_specifier")
    if kind == "connect_matcher":
        return request.headers[":method"] == "CONNECT"
    if request.headers[":method"] == "CONNECT" and not request.path:
        return False
    path = request.path.partition("#")[0].partition("?")[0]
    ignores_case = match.HasField("case_sensitive") and not match.case_sensitive.value
    fold = str.lower if ignores_case else str
    match kind:
        case "prefix":
            return fold(path).startswith(fold(match.prefix))
        case "path":
            return fold(path) == fold(match.path)
        case "path_separated_prefix":
            prefix = fold(match.path_separated_prefix)
            return fold(path) == prefix or fold(path).startswith(prefix + "/")
        case "safe_regex":
            return matches_regex(match.safe_regex.regex, path)
        case "path_match_policy":
            return _matches_template(unpacked(match.path_match_policy.typed_config), path)
        case _:
            raise Unsupported(f"RouteMatch.{kind}")


def _matches_template(policy: Message, path: str) -> bool:
    """`{name}` and `*`: one segment; `{name=pattern}`; `**`: any number at the end. Source: Envoy path.match.uri_template."""
    if not isinstance(policy, uri_template_match_pb2.UriTemplateMatchConfig):
        raise Unsupported(policy.DESCRIPTOR.full_name)
    return matches_regex(template_regex(policy.path_template), path)


SEGMENT = r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]"


def template_regex(template: str) -> str:
    """A URI template as a regular expression of RE2. Source: Envoy path.match.uri_template, its documentation."""
    import re

    def piece(text: str) -> str:
        return {"*": f"{SEGMENT}+", "**": f"(?:{SEGMENT}|/)*"}.get(text) or re.escape(text)

    found = []
    for token in re.split(r"(\{[^}]*\}|\*\*|\*)", template):
        if token.startswith("{"):
            pattern = token[1:-1].partition("=")[2] or "*"
            found.append("(" + "".join(piece(part) for part in re.split(r"(\*\*|\*)", pattern)) + ")")
        else:
            found.append(piece(token) if token else "")
    return "".join(found)
