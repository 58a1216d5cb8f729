"""The route configurations of gateways: virtual hosts by the hosts that servers and VirtualServices share. Called by `xds.routes`.

Source: Istio, gateway route configurations: VirtualServices of one host merge, the oldest one's routes first, those that take everything last.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lateen.base.names import ObjectRef, virtual_host_name
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import rule_labels
from lateen.mesh.gateways import GatewayServer, servers_of_route
from lateen.mesh.hosts import overlap, specificity
from lateen.mesh.model import Labels
from lateen.mesh.view import View
from lateen.mesh.virtual_services import Heading, claims, source_label_keys
from lateen.mesh.visibility import Scope
from lateen.plan.destinations import Caller
from lateen.plan.http_routes import every_route, http_routes
from lateen.plan.route import VirtualHost
from lateen.plan.virtual_hosts import applies

NOTHING = "blackhole"


@dataclass(frozen=True)
class Part:
    """The routes of one VirtualService at one server."""

    key: ObjectRef
    at: Caller


@dataclass(frozen=True)
class GatewayEntry:
    """One virtual host of a gateway: its parts in order. `requires_tls`: plaintext is sent to https."""

    name: str
    domains: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    requires_tls: bool = False


def gateway_layout(db: Db, view: View, route_name: str) -> tuple[GatewayEntry, ...] | None:
    """The virtual hosts of one route configuration of a gateway, sorted by name; None: no server has it."""
    servers = servers_of_route(db, view, route_name)
    if not servers:
        return None
    wanted = source_label_keys(db)
    labels = {pair for pair in view.labels if pair[0] in wanted} | set(rule_labels(db, view.namespace, view.labels))
    return server_layout(db, view.namespace, tuple(sorted(labels)), servers)


@query
def server_layout(db: Db, namespace: str, labels: Labels, servers: tuple[GatewayServer, ...]) -> tuple[GatewayEntry, ...]:
    """The virtual hosts of servers that share a route configuration, for gateways of a namespace."""
    found: dict[str, GatewayEntry] = {}
    for server in servers:
        at = Caller(Scope(namespace, None, True), labels, server.gateway, server.port, server.tls is not None)
        for heading in claims(db, namespace, server.gateway):
            shared = _shared(server, heading)
            if not shared or not applies(db, heading.key, at):
                continue
            for host in shared:
                entry = found.get(host) or GatewayEntry(virtual_host_name(host, server.port), (host,))
                part = Part(heading.key, at)
                parts = entry.parts if part in entry.parts else (*entry.parts, part)
                found[host] = replace(entry, parts=parts, requires_tls=entry.requires_tls or server.is_https_redirect)
        for host in _written_hosts(server) if server.is_https_redirect else ():
            found[host] = replace(found.get(host) or GatewayEntry(virtual_host_name(host, server.port), (host,)), requires_tls=True)
    if not found:
        return (GatewayEntry(virtual_host_name(NOTHING, servers[0].port), ("*",)),)
    return tuple(sorted(_collapsed(found), key=lambda entry: entry.name))


def _written_hosts(server: GatewayServer) -> Iterator[str]:
    """The server's hosts as Istio makes domains of them: a namespace stays in front, and such a domain takes no request."""
    return (host if home == "*" else f"{home}/{host}" for home, host in server.hosts)


def _shared(server: GatewayServer, heading: Heading) -> tuple[str, ...]:
    """The hosts that a server and a VirtualService both stand for, the narrower of each two."""
    own = [host for home, host in server.hosts if home in ("*", heading.namespace)]
    return tuple(dict.fromkeys(host for one in own for other in heading.hosts if (host := overlap(one, other))))


def _collapsed(found: dict[str, GatewayEntry]) -> Iterator[GatewayEntry]:
    """Hosts with the same routes as one virtual host, named after the most specific. Hosts that differ in case alone are one."""
    merged: dict[tuple[tuple[Part, ...], bool], GatewayEntry] = {}
    taken: set[str] = set()
    for host in sorted(found, key=specificity):
        entry = found[host]
        if host.lower() in taken:
            continue
        taken.add(host.lower())
        key = (entry.parts, entry.requires_tls)
        first = merged.get(key)
        merged[key] = replace(first, domains=(*first.domains, *entry.domains)) if first else entry
    return iter(merged.values())


@query
def gateway_virtual_host(db: Db, entry: GatewayEntry) -> VirtualHost:
    """One virtual host of a gateway with its routes."""
    routes = every_route(route for part in entry.parts for route in http_routes(db, part.key, part.at))
    return VirtualHost(entry.name, entry.domains, routes, entry.requires_tls)
