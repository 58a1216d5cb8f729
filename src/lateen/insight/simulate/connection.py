"""What a listener learns of a connection before it chooses a filter chain, and that choice.

Source: Envoy's listener filters (original destination, TLS inspector, HTTP inspector) and its order of filter chain matching: destination port, destination
address, server name, transport protocol, application protocols, directly connected source, source type, source address, source port. Each step takes the most
specific entry and never returns to a wider one.
"""

import ipaddress
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from lateen.base.names import INBOUND_PORT, OUTBOUND_PORT, VIRTUAL_INBOUND, VIRTUAL_OUTBOUND
from lateen.insight.simulate.call import Call, ClientTls, Direction, Speech
from lateen.insight.simulate.emitted import Chain, Emitted, Listener
from lateen.wire.pb.envoy.config.listener.v3 import listener_components_pb2 as components_pb2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
TLS_INSPECTOR = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
HTTP_INSPECTOR = "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"


@dataclass(frozen=True)
class Connection:
    """What filter chains are matched against."""

    address: Address
    port: int
    source: Address
    source_port: int
    transport: str = ""
    server_name: str = ""
    protocols: tuple[str, ...] = ()


def listener_for(emitted: Emitted, call: Call) -> Listener | None:
    """The listener that takes the call's connection. None: there is none. Source: Envoy, hand-off of restored connections."""
    match call.direction:
        case Direction.INBOUND:
            return _capturing(emitted, call.address, VIRTUAL_INBOUND, INBOUND_PORT)
        case Direction.OUTBOUND:
            return _listening(emitted, call.address, call.port) or _capturing(emitted, call.address, VIRTUAL_OUTBOUND, OUTBOUND_PORT)
        case Direction.GATEWAY:
            return _listening(emitted, call.address, call.port)


def _capturing(emitted: Emitted, address: str, name: str, port: int) -> Listener | None:
    """The listener that takes what is redirected from this address: at the port of the one of that name, for the mesh chooses it; else at `port`."""
    found = next((one for one in emitted.listeners if one.message.name == name and one.addresses), None)
    return _listening(emitted, address, found.addresses[0][1] if found is not None else port)


def _listening(emitted: Emitted, address: str, port: int) -> Listener | None:
    """At exactly that address and port, else at the wildcard address (an IPv4 connection also finds an IPv6 wildcard that takes both)."""
    wanted = ipaddress.ip_address(address)
    places: dict[tuple[Address, int], Listener] = {}
    for listener in emitted.listeners:
        for host, number in listener.addresses:
            places.setdefault((ipaddress.ip_address(host), number), listener)
    if found := places.get((wanted, port)):
        return found
    if wanted.version == 6:
        return places.get((ipaddress.ip_address("::"), port))
    both = places.get((ipaddress.ip_address("::"), port))
    takes_both = both is not None and both.message.address.socket_address.ipv4_compat
    return places.get((ipaddress.ip_address("0.0.0.0"), port)) or (both if takes_both else None)


def connection(listener: Listener, call: Call) -> Connection:
    """What the listener's own filters find out, in their order."""
    transport, server_name = "raw_buffer", ""
    protocols: tuple[str, ...] = ()
    if call.tls is not ClientTls.PLAINTEXT and _injects_tls_inspector(listener):
        transport, server_name, protocols = "tls", call.sni.lower(), (call.alpn,) if call.alpn else ()
    for one in listener.message.listener_filters:
        if one.HasField("filter_disabled") and _predicate(one.filter_disabled, call.port):
            continue
        kind = one.typed_config.type_url
        if kind == TLS_INSPECTOR and call.tls is not ClientTls.PLAINTEXT:
            transport, server_name, protocols = "tls", call.sni.lower(), (call.alpn,) if call.alpn else ()
        elif kind == HTTP_INSPECTOR and transport == "raw_buffer" and call.tls is ClientTls.PLAINTEXT:
            protocols = {Speech.HTTP: ("http/1.1",), Speech.HTTP2: ("h2c",), Speech.TCP: ()}[call.speech]
    return Connection(
        ipaddress.ip_address(call.address),
        call.port,
        ipaddress.ip_address(call.source),
        call.source_port,
        transport,
        server_name,
        protocols,
    )


def _injects_tls_inspector(listener: Listener) -> bool:
    """Whether Envoy adds the TLS inspector by itself: some chain needs what it finds, and none is configured."""
    if any(one.typed_config.type_url == TLS_INSPECTOR for one in listener.message.listener_filters):
        return False
    matches = [chain.message.filter_chain_match for chain in listener.chains]
    return any(one.transport_protocol == "tls" or (not one.transport_protocol and (one.server_names or one.application_protocols)) for one in matches)


def _predicate(rule: components_pb2.ListenerFilterChainMatchPredicate, port: int) -> bool:
    match rule.WhichOneof("rule"):
        case "or_match":
            return any(_predicate(one, port) for one in rule.or_match.rules)
        case "and_match":
            return all(_predicate(one, port) for one in rule.and_match.rules)
        case "not_match":
            return not _predicate(rule.not_match, port)
        case "destination_port_range":
            return rule.destination_port_range.start <= port < rule.destination_port_range.end
        case _:
            return rule.any_match


Match = components_pb2.FilterChainMatch
Step = Callable[[Sequence[Chain], Connection], list[Chain]]


def filter_chain(listener: Listener, seen: Connection) -> Chain | None:
    """The chain that takes the connection, the default chain where none does. None: the connection is closed."""
    left: Sequence[Chain] = listener.chains
    for step in STEPS:
        left = step(left, seen)
        if not left:
            return listener.default_chain
    return left[0]


def _exactly(chains: Sequence[Chain], values: Callable[[Match], Iterable[Hashable]], wanted: Sequence[Hashable]) -> list[Chain]:
    """The chains that name the first of `wanted` that any names; else those that name nothing."""
    for value in wanted:
        if found := [chain for chain in chains if value in values(chain.message.filter_chain_match)]:
            return found
    return [chain for chain in chains if not values(chain.message.filter_chain_match)]


def _by_port(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    return _exactly(chains, lambda match: (match.destination_port.value,) if match.HasField("destination_port") else (), [seen.port])


def _by_address(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    return _longest(chains, lambda match: match.prefix_ranges, seen.address)


def _by_server_name(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    labels = seen.server_name.split(".")
    names = [seen.server_name, *("*." + ".".join(labels[cut:]) for cut in range(1, len(labels)))] if seen.server_name else []
    return _exactly(chains, lambda match: match.server_names, names)


def _by_transport(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    return _exactly(chains, lambda match: (match.transport_protocol,) if match.transport_protocol else (), [seen.transport])


def _by_protocols(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    return _exactly(chains, lambda match: match.application_protocols, seen.protocols)


def _by_direct_source(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    return _longest(chains, lambda match: match.direct_source_prefix_ranges, seen.source)


def _by_source_type(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    is_local = seen.source.is_loopback or seen.source == seen.address
    own = Match.SAME_IP_OR_LOOPBACK if is_local else Match.EXTERNAL
    return [one for one in chains if one.message.filter_chain_match.source_type == own] or [
        one for one in chains if one.message.filter_chain_match.source_type == Match.ANY
    ]


def _by_source(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    return _longest(chains, lambda match: match.source_prefix_ranges, seen.source)


def _by_source_port(chains: Sequence[Chain], seen: Connection) -> list[Chain]:
    return _exactly(chains, lambda match: match.source_ports, [seen.source_port])


def _longest(chains: Sequence[Chain], ranges: Callable[[Match], Iterable[object]], address: Address) -> list[Chain]:
    """The chains with the longest prefix that holds the address; a chain without ranges has one of length 0."""
    best: list[Chain] = []
    longest = -1
    for chain in chains:
        lengths = [_held(one, address) for one in ranges(chain.message.filter_chain_match)]
        length = max(lengths, default=0)
        if length > longest:
            best, longest = [chain], length
        elif length == longest and length >= 0:
            best.append(chain)
    return best


def _held(given: object, address: Address) -> int:
    """The length of a CidrRange that holds the address, else -1."""
    network = ipaddress.ip_network(f"{given.address_prefix}/{given.prefix_len.value}", strict=False)  # type: ignore[attr-defined]
    return network.prefixlen if address.version == network.version and address in network else -1


STEPS: tuple[Step, ...] = (
    _by_port,
    _by_address,
    _by_server_name,
    _by_transport,
    _by_protocols,
    _by_direct_source,
    _by_source_type,
    _by_source,
    _by_source_port,
)
"""Envoy's order of matching."""
