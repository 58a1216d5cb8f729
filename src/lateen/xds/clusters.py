"""Clusters as bytes, and the names of those a view has. Called by `xds.resources`. Envoy: cluster.v3.Cluster.

Names come from visible services and subsets; each resource is computed alone, by its name, and its bytes are shared by all views with an equal client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lateen.base.names import INBOUND_PASSTHROUGH, ClusterName, inbound_cluster
from lateen.config.kinds.istio.gateway import ServerTlsMode
from lateen.config.kinds.istio.mesh_config import MeshOutboundMode
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import rule_of, subset_names
from lateen.mesh.gateways import servers
from lateen.mesh.inbound import inbound_ports
from lateen.mesh.model import Service
from lateen.mesh.view import View
from lateen.mesh.visibility import outbound_policy, sidecar_of, visible_service, visible_services
from lateen.plan.clients import Caller, Client, caller_of, client_of
from lateen.plan.cluster import Cluster, Discovery
from lateen.plan.inbound_clusters import Inbound, inbound_of, inbound_port_cluster, passthrough_cluster
from lateen.plan.outbound_clusters import RESOLVED, Target, cluster_ports, fixed_clusters, has_clusters, outbound_cluster, placement_of
from lateen.xds.cluster_message import cluster_message
from lateen.xds.resources import Resource, ResourceType


@query
def cluster_names(db: Db, view: View) -> frozenset[str]:
    """The names of all clusters of a view. O(services)."""
    client = client_of(db, view)
    names = {cluster.name for cluster in fixed_clusters(db, client, has_forward(db, view))}
    if not view.is_router:
        names.add(INBOUND_PASSTHROUGH)
        names.update(inbound_cluster(port.port) for port in inbound_ports(db, view))
    return frozenset(names.union(*(_kinds_for(db, view, client, service) for service in visible_services(db, view))))


@query
def endpoint_names(db: Db, view: View) -> frozenset[str]:
    """The names of the clusters whose endpoints come by EDS."""
    client = client_of(db, view)
    kinds = (_kinds_for(db, view, client, service) for service in visible_services(db, view))
    return frozenset(name for found in kinds for name, discovery in found.items() if discovery is Discovery.EDS)


def _kinds_for(db: Db, view: View, client: Client, service: Service) -> Mapping[str, Discovery]:
    """Name → kind of one service's clusters for a view."""
    if not has_clusters(service):
        return {}
    caller = caller_of(db, client, service.namespace, service.hostname)
    found = _kinds(db, caller, service, False)
    return found | _kinds(db, caller, service, True) if view.is_router and has_auto_passthrough(db, view) else found


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


def has_auto_passthrough(db: Db, view: View) -> bool:
    """Whether a gateway routes by the server names of mesh TLS."""
    found = (server.tls for group in servers(db, view) for server in group.servers)
    return any(tls is not None and tls.mode is ServerTlsMode.AUTO_PASSTHROUGH for tls in found)


def target_of(db: Db, view: View, name: str) -> tuple[Caller, Target] | None:
    """The service port and subset a cluster name stands for, and the view as its caller; None: the view sees none."""
    parsed = ClusterName.parse(name)
    if parsed is None or parsed.direction != "outbound":
        return None
    service = visible_service(db, view, parsed.host)
    port = next((one for one in cluster_ports(service) if one.number == parsed.port), None) if service and has_clusters(service) else None
    if service is None or port is None:
        return None
    target = Target(service, port, parsed.subset, is_sni="|" not in name)
    caller = caller_of(db, client_of(db, view), service.namespace, service.hostname)
    if service.resolution in RESOLVED:
        target = replace(target, placement=placement_of(db, view, caller, target))
    return caller, target


def eds_target(db: Db, view: View, name: str) -> tuple[Caller, Target] | None:
    """Caller and target of an EDS cluster; None: the view has no such cluster, or it is of another kind."""
    found = target_of(db, view, name)
    if found is None:
        return None
    caller, target = found
    return found if _kinds(db, caller, target.service, target.is_sni).get(name) is Discovery.EDS else None


def cluster_resource(db: Db, view: View, name: str) -> Resource | None:
    """One cluster as a view gets it; None: it has none of that name."""
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
    return Resource(ResourceType.CLUSTER, cluster.name, cluster_message(cluster).SerializeToString(deterministic=True), cluster.origins)
