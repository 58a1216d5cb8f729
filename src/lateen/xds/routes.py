"""Route configurations (RDS): one resource per name, put together from virtual hosts that are bytes already. Called by `xds.resources`.

A virtual host is serialized by a query of its own and joined at the boundary of a repeated field, so that a change of one costs one virtual host and a join.
Source: Envoy config.route.v3.RouteConfiguration.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from zlib import crc32

from lateen.base.names import ObjectRef
from lateen.config.store import mesh_field
from lateen.incremental import Db, index, query
from lateen.mesh.destination_rules import ruling
from lateen.mesh.gateways import http_route_names
from lateen.mesh.model import Protocol
from lateen.mesh.view import View
from lateen.mesh.visibility import Scope, scope, scoped_listeners
from lateen.plan.destinations import hash_keys
from lateen.plan.domains import Audience
from lateen.plan.gateway_routes import GatewayEntry, gateway_layout, gateway_virtual_host
from lateen.plan.http_settings import ForwardedHeaders, forwarded_headers
from lateen.plan.outbound import outbound_entries
from lateen.plan.route import HashKey, VirtualHost
from lateen.plan.virtual_hosts import HTTP_PROXY, Entry, audience, catch_all, default_host, layout, owned_host
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.xds.check import MAX_DIRECT_RESPONSE_BYTES, problem, shared_domain
from lateen.xds.resource import Resource, ResourceType
from lateen.xds.route_bytes import virtual_host_message

PART = 32
"""Virtual hosts that are joined together first, on average: about the root of a large table's size."""
_VIRTUAL_HOSTS_TAG = b"\x12"
"""Field 2 of RouteConfiguration, length-delimited."""


@dataclass(frozen=True)
class Piece:
    """One virtual host as a field of a route configuration. `problem`: what Envoy would refuse in it."""

    body: bytes
    origins: frozenset[ObjectRef] = frozenset()
    domains: tuple[str, ...] = ()
    problem: str = ""


def _length(size: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def _piece(host: VirtualHost) -> Piece:
    message = virtual_host_message(host)
    body = message.SerializeToString(deterministic=True)
    why = problem(message)
    return Piece(_VIRTUAL_HOSTS_TAG + _length(len(body)) + body, host.origins, host.domains, f"{message.name}: {why}" if why else "")


@query
def sidecar_piece(db: Db, to: Audience, entry: Entry, port: int) -> Piece:
    """One virtual host of a sidecar that a VirtualService has. `port`: the listener's."""
    return _piece(owned_host(db, to, entry, port))


@query
def plain_piece(db: Db, entry: Entry) -> Piece | None:
    """One virtual host that no VirtualService has, for every audience that calls its service so; None: a DestinationRule may choose endpoints by a hash."""
    return None if ruling(db, entry.host).homes else _piece(default_host(db, entry, ()))


@query
def _hashed_piece(db: Db, entry: Entry, keys: tuple[HashKey, ...]) -> Piece:
    return _piece(default_host(db, entry, keys))


def _piece_of(db: Db, to: Audience, entry: Entry, port: int) -> Piece:
    if entry.owner is not None:
        return sidecar_piece(db, to, entry, port)
    return plain_piece(db, entry) or _hashed_piece(db, entry, hash_keys(db, to.eyes, to.labels, entry.host, entry.port, ""))


@index
def _parts(db: Db, to: Audience, name: str) -> Mapping[str, tuple[Entry, ...]]:
    """A configuration's virtual hosts in short runs, in order, each under the name of its first. Where one ends its own name says, so that hosts that come
    and go change one run or two."""
    found: dict[str, tuple[Entry, ...]] = {}
    run: list[Entry] = []
    whole = layout(db, to, name)
    for entry in whole.entries if whole is not None else ():
        run.append(entry)
        if crc32(entry.name.encode()) % PART == 0:
            found[run[0].name] = tuple(run)
            run = []
    return found | {run[0].name: tuple(run)} if run else found


@query
def _part(db: Db, to: Audience, name: str, first: str, port: int) -> tuple[Piece, ...]:
    """The pieces of a run: when one changes these few are looked up anew, and not all."""
    return tuple(_piece_of(db, to, entry, port) for entry in _parts.at(db, first, to, name) or ())


@query
def catch_all_piece(db: Db, eyes: Scope) -> Piece:
    """What takes any other Host at a sidecar."""
    return _piece(catch_all(db, eyes))


@query
def gateway_piece(db: Db, entry: GatewayEntry) -> Piece:
    """One virtual host of a gateway."""
    return _piece(gateway_virtual_host(db, entry))


def _joined(name: str, ignores_port: bool, pieces: Iterable[Piece]) -> Resource:
    message = route_pb2.RouteConfiguration(name=name, ignore_port_in_host_matching=ignores_port)
    message.validate_clusters.value = False
    message.max_direct_response_body_size_bytes.value = MAX_DIRECT_RESPONSE_BYTES
    pieces = tuple(pieces)
    body = b"".join((message.SerializeToString(deterministic=True), *(piece.body for piece in pieces)))
    why = next((piece.problem for piece in pieces if piece.problem), "") or shared_domain(piece.domains for piece in pieces)
    return Resource(ResourceType.ROUTE, name, body, frozenset().union(*(piece.origins for piece in pieces)), why)


@query
def _sidecar_configuration(db: Db, to: Audience, name: str) -> Resource | None:
    found = layout(db, to, name)
    if found is None:
        return None
    pieces = [piece for first in _parts.whole(db, to, name) for piece in _part(db, to, name, first, found.port)]
    if found.has_catch_all:
        pieces.append(catch_all_piece(db, to.eyes))
    return _joined(name, found.port != 0, pieces)


@query
def _gateway_configuration(db: Db, entries: tuple[GatewayEntry, ...], name: str) -> Resource:
    return _joined(name, True, (gateway_piece(db, entry) for entry in entries))


def route_resource(db: Db, view: View, name: str) -> Resource | None:
    """A route configuration by name, as a view gets it; None: none of its listeners could name it."""
    found, headers = _route_resource(db, view, name), forwarded_headers(db, view)
    return found if found is None or headers == ForwardedHeaders() else _with_headers(db, found, headers)


@query
def _with_headers(db: Db, found: Resource, headers: ForwardedHeaders) -> Resource:
    """The configuration for proxies whose ProxyConfig asks for other headers than is usual. O(its size): they are few, and all others share their bytes."""
    message = route_pb2.RouteConfiguration.FromString(found.body)
    for host in message.virtual_hosts:
        host.include_request_attempt_count = host.include_request_attempt_count and headers.counts_attempts
        for route in host.routes:
            if route.HasField("route"):
                route.route.append_x_forwarded_host = headers.tells_host
    return replace(found, body=message.SerializeToString(deterministic=True))


def _route_resource(db: Db, view: View, name: str) -> Resource | None:
    if not view.is_router:
        found = _sidecar_configuration(db, audience(db, view), name)
        if found is None and name in _sidecar_names(db, view):  # a listener waits for it: no host at all is an answer, none at all is not
            return _joined(name, True, ())
        return found
    entries = gateway_layout(db, view, name)
    return _gateway_configuration(db, entries, name) if entries is not None else None


@query
def _sidecar_names(db: Db, view: View) -> frozenset[str]:
    names = {contribution.route for entry in outbound_entries(db, view) for contribution in entry.contributions if contribution.route}
    has_proxy = bool(mesh_field(db, "proxy_http_port")) or any(
        way.port is not None and way.port.protocol is Protocol.HTTP_PROXY for way in scoped_listeners(db, scope(db, view))
    )
    return frozenset((*names, HTTP_PROXY) if has_proxy else names)


def route_names(db: Db, view: View) -> frozenset[str]:
    """The names of all route configurations that a view's listeners ask for."""
    return frozenset(http_route_names(db, view)) if view.is_router else _sidecar_names(db, view)
