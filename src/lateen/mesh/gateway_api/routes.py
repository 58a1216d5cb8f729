"""Routes of the Gateway API as VirtualServices: the rules of all routes for one host at one listener, or of one Service, merged.

Read by `mesh.virtual_services`.
Source: Istio's Gateway API controller; order by the API's precedence, of equals the oldest route's first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from lateen.base.names import MESH_GATEWAY, ObjectRef
from lateen.config.kinds.gateway.routes import GRPCRoute, HTTPRoute, TCPRoute, TLSRoute
from lateen.config.kinds.istio.virtual_service import HttpMatch, HttpRoute, TcpMatch, TcpRoute, TlsMatch, TlsRoute
from lateen.config.store import age, everywhere, ref
from lateen.incremental import Db, index, query
from lateen.mesh.gateway_api.attachment import attachments, hostnames, route_at
from lateen.mesh.gateway_api.rules import http_rules, precedence, stream_targets

ANY_HOST = "*"


@dataclass(frozen=True)
class Place:
    """Where merged rules count. `gateway`: `mesh` or an internal Gateway; `viewers`: a namespace, or `*`."""

    gateway: str
    host: str
    viewers: str = "*"


@dataclass(frozen=True)
class Member:
    """A route at a place. `port` 0: any."""

    route: ObjectRef
    port: int
    age: tuple[float, str, str]


@index
def places(db: Db) -> Mapping[Place, tuple[Member, ...]]:
    """Place → its routes, oldest first. O(n) when a route changes; equal unless it attaches elsewhere."""
    found: dict[Place, list[Member]] = {}
    for kind in (HTTPRoute, GRPCRoute, TLSRoute, TCPRoute):
        for route in everywhere(db, kind):
            for attachment in attachments(db, ref(route)):
                for host in attachment.hosts:
                    place = Place(attachment.gateway, host, attachment.viewers)
                    found.setdefault(place, []).append(Member(ref(route), attachment.port, age(route)))
    return {place: tuple(sorted(members, key=lambda member: member.age)) for place, members in found.items()}


@query
def _rules(db: Db, route: ObjectRef, in_mesh: bool) -> tuple[HttpRoute, ...]:
    found = route_at(db, route)
    return tuple(http_rules(db, found, needs_grant=not in_mesh)) if isinstance(found, HTTPRoute | GRPCRoute) else ()


@query
def http_of(db: Db, place: Place) -> tuple[HttpRoute, ...]:
    """The HTTP routes of a place, in order of precedence."""
    merged = [_at_port(rule, member.port) for member in places.at(db, place) or () for rule in _rules(db, member.route, place.gateway == MESH_GATEWAY)]
    return tuple(sorted(merged, key=precedence))


def _at_port(rule: HttpRoute, port: int) -> HttpRoute:
    if not port:
        return rule
    matches = tuple(msgspec.structs.replace(match, port=port) for match in rule.match) or (HttpMatch(port=port),)
    return msgspec.structs.replace(rule, match=matches)


@query
def tls_of(db: Db, place: Place) -> tuple[TlsRoute, ...]:
    """The TLS routes of a place, by server name."""
    found = []
    for member in places.at(db, place) or ():
        route = route_at(db, member.route)
        if isinstance(route, TLSRoute):
            match = TlsMatch(sni_hosts=hostnames(route) or (ANY_HOST,), port=member.port)
            for rule in route.spec.rules:
                targets = stream_targets(db, route, rule.backend_refs, needs_grant=place.gateway != MESH_GATEWAY)
                found += [TlsRoute(match=(match,), route=targets)] if targets else []
    return tuple(found)


@query
def tcp_of(db: Db, place: Place) -> tuple[TcpRoute, ...]:
    """The TCP routes of a place; a TLSRoute at a listener that ends TLS is one."""
    found = []
    for member in places.at(db, place) or ():
        route = route_at(db, member.route)
        if isinstance(route, TCPRoute | TLSRoute):
            for rule in route.spec.rules:
                targets = stream_targets(db, route, rule.backend_refs, needs_grant=place.gateway != MESH_GATEWAY)
                matches = (TcpMatch(port=member.port),) if member.port else ()
                found += [TcpRoute(match=matches, route=targets)] if targets else []
    return tuple(found)
