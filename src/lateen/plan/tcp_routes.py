"""TCP and TLS routes of VirtualServices: which connections go where. Called by `plan.tcp_chains`, which makes filter chains of them.

Source: Istio TCPRoute, TLSRoute and how sidecars and gateways read them. What can be told when configuration is made (gateway, port, source) is told here;
SNI and destination networks are left to the chain's match.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lateen.base.names import MESH_GATEWAY, ObjectRef
from lateen.config.kinds.istio.virtual_service import RouteDestination, TcpMatch, TlsMatch
from lateen.incremental import Db, query
from lateen.mesh.gateways import GatewayServer
from lateen.mesh.hosts import overlap
from lateen.mesh.view import View
from lateen.mesh.virtual_services import EffectiveVirtualService, claims_of, effective, virtual_services
from lateen.mesh.visibility import Scope
from lateen.plan.destinations import Caller, cluster_name, tcp_cluster
from lateen.plan.virtual_hosts import audience, way_out


@dataclass(frozen=True)
class TcpDestination:
    """One target of connections. `host`, `port`, `subset`: what its cluster was made of, for the policies of its DestinationRule.
    `weight`: relative; alone it means nothing."""

    cluster: str
    weight: int
    host: str
    port: int
    subset: str


@dataclass(frozen=True)
class TcpRule:
    """Connections by SNI (`names`; empty: any) and destination (`networks`, CIDRs; empty: any), and where they go.
    `is_split`: several targets were asked for."""

    destinations: tuple[TcpDestination, ...]
    origin: ObjectRef
    names: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    is_split: bool = False


@dataclass(frozen=True)
class TcpRules:
    """The rules of one service port, in order. `needs_default`: what no rule takes goes to the service itself."""

    rules: tuple[TcpRule, ...]
    needs_default: bool = True


NO_RULES = TcpRules(())


def _concerns(match: TcpMatch | TlsMatch, at: Caller) -> bool:
    """Whether a condition can hold for the caller. Gateways that are named don't make the source free, unlike with HTTP."""
    return (
        (not match.gateways or at.gateway in match.gateways)
        and match.source_labels.selects(dict(at.labels))
        and match.port in (0, at.port)
        and match.source_namespace in ("", at.namespace)
    )


def _at_server(match: TcpMatch | TlsMatch, at: Caller) -> bool:
    """The same at a gateway, where nobody knows the source."""
    return match.port in (0, at.port) and (not match.gateways or at.gateway in match.gateways)


def _destinations(db: Db, written: tuple[RouteDestination, ...], at: Caller) -> tuple[TcpDestination, ...]:
    found = []
    for to in written:
        if to.destination is not None and (to.weight > 0 or len(written) == 1):
            host, port = tcp_cluster(db, at, to.destination)
            found.append(TcpDestination(cluster_name(host, port, to.destination.subset), to.weight, host, port, to.destination.subset))
    return tuple(found)


def sidecar_rules(db: Db, view: View, host: str, port: int, *, is_tls: bool) -> TcpRules:
    """The rules of a service's port at a sidecar. `is_tls`: the port's protocol is TLS or HTTPS, so that `tls` routes count, else `tcp` ones."""
    to = audience(db, view)
    return _sidecar_rules(db, Caller(to.eyes, to.labels, MESH_GATEWAY, port), host, is_tls)


@query
def _sidecar_rules(db: Db, at: Caller, host: str, is_tls: bool) -> TcpRules:
    way = way_out(db, at.eyes, at.port, "")
    if way is None:
        return NO_RULES
    owners = claims_of(db, at.eyes.namespace, way.imports, host)
    services = tuple(service for heading in owners if (service := effective(db, heading.key)))
    return _tls_rules(db, at, services) if is_tls else _tcp_rules(db, at, services)


def _tls_rules(db: Db, at: Caller, services: tuple[EffectiveVirtualService, ...]) -> TcpRules:
    """One rule for each condition; of equal conditions the first counts."""
    found: dict[tuple[frozenset[str], frozenset[str]], TcpRule] = {}
    for service in services:
        for route in service.tls:
            for match in route.match:
                key = (frozenset(match.sni_hosts), frozenset(match.destination_subnets))
                if key in found or not _concerns(match, at):
                    continue
                destinations = _destinations(db, route.route, at)
                if destinations:
                    found[key] = TcpRule(destinations, service.origin, match.sni_hosts, match.destination_subnets, len(route.route) > 1)
    return TcpRules(tuple(found.values()), not found)


def _tcp_rules(db: Db, at: Caller, services: tuple[EffectiveVirtualService, ...]) -> TcpRules:
    """Up to the first route that takes every destination."""
    found: list[TcpRule] = []
    for service in services:
        for route in service.tcp:
            fitting = [match for match in route.match if _concerns(match, at)]
            destinations = _destinations(db, route.route, at)
            if not destinations or (route.match and not fitting):
                continue
            is_split = len(route.route) > 1
            networks: list[str] = []
            for match in fitting:
                if not match.destination_subnets:
                    break
                networks += match.destination_subnets
            else:
                if route.match:
                    found.append(TcpRule(destinations, service.origin, networks=tuple(dict.fromkeys(networks)), is_split=is_split))
                    continue
            found.append(TcpRule(destinations, service.origin, is_split=is_split))
            return TcpRules(tuple(found), False)
    return TcpRules(tuple(found))


def server_rules(db: Db, view: View, server: GatewayServer) -> tuple[TcpRule, ...]:
    """The rules of a gateway's server: `tls` routes by SNI where it passes TLS through, else the first `tcp` route that fits. Empty: nothing is served."""
    at = Caller(Scope(view.namespace, None, True), (), server.gateway, server.port)
    return _passthrough_rules(db, at, server.hosts) if server.is_passthrough else _opaque_rules(db, at, server.hosts)


def _bound(db: Db, at: Caller, hosts: tuple[tuple[str, str], ...]) -> Iterator[EffectiveVirtualService]:
    """The VirtualServices of the gateway that share a host with the server."""
    for service in virtual_services(db, at.namespace, at.gateway):
        own = [host for home, host in hosts if home in ("*", service.namespace)]
        if any(overlap(one, host) for one in own for host in service.hosts):
            yield service


@query
def _opaque_rules(db: Db, at: Caller, hosts: tuple[tuple[str, str], ...]) -> tuple[TcpRule, ...]:
    for service in _bound(db, at, hosts):
        for route in service.tcp:
            if not route.match or any(_at_server(match, at) for match in route.match):
                destinations = _destinations(db, route.route, at)
                return (TcpRule(destinations, service.origin, is_split=len(route.route) > 1),) if destinations else ()
    return ()


@query
def _passthrough_rules(db: Db, at: Caller, hosts: tuple[tuple[str, str], ...]) -> tuple[TcpRule, ...]:
    found: list[TcpRule] = []
    taken: set[str] = set()
    for service in _bound(db, at, hosts):
        for route in service.tls:
            for match in route.match:
                if not _at_server(match, at) or taken.intersection(match.sni_hosts):
                    continue
                taken.update(match.sni_hosts)
                destinations = _destinations(db, route.route, at)
                if destinations:
                    found.append(TcpRule(destinations, service.origin, match.sni_hosts, is_split=len(route.route) > 1))
    return tuple(found)
