"""Chains for bytes: where connections of a TCP or TLS port go, by the VirtualServices of its host, else to the service itself.

Called by the planners of listeners. Which rules there are is `tcp_routes`'s; here they become chains, with what DestinationRules say about connections.
"""

from collections.abc import Callable
from dataclasses import replace

from lateen.base.names import ObjectRef, outbound_cluster
from lateen.config.kinds.istio.traffic_policy import TcpPool, TrafficPolicy
from lateen.config.kinds.istio.traffic_policy import Tunnel as TunnelSettings
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import destination_rule, policy_of, rule_labels
from lateen.mesh.gateways import GatewayServer
from lateen.mesh.model import Labels, Port, Service
from lateen.mesh.view import View
from lateen.mesh.visibility import Scope, scope, service_seen
from lateen.plan.byte_rules import has_connection_rules, has_routes
from lateen.plan.listener import Chain, ChainMatch, Tcp, TcpTarget, Tunnel
from lateen.plan.name_caches import names_of
from lateen.plan.tcp_routes import NO_RULES, TcpDestination, TcpRule, server_rules, sidecar_rules


def to_cluster(cluster: str) -> Tcp:
    """Everything to one cluster."""
    return Tcp((TcpTarget(cluster),), cluster)


@query
def _policy(db: Db, eyes: Scope, labels: Labels, host: str, subset: str) -> tuple[TrafficPolicy, tuple[ObjectRef, ...]]:
    """What DestinationRules say of a host and subset, and which; what they say of single ports counts for their clusters alone, as in Istio."""
    seen = service_seen(db, eyes, host)
    rule = destination_rule(db, eyes.namespace, seen.namespace if seen else eyes.namespace, host, labels)
    return policy_of(db, rule, 0, subset), rule.origins if rule is not None else ()


def _forward(db: Db, view: View, destinations: tuple[TcpDestination, ...], is_split: bool) -> Tcp:
    """The first destination's DestinationRule says how long connections may last and idle, and whether the source address chooses the host."""
    first = destinations[0]
    if has_connection_rules(db, first.host):
        policy, rules = _policy(db, scope(db, view), rule_labels(db, view.namespace, view.labels), first.host, first.subset)
    else:
        policy, rules = TrafficPolicy(), ()
    pool = (policy.connection_pool.tcp if policy.connection_pool else None) or TcpPool()
    balancer = policy.load_balancer
    hashed = balancer is not None and balancer.consistent_hash is not None and bool(balancer.consistent_hash.use_source_ip)
    tunnel = policy.tunnel
    targets = tuple(TcpTarget(one.cluster, one.weight) for one in destinations)
    return Tcp(
        targets,
        first.cluster if len(targets) == 1 else ".".join(sorted({one.host for one in destinations})),
        idle_timeout_s=pool.idle_timeout,
        max_duration_s=pool.max_connection_duration,
        is_hashed_by_source=hashed,
        tunnel=Tunnel(tunnel.protocol or "CONNECT", _authority(tunnel)) if tunnel and not is_split else None,
        origins=rules,
    )


def _authority(tunnel: TunnelSettings) -> str:
    """Where a tunnel leads to."""
    host = f"[{tunnel.target_host}]" if ":" in tunnel.target_host else tunnel.target_host
    return f"{host}:{tunnel.target_port}"


def _rule_chain(db: Db, view: View, rule: TcpRule, networks: tuple[str, ...]) -> Chain:
    match = ChainMatch(server_names=_names(rule.names), destinations=rule.networks or networks)
    return Chain(match, _forward(db, view, rule.destinations, rule.is_split), origin=rule.origin)


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    return () if "*" in names else names


def destination_chains(db: Db, view: View, service: Service, port: Port, network: str, needs_name: bool) -> list[Chain]:
    """The chains of one service port at a sidecar. `network`: a CIDR that the destination is in; empty: any.

    `needs_name`: only SNI tells the services at this listener apart. A service with one port is reached there whatever the listener's."""
    number = service.ports[0].number if len(service.ports) == 1 else port.number
    default = TcpDestination(outbound_cluster(number, "", service.hostname), 1, service.hostname, number, "")
    networks = (network,) if network else ()
    is_tls = port.protocol.is_tls
    found = sidecar_rules(db, view, service.hostname, port.number, is_tls=is_tls) if has_routes(db, service.hostname) else NO_RULES
    chains = [_rule_chain(db, view, rule, networks) for rule in found.rules]
    if found.needs_default and not any(rule.networks == networks != () for rule in found.rules):
        match = ChainMatch(server_names=_names((service.hostname,) if needs_name else ()), destinations=networks)
        does = _forward(db, view, (default,), False)
        names = names_of(service, view)
        if names is not None:
            does = replace(does, names=names, names_port=port.number)
        chains.append(Chain(match, does, origin=service.origin))
    return chains


def gateway_tcp_chains(db: Db, view: View, server: GatewayServer) -> list[Chain]:
    """The chains of a gateway's TCP server, TLS not considered; none where no VirtualService has a TCP route for it."""
    return _server_chains(db, view, server, lambda names: ())


def gateway_tls_chains(db: Db, view: View, server: GatewayServer) -> list[Chain]:
    """The chains of a gateway's pass-through server, one for each route by SNI; none where no VirtualService has one."""
    return _server_chains(db, view, server, _names)


def _server_chains(db: Db, view: View, server: GatewayServer, names: Callable[[tuple[str, ...]], tuple[str, ...]]) -> list[Chain]:
    found = []
    for rule in server_rules(db, view, server):
        match = ChainMatch(server_names=names(rule.names), destinations=rule.networks)
        origin: ObjectRef = rule.origin
        found.append(Chain(match, _forward(db, view, rule.destinations, rule.is_split), origin=origin))
    return found
