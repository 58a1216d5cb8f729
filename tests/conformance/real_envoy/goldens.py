"""Calls made from what was emitted: one for every route of every virtual host, one for every filter chain that ends in a TCP proxy.

A golden case (`in.yaml` alone) says what the mesh is and not what is asked. `golden_trials` gives each proxy of the case its resources and the calls that its own routes call for: a connection
that the chain matches, a host of the virtual host's domains, a path, headers and query parameters that the route's match wants. What they come to is `evaluate`'s to say, and Envoy's.
"""

import contextlib
import itertools
import re
import re._constants as sre
import re._parser as sre_parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from judge import REFUSED, with_our_log

from lateen.base.names import VIRTUAL_INBOUND, VIRTUAL_OUTBOUND
from lateen.config.store import MESH_CONFIG
from lateen.insight.simulate.call import Call, ClientTls, Direction, Outcome, Speech
from lateen.insight.simulate.case import emitted_for
from lateen.insight.simulate.emitted import Chain, Emitted, Listener, Serialized
from lateen.insight.simulate.evaluate import Result, evaluate
from lateen.mesh.projection import view_of
from lateen.mesh.view import ProxyType
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import tls_pb2

ANYWHERE, ANY_PORT = "10.200.0.9", 1234
"""Where a call goes whose listener takes every address, and every port."""
ALPN = ("", "istio-http/1.1", "istio", "http/1.1", "h2")


@dataclass(frozen=True)
class Trial:
    """One Envoy's resources and the calls to make. `unreached`: routes and chains that no call was found for.

    `trust_domain`: of the client's certificate."""

    name: str
    serialized: tuple[Serialized, ...]
    calls: tuple[Call, ...]
    unreached: tuple[str, ...] = ()
    trust_domain: str = "cluster.local"


def golden_trials(folder: Path) -> Iterator[Trial]:
    """One trial for each proxy of the case that gets what no other before it got."""
    from tests.cases.evidence import Case

    case = Case(folder)
    case.emitted()  # workloads register
    MESH_CONFIG.set(case.db, "mesh", with_our_log(case.mesh))
    seen: set[tuple[Serialized, ...]] = set()
    for proxy in case.proxies:
        serialized = tuple(emitted_for(case.db, view_of(case.db, proxy)))
        if serialized in seen:
            continue
        seen.add(serialized)
        emitted = Emitted.decoded(serialized)
        address = next(iter(proxy.addresses), ANYWHERE)
        direction = Direction.GATEWAY if proxy.type is ProxyType.ROUTER else Direction.OUTBOUND
        calls, unreached = calls_of(emitted, address, direction)
        yield Trial(
            f"{folder.name}/{proxy.id}",
            serialized,
            calls,
            unreached,
            case.mesh.trust_domain or "cluster.local",
        )


def calls_of(emitted: Emitted, address: str, direction: Direction) -> tuple[tuple[Call, ...], tuple[str, ...]]:
    """(calls, places that none was found for). `address`: the proxy's own; `direction`: of the calls to its outward listeners."""
    calls: dict[Call, None] = {}
    missed: list[str] = []
    asked: set[tuple[str, str, int]] = set()
    for listener in emitted.listeners:
        for chain in (*listener.chains, *([listener.default_chain] if listener.default_chain else [])):
            found = next(_connections(emitted, listener, chain, address, direction), None)
            if found is None:
                missed.append(f"{chain.key}: no connection comes here")
                continue
            calls.setdefault(found)
            manager = next((one for _, one in chain.filters if isinstance(one, hcm_pb2.HttpConnectionManager)), None)
            config = emitted.route_config(manager) if manager is not None else None
            for virtual_host in config.virtual_hosts if config is not None else ():
                calls |= dict.fromkeys(replace(found, host=host, path="/any") for host in _hosts(virtual_host)[:1])  # whatever becomes of it
                for index, route in enumerate(virtual_host.routes):
                    where = (config.name or chain.key, virtual_host.name, index)
                    if where in asked:
                        continue
                    call = _request_for(emitted, found, virtual_host, index)
                    if call is not None:
                        asked.add(where)
                        calls.setdefault(call)
                    elif not config.name.startswith("inbound"):
                        missed.append(f"{where}: {_one_line(route.match)}")
    return tuple(calls), tuple(missed)


def _connections(emitted: Emitted, listener: Listener, chain: Chain, own: str, direction: Direction) -> Iterator[Call]:
    """Connections that the chain takes and whose handshake succeeds, HTTP first."""
    match = chain.message.filter_chain_match
    host, port = listener.addresses[0]
    captured = {VIRTUAL_INBOUND: Direction.INBOUND, VIRTUAL_OUTBOUND: Direction.OUTBOUND}.get(listener.message.name)
    ports = [match.destination_port.value] if match.HasField("destination_port") else [ANY_PORT] if captured else [port]
    any_address = own if captured is Direction.INBOUND or direction is Direction.GATEWAY else "fd00::9" if ":" in host else ANYWHERE
    addresses = [one.address_prefix for one in match.prefix_ranges] or [any_address if host in ("0.0.0.0", "::") else host]
    names = [re.sub(r"^\*\.", "any.", name) for name in match.server_names] or ["", "any.example"]
    protocols = [*match.application_protocols, *ALPN]
    is_http = any(isinstance(one, hcm_pb2.HttpConnectionManager) for _, one in chain.filters)
    speeches = [Speech.HTTP, Speech.HTTP2] if is_http else [Speech.TCP, Speech.HTTP, Speech.HTTP2]
    if chain.tls is not None and _is_beyond_us(chain.tls):
        return
    for at, on, tls, speech in itertools.product(addresses, ports, ClientTls, speeches):
        for sni, alpn in [("", "")] if tls is ClientTls.PLAINTEXT else itertools.product(names, protocols):
            call = Call(captured or direction, at, on, speech, tls, alpn, sni, host=sni or "any.example")
            if alpn in ("h2", "istio-h2", "istio") and speech is Speech.HTTP and is_http:
                continue
            said = evaluate(emitted, call)
            if said.chain is not None and said.chain.key == chain.key and said.outcome not in REFUSED and _ends(said):
                yield call


def _is_beyond_us(tls: tls_pb2.DownstreamTlsContext) -> bool:
    """Whether the handshake needs what the arena has not: a certificate by its fingerprint, or a secret from a server of the user's."""
    common = tls.common_tls_context
    wanted = common.combined_validation_context.default_validation_context if common.HasField("combined_validation_context") else common.validation_context
    is_pinned = bool(wanted.verify_certificate_hash or wanted.verify_certificate_spki)
    return is_pinned or any(one.sds_config.HasField("api_config_source") for one in common.tls_certificate_sds_secret_configs)


def _ends(said: Result) -> bool:
    return said.tcp_proxy is not None or said.manager is not None


def _request_for(emitted: Emitted, found: Call, virtual_host: route_components_pb2.VirtualHost, index: int) -> Call | None:
    """The connection with a request that the route takes. None: the simulator knows of none."""
    match = virtual_host.routes[index].match
    hosts = [*_strings(match, ":authority"), *_hosts(virtual_host)]
    for host, path in itertools.product(hosts, _paths(match)):
        method = next(iter(_strings(match, ":method")), "GET")
        call = replace(found, host=host, path=path, method=method, headers=tuple(sorted(_headers(match).items())))
        said = evaluate(emitted, call)
        if (
            said.route is not None
            and said.route.index == index
            and said.route.virtual_host.name == virtual_host.name
            and said.outcome is not Outcome.UNSUPPORTED
        ):
            return call
    return None


def _hosts(virtual_host: route_components_pb2.VirtualHost) -> list[str]:
    """A host for each domain that is one: with a namespace before it (`shop/a.example.com`), as Istio writes some, nobody can ask for it."""
    return [_host(domain) for domain in virtual_host.domains if "/" not in domain]


def _host(domain: str) -> str:
    return "nobody.invalid" if domain == "*" else f"any{domain[1:]}" if domain.startswith("*") else f"{domain[:-1]}80" if domain.endswith("*") else domain


def _paths(match: route_components_pb2.RouteMatch) -> list[str]:
    match match.WhichOneof("path_specifier"):
        case "safe_regex":
            paths = [text_of(match.safe_regex.regex)]
        case "path":
            paths = [match.path]
        case "path_separated_prefix":
            paths = [match.path_separated_prefix, f"{match.path_separated_prefix}/more"]
        case "prefix":
            paths = [f"{match.prefix}more", match.prefix, f"{match.prefix.rstrip('/')}/more"]
        case _:
            paths = ["/"]
    query = "&".join(f"{one.name}={_text(one.string_match) if one.HasField('string_match') else '1'}" for one in match.query_parameters)
    return [f"{path}?{query}" if query else path for path in paths]


def _strings(match: route_components_pb2.RouteMatch, name: str) -> list[str]:
    return [_header(one) for one in match.headers if one.name == name and not one.invert_match]


def _headers(match: route_components_pb2.RouteMatch) -> dict[str, str]:
    wanted = {one.name.lower(): _header(one) for one in match.headers if not one.invert_match and not one.name.startswith(":")}
    return wanted | ({"content-type": "application/grpc"} if match.HasField("grpc") else {})


def _header(matcher: route_components_pb2.HeaderMatcher) -> str:
    match matcher.WhichOneof("header_match_specifier"):
        case "string_match":
            return _text(matcher.string_match)
        case "safe_regex_match":
            return text_of(matcher.safe_regex_match.regex)
        case "range_match":
            return str(matcher.range_match.start)
        case "present_match" | None:
            return "present"
        case kind:
            return str(getattr(matcher, kind))


def _text(matcher: Any) -> str:
    kind = matcher.WhichOneof("match_pattern")
    return text_of(matcher.safe_regex.regex) if kind == "safe_regex" else str(getattr(matcher, kind))


def text_of(pattern: str) -> str:
    """Some text that the regular expression takes whole, if it is of the usual kind: literals, classes, groups, choices, repetitions."""
    with contextlib.suppress(re.error):
        return "".join(_said(*item) for item in sre_parse.parse(pattern))
    return pattern


def _said(what: Any, value: Any) -> str:
    if what is sre.LITERAL:
        return chr(value)
    if what is sre.NOT_LITERAL:
        return "y" if value == ord("x") else "x"
    if what is sre.ANY:
        return "x"
    if what is sre.IN:
        return _of_class(value)
    if what in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, inner = value
        return "".join(_said(*item) for item in inner) * max(least, min(most, 1))
    if what is sre.SUBPATTERN:
        return "".join(_said(*item) for item in value[3])
    if what is sre.BRANCH:
        return "".join(_said(*item) for item in value[1][0])
    return ""


def _of_class(items: list[Any]) -> str:
    accepted = re.compile("[" + "".join(_class_item(*item) for item in items) + "]")
    candidates = (
        "x1-/_. X" + "".join(chr(value) for what, value in items if what is sre.LITERAL) + "".join(chr(value[0]) for what, value in items if what is sre.RANGE)
    )
    return next((one for one in candidates if accepted.fullmatch(one)), "")


def _class_item(what: Any, value: Any) -> str:
    if what is sre.NEGATE:
        return "^"
    if what is sre.RANGE:
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    if what is sre.CATEGORY:
        return {sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_SPACE: r"\s"}.get(value, r"\S")
    return re.escape(chr(value))


def _one_line(message: Any) -> str:
    return " ".join(str(message).split())[:200]
