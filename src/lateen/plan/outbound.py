"""Outbound listeners of a sidecar: which ports at which addresses, and what their chains do. Called by `plan.listeners`.

A contribution is one service port at one listener; which listeners there are follows from contributions alone, so a route change touches no list.
Source: Istio, outbound listeners: HTTP ports share the wildcard address, other ports sit at the service's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network

from lateen.base.names import BLACK_HOLE, PASSTHROUGH, VIRTUAL_OUTBOUND, bound_listener_name, listener_name, outbound_cluster
from lateen.config.capture_ports import CapturePorts
from lateen.config.kinds.istio.mesh_config import MeshOutboundMode
from lateen.incremental import Db, index, query
from lateen.mesh.capture import capture_ports
from lateen.mesh.endpoints import endpoints
from lateen.mesh.gateways import RESERVED_PORTS
from lateen.mesh.model import Port, Protocol, Registry, Resolution, Service
from lateen.mesh.services import addresses_for
from lateen.mesh.view import View
from lateen.mesh.visibility import EgressListener, OutboundPolicy, egress_listeners, outbound_policy
from lateen.plan.http_settings import accepts_http10
from lateen.plan.intercept import is_bindable, is_captured, local_address, opens_all, wildcards
from lateen.plan.listener import (
    HTTP10,
    HTTP_PROTOCOLS,
    RAW,
    Chain,
    ChainMatch,
    Direction,
    Http,
    Listener,
    NameCache,
    OpenRoute,
    Patience,
    Role,
    Tcp,
    TcpTarget,
    unique_chains,
)
from lateen.plan.name_caches import names_of, unknown_names
from lateen.plan.tcp_chains import destination_chains, to_cluster
from lateen.plan.virtual_hosts import DYNAMIC_DNS, DYNAMIC_DNS_CLUSTER

HTTP_PROXY_ROUTE = "http_proxy"
"""Where all traffic is captured: no service can be called at such a port of the wildcard address, and no other's is worth a listener."""
ALPN_HTTP1 = "istio-http/1.1,istio"
ALPN_HTTP2 = "istio-h2,istio"
"""What a detected port offers upstream. No real protocol is named, so the server tells HTTP/1 from HTTP/2 by its first bytes and any cluster fits."""


@dataclass(frozen=True)
class Contribution:
    """One service port at one listener. `port`: as its listener has it. `destination`: a CIDR that only this service's connections go to; empty: any.

    `route` empty: no HTTP."""

    service: Service
    port: Port
    route: str = ""
    is_detected: bool = False
    destination: str = ""


@dataclass(frozen=True)
class Place:
    """Where a listener is. `addresses`: the first names it. `port` 0: a unix socket."""

    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True)
class Entry:
    """A listener to be: its place, what came together there, in order; whether Envoy opens the port."""

    place: Place
    contributions: tuple[Contribution, ...]
    is_bound: bool = False

    @property
    def name(self) -> str:
        """Of the listener."""
        named = bound_listener_name if self.is_bound else listener_name
        return named(self.place.addresses[0], self.place.port)


class _Entries:
    """Collects contributions by address and port. What an earlier egress listener opened is closed to a later one. Local to one query run."""

    def __init__(self, own: CapturePorts) -> None:
        """`own`: ports where redirected connections come in."""
        self._own = frozenset((own.outbound, own.inbound))
        self.found: dict[tuple[str, int], tuple[Place, list[Contribution], bool]] = {}
        self._locked: set[tuple[str, int]] = set()

    def lock(self) -> None:
        """Closes all listeners so far."""
        self._locked = set(self.found)

    def add(self, place: Place, contribution: Contribution, is_bound: bool) -> None:
        """Adds to the listener at a place, or opens it."""
        key = (place.addresses[0], place.port)
        is_free = is_bindable(place.addresses[0]) and place.port not in ((RESERVED_PORTS | self._own) if is_bound else self._own)
        if key not in self._locked and is_free:
            _, held, _ = self.found.setdefault(key, (place, [], is_bound or place.port == 0))
            if not held or _get_along(held[0].port.protocol, contribution.port.protocol):
                held.append(contribution)


def _get_along(held: Protocol, new: Protocol) -> bool:
    """Whether a listener may tell two protocols apart: not where the server speaks first, which would wait for the inspection's end. Source: Istio."""
    return held is new or not {held, new} & {Protocol.MONGO, Protocol.MYSQL}


def _is_network(address: str) -> bool:
    return "/" in address and ip_network(address, strict=False).num_addresses > 1


def _route(service: Service, port: Port, place: Place, wild: tuple[str, ...]) -> str:
    """The route configuration of an HTTP or detected port."""
    if place.port == 0:
        return place.addresses[0]
    return str(place.port) if port.protocol.is_http or place.addresses == wild else f"{service.hostname}:{place.port}"


def _contributions(db: Db, view: View, service: Service, port: Port, bind: tuple[str, ...], *, has_instances: bool) -> Iterator[tuple[Place, Contribution]]:
    """Where one service port listens. `bind`: addresses already chosen; empty: by protocol. UDP and aliases listen nowhere.

    `has_instances`: a service without an address listens at each of its endpoints', else at the wildcard address."""
    wild = wildcards(view)
    if service.resolution is Resolution.ALIAS or port.protocol is Protocol.UDP:
        return
    if port.protocol.is_http:
        place = Place(bind or wild, port.number)
        yield place, Contribution(service, port, _route(service, port, place, wild))
        return
    if bind:
        yield _handled(service, port, Place(bind, port.number), wild)
        return
    addresses = tuple(address for address in addresses_for(service, view) if ":" not in address or view.has_ipv6)
    for network in (address for address in addresses if _is_network(address)):
        yield _handled(service, port, Place(wild, port.number), wild, network)
    single = tuple(address.removesuffix("/32").removesuffix("/128") for address in addresses if not _is_network(address))
    if single:
        yield _handled(service, port, Place(single, port.number), wild)
    elif not addresses and has_instances:
        yield from _addressless(db, view, service, port, wild)
    elif not addresses:
        yield _handled(service, port, Place(wild, port.number), wild)


def _addressless(db: Db, view: View, service: Service, port: Port, wild: tuple[str, ...]) -> Iterator[tuple[Place, Contribution]]:
    """Headless services listen at each endpoint, others at the wildcard address. Source: Istio, headless listeners."""
    if service.resolution not in (Resolution.HEADLESS, Resolution.NONE):
        yield _handled(service, port, Place(wild, port.number), wild)
        return
    own = set(view.addresses)
    found = endpoints(db, service.namespace, service.hostname)
    instances = sorted({one.address for one in found if one.service_port == port.number and _is_address(one.address)})
    if service.registered_in is not Registry.KUBERNETES and not instances and not service.selector:
        yield _handled(service, port, Place(wild, port.number), wild)
    for address in instances:
        if address not in own:
            yield _handled(service, port, Place((address,), port.number), wild)


def _is_address(text: str) -> bool:
    return "/" not in text and (":" in text or text.replace(".", "").isdigit())


def _handled(service: Service, port: Port, place: Place, wild: tuple[str, ...], network: str = "") -> tuple[Place, Contribution]:
    is_detected = port.protocol.is_detected
    route = _route(service, port, place, wild) if is_detected else ""
    return place, Contribution(service, port, route, is_detected, network)


def _own_port(listener: EgressListener, service: Service, entries: _Entries, db: Db, view: View) -> None:
    """A service at an egress listener that names a port."""
    assert listener.port is not None
    is_bound = not listener.is_captured or not is_captured(view)
    bind = (listener.bind,) if listener.bind else (local_address(view),) if is_bound else ()
    for place, contribution in _contributions(db, view, service, listener.port, bind, has_instances=False):
        entries.add(place, contribution, is_bound)


def _all_ports(listener: EgressListener, service: Service, entries: _Entries, db: Db, view: View) -> None:
    """A service at an egress listener for all ports."""
    is_bound = not listener.is_captured or not is_captured(view)
    bind = (listener.bind,) if listener.bind else (local_address(view),) if is_bound else ()
    for port in service.ports:
        for place, contribution in _contributions(db, view, service, port, bind, has_instances=True):
            entries.add(place, contribution, is_bound)


@query
def outbound_entries(db: Db, view: View) -> tuple[Entry, ...]:
    """All outbound listeners to be, in order of their first service. Empty for a gateway."""
    if view.is_router:
        return ()
    entries = _Entries(capture_ports(db, view))
    for listener in egress_listeners(db, view):
        if listener.port is None:
            entries.lock()
        if listener.port is not None and listener.port.protocol is Protocol.HTTP_PROXY:
            continue
        if listener.port is None and not opens_all(view):
            continue
        take = _all_ports if listener.port is None else _own_port
        for service in listener.services:
            take(listener, service, entries, db, view)
    return _apart(tuple(Entry(place, tuple(contributions), is_bound) for place, contributions, is_bound in entries.found.values()))


def _apart(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Entries without the further addresses that another one has: Envoy refuses two listeners at one. An entry's own first address is its alone."""
    taken = {(entry.place.addresses[0], entry.place.port) for entry in entries}
    found = []
    for entry in entries:
        place = entry.place
        more = tuple(address for address in place.addresses[1:] if (address, place.port) not in taken)
        taken.update((address, place.port) for address in more)
        found.append(entry if len(more) == len(place.addresses) - 1 else replace(entry, place=Place((place.addresses[0], *more), place.port)))
    return tuple(found)


@index
def _by_name(db: Db, view: View) -> Mapping[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in outbound_entries(db, view):
        found.setdefault(entry.name, entry)
    return found


def outbound_names(db: Db, view: View) -> tuple[str, ...]:
    """The names of the outbound listeners of services."""
    return tuple(entry.name for entry in outbound_entries(db, view))


def outbound_listener(db: Db, view: View, name: str) -> Listener | None:
    """One outbound listener by name; None: there is none of that name."""
    entry = _by_name.at(db, name, view)
    return _listener(db, view, entry) if entry else None


def _listener(db: Db, view: View, entry: Entry) -> Listener:
    names, has_http10 = _names(db, view, entry), accepts_http10(db, view)
    tcp: list[Chain] = []
    http: list[Chain] = []
    for contribution in entry.contributions:
        if contribution.route:
            http.extend(_http_chains(contribution, names, has_http10, entry.place.addresses[0] == wildcards(view)[0]))
        if not contribution.route or contribution.is_detected:
            tcp.extend(_tcp_chains(db, view, entry, contribution))
    chains = unique_chains([*http, *tcp])
    has_all = any(chain.match == ChainMatch() for chain in chains)
    fallback = next((chain for chain in chains if chain.match == ChainMatch()), None) if http else None
    kept = tuple(chain for chain in chains if chain is not fallback)
    origins = frozenset((*(chain.origin for chain in chains if chain.origin), *(one.service.origin for one in entry.contributions)))
    return Listener(
        entry.name,
        entry.place.addresses,
        entry.place.port,
        Direction.OUTBOUND,
        kept,
        fallback if has_all else unknown_chain(outbound_policy(db, view), "PassthroughFilterChain"),
        is_bound=entry.is_bound,
        inspects_tls=any(chain.match.server_names or chain.match.transport for chain in chains),
        inspects_http=any(chain.match.protocols for chain in http),
        patience=Patience.CLIENT if all(_speaks_first(one) for one in entry.contributions) else Patience.MOMENT,
        origins=origins,
    )


def _speaks_first(contribution: Contribution) -> bool:
    """By what is declared the client does: HTTP or TLS."""
    return contribution.port.protocol.is_http or contribution.port.protocol.is_tls


def _names(db: Db, view: View, entry: Entry) -> tuple[NameCache, ...]:
    """The caches in which hosts of requests at a listener may be looked up."""
    found = [names_of(one.service, view) for one in entry.contributions if one.route]
    if outbound_policy(db, view).mode is MeshOutboundMode.ALLOW_ANY_DYNAMIC_DNS:
        found.append(unknown_names(view))
    return tuple(dict.fromkeys(cache for cache in found if cache is not None))


def _http_chains(contribution: Contribution, names: tuple[NameCache, ...], has_http10: bool, is_shared: bool) -> Iterator[Chain]:
    """One chain; for a detected port one for each version of HTTP, because each offers another protocol upstream.

    `is_shared`: at the wildcard address, where other bytes for the port come by too; elsewhere an HTTP port takes all there is."""
    web = contribution.port.protocol is Protocol.GRPC_WEB
    prefix = f"outbound_{contribution.route}"
    if not contribution.is_detected:
        does = Http(contribution.route, Role.CLIENT, prefix, has_grpc_web=web, names=names)
        yield Chain(ChainMatch(transport=RAW, protocols=(HTTP10, *HTTP_PROTOCOLS)) if is_shared else ChainMatch(), does)
        return
    first = (HTTP10, "http/1.1") if has_http10 else ("http/1.1",)
    for protocols, alpn in ((first, ALPN_HTTP1), (("h2c",), ALPN_HTTP2)):
        yield Chain(ChainMatch(transport=RAW, protocols=protocols), Http(contribution.route, Role.CLIENT, prefix, alpn, names=names))


def _tcp_chains(db: Db, view: View, entry: Entry, contribution: Contribution) -> list[Chain]:
    service, port = contribution.service, contribution.port
    needs_name = port.protocol.is_tls and (bool(contribution.destination) or entry.place.addresses == wildcards(view))
    return destination_chains(db, view, service, port, contribution.destination, needs_name)


def unknown_chain(policy: OutboundPolicy, name: str) -> Chain:
    """Where a connection to no known service goes."""
    return Chain(ChainMatch(), to_unknown(policy), name=name)


def to_unknown(policy: OutboundPolicy) -> Tcp:
    """Straight out, through the Sidecar's egress proxy, or nowhere. Source: Istio outboundTrafficPolicy."""
    if policy.mode is MeshOutboundMode.REGISTRY_ONLY:
        return Tcp((TcpTarget(BLACK_HOLE),), BLACK_HOLE)
    if policy.proxy is not None:
        port = policy.proxy.port.number if policy.proxy.port else 0
        cluster = outbound_cluster(port, policy.proxy.subset, policy.proxy.host)
        return Tcp((TcpTarget(cluster),), cluster)
    return Tcp((TcpTarget(PASSTHROUGH),), PASSTHROUGH)


def virtual_outbound(db: Db, view: View) -> Listener:
    """The listener that takes every captured connection and hands it to the one for its destination, or treats it as unknown."""
    own = capture_ports(db, view).outbound
    loop = Chain(ChainMatch(port=own), to_cluster(BLACK_HOLE), name="virtualOutbound-blackhole")
    policy = outbound_policy(db, view)
    rest = unknown_chain(policy, "virtualOutbound-catchall-tcp")
    has_names = policy.mode is MeshOutboundMode.ALLOW_ANY_DYNAMIC_DNS
    return Listener(
        VIRTUAL_OUTBOUND,
        wildcards(view),
        own,
        Direction.OUTBOUND,
        (loop, _by_any_host(view)) if has_names else (loop, rest),
        rest if has_names else None,
        is_capture_all=True,
        keeps_original_destination=has_names,  # found out first: who says nothing in time is handed on without the filters that are left
        inspects_tls=has_names,
        inspects_http=has_names,
    )


def _by_any_host(view: View) -> Chain:
    """Requests to no known service, their host looked up. Source: Istio outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS."""
    does = Http(OpenRoute(DYNAMIC_DNS, DYNAMIC_DNS, DYNAMIC_DNS_CLUSTER), Role.CLIENT, DYNAMIC_DNS, names=(unknown_names(view),))
    return Chain(ChainMatch(transport=RAW, protocols=HTTP_PROTOCOLS), does, name="virtualOutbound-catchall-http")
