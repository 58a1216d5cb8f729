"""Listeners of a gateway: one for each port and address its servers share. Called by `plan.listeners`.

Source: Istio, gateway listeners. Plain HTTP servers share one connection manager; each server with TLS has a chain of its own, told apart by server name.
"""

from collections.abc import Iterator, Mapping

from lateen.base.names import ObjectRef, listener_name
from lateen.config.kinds.istio.gateway import ServerTlsMode
from lateen.incremental import Db, index
from lateen.mesh.destination_rules import destination_rule, subset_names
from lateen.mesh.gateways import GatewayServer, ServerGroup, ServerKind, servers
from lateen.mesh.hosts import is_within
from lateen.mesh.model import Protocol, Service
from lateen.mesh.proxy_settings import proxy_config
from lateen.mesh.view import View
from lateen.mesh.visibility import visible_services
from lateen.plan.intercept import is_bindable, wildcards
from lateen.plan.listener import MESH_ALPN, Chain, ChainMatch, Direction, Http, Listener, Patience, Role, unique_chains
from lateen.plan.server_tls import server_tls
from lateen.plan.tcp_chains import gateway_tcp_chains, gateway_tls_chains, to_cluster


def _addresses(group: ServerGroup, view: View) -> tuple[str, ...]:
    return (group.bind,) if group.bind else wildcards(view)


@index
def _by_name(db: Db, view: View) -> Mapping[str, ServerGroup]:
    found: dict[str, ServerGroup] = {}
    for group in servers(db, view):
        found.setdefault(listener_name(_addresses(group, view)[0], group.port), group)
    return found


def gateway_names(db: Db, view: View) -> tuple[str, ...]:
    """The names of a gateway's listeners; one that would have no chain is left out."""
    return tuple(name for name in _by_name.whole(db, view) if gateway_listener(db, view, name) is not None)


def gateway_listener(db: Db, view: View, name: str) -> Listener | None:
    """One listener of a gateway; None: there is none, or nothing is routed there."""
    group = _by_name.at(db, name, view)
    if group is None or not is_bindable(_addresses(group, view)[0]):
        return None
    chains = unique_chains([chain for server in _distinct(group) for chain in _chains(db, view, group, server)])
    if not chains:
        return None
    topology = proxy_config(db, view).gateway_topology
    origins: frozenset[ObjectRef] = frozenset((*(server.origin for server in group.servers), *(chain.origin for chain in chains if chain.origin)))
    return Listener(
        name,
        _addresses(group, view),
        group.port,
        Direction.OUTBOUND,
        chains,
        inspects_tls=group.kind is ServerKind.TLS,
        patience=Patience.HANDSHAKE,
        takes_proxy_protocol=topology is not None and topology.proxy_protocol is not None,
        origins=origins,
    )


def _distinct(group: ServerGroup) -> tuple[GatewayServer, ...]:
    """Plain HTTP servers make one chain together."""
    return group.servers[:1] if group.kind is ServerKind.HTTP else group.servers


def _server_names(server: GatewayServer) -> tuple[str, ...]:
    """What a client's SNI must be; empty: anything."""
    return () if "*" in server.names else server.names


def _chains(db: Db, view: View, group: ServerGroup, server: GatewayServer) -> Iterator[Chain]:
    if group.kind is ServerKind.HTTP:
        yield Chain(ChainMatch(), Http(server.route_name, Role.GATEWAY, f"outbound_{server.route_name}"), origin=server.origin)
    elif server.kind is ServerKind.TCP:
        yield from gateway_tcp_chains(db, view, server)
    elif server.tls is not None and server.tls.mode is ServerTlsMode.AUTO_PASSTHROUGH:
        yield from _auto_passthrough(db, view, server)
    elif server.is_passthrough:
        yield from gateway_tls_chains(db, view, server)
    elif server.tls is not None:
        context = server_tls(db, server.tls, server.is_http)
        names = _server_names(server)
        if server.is_http:
            does = Http(server.route_name, Role.GATEWAY, f"outbound_{server.route_name}")
            yield Chain(ChainMatch(server_names=names), does, context, origin=server.origin)
            return
        for chain in gateway_tcp_chains(db, view, server):
            yield Chain(ChainMatch(server_names=names, destinations=chain.match.destinations), chain.does, context, origin=chain.origin)


def _auto_passthrough(db: Db, view: View, server: GatewayServer) -> Iterator[Chain]:
    """A chain for each service, port and subset that the server's hosts cover, found by the SNI of mesh clients."""
    for service in visible_services(db, view):
        if any(home in ("*", service.namespace) and is_within(service.hostname, host) for home, host in server.hosts):
            yield from _by_sni(db, view, service)


def _by_sni(db: Db, view: View, service: Service) -> Iterator[Chain]:
    rule = destination_rule(db, view.namespace, service.namespace, service.hostname)
    for port in service.ports:
        if port.protocol is Protocol.UDP:
            continue
        for subset in ("", *(subset_names(rule) if rule else ())):
            name = f"outbound_.{port.number}_.{subset}_.{service.hostname}"
            yield Chain(ChainMatch(protocols=MESH_ALPN, server_names=(name,)), to_cluster(name), origin=service.origin)
