"""Calls that ask for what is new in a configuration: one to each filter chain and each route that nothing has asked for yet."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import re2

from lateen.base.names import VIRTUAL_INBOUND, VIRTUAL_OUTBOUND
from lateen.insight.simulate.call import Call, ClientTls, Direction, Speech
from lateen.insight.simulate.emitted import Chain, Emitted, Listener
from lateen.wire.pb.envoy.config.core.v3 import base_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2, route_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

ADDRESS = "10.77.0.1"
"""Where a wildcard listener is called."""
PATTERN_PATHS = ("/", "/a", "/x/y", "/v1/a", "/1", "/a/1", "/api", "/status/200")
WORDS = ("a", "1", "x", "v1", "abc", "true", "100", "a.b")
SLOW_S = 2.0


@dataclass
class Asker:
    """Remembers what was asked. `left`: how many calls may still be made."""

    left: int
    routes: set[bytes] = field(default_factory=set)
    chains: set[bytes] = field(default_factory=set)

    def calls(self, emitted: Emitted, listeners: frozenset[str], tables: frozenset[str], most: int) -> list[Call]:
        """Calls for what is new in the listeners and tables that have changed."""
        found: list[Call] = []
        for listener in emitted.listeners:
            for chain in (*listener.chains, *((listener.default_chain,) if listener.default_chain else ())):
                manager = next((one for _, one in chain.filters if isinstance(one, hcm_pb2.HttpConnectionManager)), None)
                table = emitted.route_config(manager) if manager is not None else None
                if listener.name not in listeners and (table is None or table.name not in tables):
                    continue
                for call in self._of_chain(listener, chain, table):
                    if len(found) >= most or self.left <= 0:
                        return found
                    self.left -= 1
                    found.append(call)
        return found

    def _of_chain(self, listener: Listener, chain: Chain, table: route_pb2.RouteConfiguration | None) -> Iterator[Call]:
        base = _connection(listener, chain, is_http=table is not None)
        if base is None:
            return
        if table is None:
            key = chain.message.SerializeToString(deterministic=True)
            if key not in self.chains:
                self.chains.add(key)
                yield Call(**base)
            return
        if not table.virtual_hosts and (key := chain.message.SerializeToString(deterministic=True)) not in self.chains:
            self.chains.add(key)
            yield Call(**base, host="any.example.com")
        for host in table.virtual_hosts:
            for route in host.routes:
                key = route.SerializeToString(deterministic=True) + "\0".join(host.domains).encode()
                if key not in self.routes and not _is_slow(route):
                    self.routes.add(key)
                    yield Call(**base, host=_host(host.domains[0]), **_request(route.match))


def _connection(listener: Listener, chain: Chain, *, is_http: bool) -> dict[str, Any] | None:
    """Where and how to connect so that the chain is likely to take it. None: at a socket of another kind, or after a header that nobody writes here."""
    message, match = listener.message, chain.message.filter_chain_match
    if not listener.addresses or any(one.name == "envoy.filters.listener.proxy_protocol" for one in message.listener_filters):
        return None
    address, port = listener.addresses[0]
    is_bound = not message.HasField("bind_to_port") or message.bind_to_port.value
    inbound = message.traffic_direction == base_pb2.INBOUND
    is_capture = message.name in (VIRTUAL_OUTBOUND, VIRTUAL_INBOUND)
    direction = Direction.GATEWAY if is_bound and not is_capture else Direction.INBOUND if inbound else Direction.OUTBOUND
    if match.destination_port.value:
        port = match.destination_port.value
    elif is_capture:
        port = 7999
    if match.prefix_ranges:
        address = match.prefix_ranges[0].address_prefix
    if address in ("0.0.0.0", "::"):
        address = ADDRESS
    if chain.tls is not None and _is_choosy(chain.tls):
        return None
    found: dict[str, Any] = {"direction": direction, "address": address, "port": port, "speech": Speech.HTTP if is_http else Speech.TCP}
    if match.transport_protocol == "tls" or chain.tls is not None:
        protocols = [one for one in match.application_protocols if one.startswith("istio")]
        needs_client = chain.tls is not None and chain.tls.require_client_certificate.value
        found |= {"tls": ClientTls.MTLS if protocols or needs_client else ClientTls.TLS, "alpn": next(iter(match.application_protocols), "")}
        found["sni"] = _host(match.server_names[0]) if match.server_names else "a.example.com"
        if found["alpn"] in ("h2", "istio-h2"):
            found["speech"] = Speech.HTTP2 if is_http else Speech.TCP
    return found


def _is_choosy(tls: tls_pb2.DownstreamTlsContext) -> bool:
    """Whether not every certificate of the authority is taken, so that this test's own may not be."""
    common = tls.common_tls_context
    context = common.combined_validation_context.default_validation_context if common.HasField("combined_validation_context") else common.validation_context
    if 0 < common.tls_params.tls_maximum_protocol_version < common_pb2.TlsParameters.TLSv1_2:  # this client speaks no older one
        return True
    return bool(context.match_typed_subject_alt_names or context.verify_certificate_hash or context.verify_certificate_spki)


def _host(domain: str) -> str:
    """A host that a domain takes."""
    if domain == "*":
        return "any.example.com"
    host = f"w{domain[1:]}" if domain.startswith("*") else f"{domain[:-1]}w" if domain.endswith("*") else domain
    return host if host.isascii() and host.isprintable() and " " not in host else "any.example.com"


def _is_slow(route: route_components_pb2.Route) -> bool:
    """A delay that nobody waits for here."""
    return any(b"fixed_delay" in one.value or one.type_url.endswith("HTTPFault") for one in route.typed_per_filter_config.values())


def _request(match: route_components_pb2.RouteMatch) -> dict[str, Any]:
    """A path, a method and headers that a match takes, or nearly."""
    path = "/"
    match match.WhichOneof("path_specifier"):
        case "prefix":
            path = match.prefix
        case "path":
            path = match.path
        case "path_separated_prefix":
            path = f"{match.path_separated_prefix}/x"
        case "safe_regex":
            path = _fitting(match.safe_regex.regex, PATTERN_PATHS)
    method, headers = "GET", {}
    for header in match.headers:
        value = _text(header.string_match) if header.HasField("string_match") else "a"
        if header.invert_match or (header.WhichOneof("header_match_specifier") == "present_match" and not header.present_match):
            continue
        if header.name == ":method":
            method = value
        elif not header.name.startswith(":"):
            headers[header.name.lower()] = value
    query = "&".join(f"{one.name}={_text(one.string_match) if one.HasField('string_match') else 'a'}" for one in match.query_parameters)
    path = "".join(one for one in path if one.isascii() and one.isprintable() and one not in " #")[:2000] or "/"
    good = {name: value for name, value in headers.items() if _is_header(name, value)}
    method = method if method.isalpha() and method.isupper() and method != "CONNECT" else "GET"
    return {
        "path": f"{path}?{query}" if query.isascii() and query.isprintable() and query and " " not in query else path,
        "method": method,
        "headers": tuple(sorted(good.items())),
    }


def _is_header(name: str, value: str) -> bool:
    is_name = bool(name) and all(one.isalnum() or one in "-_." for one in name) and name.isascii()
    return (
        is_name
        and value.isascii()
        and value.isprintable()
        and value == value.strip()
        and len(value) < 2000
        and name not in ("host", "connection", "te", "upgrade", "content-length", "transfer-encoding", "expect")
    )


def _text(match: Any) -> str:
    match match.WhichOneof("match_pattern"):
        case "safe_regex":
            return _fitting(match.safe_regex.regex, WORDS)
        case "contains":
            return match.contains
        case None:
            return "a"
        case name:
            return getattr(match, name) or "a"


def _fitting(pattern: str, candidates: tuple[str, ...]) -> str:
    return next((one for one in candidates if re2.fullmatch(pattern, one)), candidates[0])
