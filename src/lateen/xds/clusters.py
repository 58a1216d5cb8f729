"""Clusters as bytes, and the names of those a view has. Called by `xds.resources`. Envoy: cluster.v3.Cluster.

Names come from visible services and subsets; each resource is computed alone, by its name, and its bytes are shared by all views with an equal client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lateen.base.names import INBOUND_PASSTHROUGH, ClusterName, inbound_cluster
from lateen.config.kinds.istio.gateway import ServerTlsMode
from lateen.config.kinds.istio.mesh_config import MeshOutboundMode
from lateen.incremental import Db, query
from lateen.mesh.automatic_scope import is_automatic, learned, pinned_hosts
from lateen.mesh.destination_rules import common_key, rule_of, ruling, subset_names
from lateen.mesh.gateways import servers
from lateen.mesh.inbound import inbound_ports
from lateen.mesh.model import Service
from lateen.mesh.networks import scale
from lateen.mesh.view import View
from lateen.mesh.visibility import Scope, outbound_policy, scope, scoped_services, service_seen, sidecar_of, vantage_of
from lateen.plan.buffers import server_side_bytes
from lateen.plan.clients import Caller, Client, Seat, caller_of, client_of, seat_of
from lateen.plan.cluster import Cluster, Discovery
from lateen.plan.inbound_clusters import Inbound, inbound_of, inbound_port_cluster, passthrough_cluster
from lateen.plan.outbound_clusters import RESOLVED, Target, cluster_ports, fixed_clusters, has_clusters, nearness, network_at, outbound_cluster
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.xds.check import problem
from lateen.xds.cluster_message import cluster_message
from lateen.xds.resource import Common, Resource, ResourceType


@query
def cluster_names(db: Db, view: View) -> frozenset[str]:
    """The names of the clusters that a view gets without asking: all, or in automatic scope those that do not come on demand, and those that its workload
    has learned. O(services)."""
    return _standing(db, view).clusters | _learned(db, view) if is_automatic(db, view) else _all_names(db, view)


@query
def endpoint_names(db: Db, view: View) -> frozenset[str]:
    """The names of those of them whose endpoints come by EDS."""
    return _standing(db, view).endpoints | _learned(db, view) if is_automatic(db, view) else _endpoint_names(db, view)


@query
def _learned(db: Db, view: View) -> frozenset[str]:
    """What the workload has learned and may call. O(learned)."""
    return learned(db, view) & _on_demand_names(db, view)


@query
def _on_demand_names(db: Db, view: View) -> frozenset[str]:
    """The clusters that come when they are asked for: all with EDS, but those that nothing would ask for. Clusters of names are few, and warm slowly."""
    pinned = pinned_hosts(db, scope(db, view))
    return frozenset(name for name in _endpoint_names(db, view) if name.rpartition("|")[2] not in pinned)


@dataclass(frozen=True)
class _Standing:
    """Clusters that do not come on demand: all, and those with EDS."""

    clusters: frozenset[str]
    endpoints: frozenset[str]


@query
def _standing(db: Db, view: View) -> _Standing:
    on_demand = _on_demand_names(db, view)
    return _Standing(_all_names(db, view) - on_demand, _endpoint_names(db, view) - on_demand)


@query
def _all_names(db: Db, view: View) -> frozenset[str]:
    client = client_of(db, view)
    names = {cluster.name for cluster in fixed_clusters(db, client, has_forward(db, view))}
    if not view.is_router:
        names.add(INBOUND_PASSTHROUGH)
        names.update(inbound_cluster(port.port) for port in inbound_ports(db, view))
    return _common_names(db, seat_of(db, view), has_sni_clusters(db, view)).clusters.union(names, *_ruled_kinds(db, view, client))


@query
def _endpoint_names(db: Db, view: View) -> frozenset[str]:
    kinds = _ruled_kinds(db, view, client_of(db, view))
    ruled = {name for found in kinds for name, discovery in found.items() if discovery is Discovery.EDS}
    return _common_names(db, seat_of(db, view), has_sni_clusters(db, view)).endpoints | ruled


@dataclass(frozen=True)
class _Names:
    """Of the services that no DestinationRule covers: all clusters, and those with EDS. `ruled`: the other services."""

    clusters: frozenset[str]
    endpoints: frozenset[str]
    ruled: tuple[Service, ...]


@query
def _common_names(db: Db, seat: Seat, has_sni: bool) -> _Names:
    kinds: dict[str, Discovery] = {}
    ruled = []
    for service in scoped_services(db, seat.eyes):
        if has_clusters(service):
            if ruling(db, service.hostname).homes:
                ruled.append(service)
            else:
                kinds |= _kinds_of(db, seat.caller(None), service, has_sni)
    return _Names(frozenset(kinds), frozenset(name for name, kind in kinds.items() if kind is Discovery.EDS), tuple(ruled))


def _ruled_kinds(db: Db, view: View, client: Client) -> list[Mapping[str, Discovery]]:
    """Name → kind of the clusters of each service that some DestinationRule covers."""
    has_sni = has_sni_clusters(db, view)
    services = _common_names(db, seat_of(db, view), has_sni).ruled
    return [_kinds_of(db, caller_of(db, client, service.namespace, service.hostname), service, has_sni) for service in services]


def _kinds_of(db: Db, caller: Caller, service: Service, has_sni: bool) -> Mapping[str, Discovery]:
    found = _kinds(db, caller, service, False)
    return found | _kinds(db, caller, service, True) if has_sni else found


@query
def _kinds(db: Db, caller: Caller, service: Service, is_sni: bool) -> dict[str, Discovery]:
    """Name → kind of one service's clusters, those that turn out to exist. Small, so that an edit of a cluster re-runs no list of names."""
    subsets = ("", *subset_names(rule_of(db, caller.rule)))
    found = {}
    for port in cluster_ports(service):
        for subset in subsets:
            emitted = _outbound(db, caller, Target(service, port, subset, is_sni))
            if emitted is not None:
                found[emitted.resource.name] = emitted.discovery
    return found


def has_forward(db: Db, view: View) -> bool:
    """Whether unknown hosts are resolved by name."""
    return not view.is_router and outbound_policy(db, view).mode is MeshOutboundMode.ALLOW_ANY_DYNAMIC_DNS


def has_sni_clusters(db: Db, view: View) -> bool:
    """Whether the view is a gateway that routes by the server names of mesh TLS."""
    return view.is_router and _has_auto_passthrough(db, view)


def _has_auto_passthrough(db: Db, view: View) -> bool:
    found = (server.tls for group in servers(db, view) for server in group.servers)
    return any(tls is not None and tls.mode is ServerTlsMode.AUTO_PASSTHROUGH for tls in found)


def _target(db: Db, eyes: Scope, name: str) -> Target | None:
    """The service port and subset that a cluster name stands for, as a scope sees it; None: it sees none."""
    parsed = ClusterName.parse(name)
    if parsed is None or parsed.direction != "outbound":
        return None
    service = service_seen(db, eyes, parsed.host)
    port = next((one for one in cluster_ports(service) if one.number == parsed.port), None) if service and has_clusters(service) else None
    if service is None or port is None:
        return None
    target = Target(service, port, parsed.subset, is_sni="|" not in name)
    return target if target.name == name else None


def target_of(db: Db, view: View, name: str) -> tuple[Caller, Target] | None:
    """What a cluster name stands for at a view, and the view as its caller; None: the view sees none."""
    target = _target(db, vantage_of(db, view), name)
    if target is None:
        return None
    service = target.service
    caller = caller_of(db, client_of(db, view), service.namespace, service.hostname)
    if service.resolution not in RESOLVED:
        return caller, target
    near = nearness(db, caller, target)
    return caller, replace(target, placement=near.placement(view) if near is not None else None, network=network_at(db, view))


@dataclass(frozen=True)
class CommonTarget:
    """What a cluster name stands for at a seat, and the seat as its caller. `homes`: namespaces whose clients may have another rule in force."""

    caller: Caller
    target: Target
    homes: frozenset[str]


@query
def common_target(db: Db, seat: Seat, name: str) -> CommonTarget | None:
    """None: nothing that all of the seat would share."""
    target = _target(db, seat.eyes, name)
    if target is None or (target.is_sni and not seat.is_router):
        return None
    service = target.service
    rules = ruling(db, service.hostname)
    if rules.is_uneven:
        return None
    caller = seat.caller(common_key(db, service.namespace, service.hostname) if rules.homes else None)
    if service.resolution in RESOLVED and (scale(db) or nearness(db, caller, target) is not None):
        return None
    return CommonTarget(caller, target, rules.homes)


def is_eds(db: Db, caller: Caller, target: Target) -> bool:
    """Whether the cluster is there and its endpoints come by EDS."""
    return _kinds(db, caller, target.service, target.is_sni).get(target.name) is Discovery.EDS


def eds_target(db: Db, view: View, name: str) -> tuple[Caller, Target] | None:
    """Caller and target of an EDS cluster; None: the view has no such cluster, or it is of another kind."""
    found = target_of(db, view, name)
    return found if found is not None and is_eds(db, *found) else None


@query
def _common(db: Db, seat: Seat, name: str) -> Common | None:
    """One cluster of a service for all of a seat."""
    found = common_target(db, seat, name)
    emitted = _outbound(db, found.caller, found.target) if found is not None else None
    return Common(emitted.resource, found.homes) if emitted is not None and found is not None else None


def cluster_resource(db: Db, view: View, name: str) -> Resource | None:
    """One cluster as a view gets it; None: it has none of that name."""
    limit = server_side_bytes(db, view)
    found = _cluster_resource(db, view, name)
    return found if found is None or limit is None else _buffered(found, limit)


def _buffered(resource: Resource, limit_bytes: int) -> Resource:
    """A cluster with a limit to its connections' buffers: messages of protobuf one after the other are their merge, so that views with other limits
    share what is made for all."""
    message = cluster_pb2.Cluster()
    message.per_connection_buffer_limit_bytes.value = limit_bytes
    return replace(resource, body=resource.body + message.SerializeToString(deterministic=True))


def _cluster_resource(db: Db, view: View, name: str) -> Resource | None:
    common = _common(db, seat_of(db, view), name)
    if common is not None and view.namespace not in common.homes:
        return common.resource
    client = client_of(db, view)
    found = target_of(db, view, name)
    if found is not None:
        caller, target = found
        emitted = _outbound(db, caller, target) if not target.is_sni or view.is_router else None
        return emitted.resource if emitted is not None else None
    if not view.is_router:
        if name == INBOUND_PASSTHROUGH:
            return _inbound_passthrough(db, client)
        port = next((one for one in inbound_ports(db, view) if inbound_cluster(one.port) == name), None)
        if port is not None:
            return _inbound(db, inbound_of(db, client, port, sidecar_of(db, view), view.addresses))
    return _fixed(db, client, has_forward(db, view), name)


@dataclass(frozen=True)
class _Emitted:
    resource: Resource
    discovery: Discovery


@query
def _outbound(db: Db, caller: Caller, target: Target) -> _Emitted | None:
    """One cluster's bytes: the only thing that is kept of it."""
    cluster = outbound_cluster(db, caller, target)
    return _Emitted(_resource(cluster), cluster.discovery) if cluster is not None else None


@query
def _inbound(db: Db, inbound: Inbound) -> Resource:
    return _resource(inbound_port_cluster(db, inbound))


@query
def _inbound_passthrough(db: Db, client: Client) -> Resource:
    return _resource(passthrough_cluster(db, client))


@query
def _fixed(db: Db, client: Client, can_forward: bool, name: str) -> Resource | None:
    return next((_resource(cluster) for cluster in fixed_clusters(db, client, can_forward) if cluster.name == name), None)


def _resource(cluster: Cluster) -> Resource:
    message = cluster_message(cluster)
    return Resource(ResourceType.CLUSTER, cluster.name, message.SerializeToString(deterministic=True), cluster.origins, problem(message))
