"""Clusters as bytes, and the names of those a view has. Called by `xds.resources`. Envoy: cluster.v3.Cluster.

Names come from visible services and subsets; each resource is computed alone, by its name, and its bytes are shared by all views with an equal client.
"""

from collections.abc import Iterator
from dataclasses import replace

from lateen.base.names import INBOUND_PASSTHROUGH, ClusterName, inbound_cluster
from lateen.config.kinds.istio.gateway import ServerTlsMode
from lateen.config.kinds.istio.mesh_config import MeshOutboundMode
from lateen.incremental import Db, query
from lateen.mesh.gateways import servers
from lateen.mesh.inbound import inbound_ports
from lateen.mesh.model import Service
from lateen.mesh.view import View
from lateen.mesh.visibility import outbound_policy, sidecar_of, visible_service, visible_services
from lateen.plan.clients import Client, client_of
from lateen.plan.cluster import Cluster, Discovery
from lateen.plan.inbound_clusters import Inbound, inbound_of, inbound_port_cluster, passthrough_cluster
from lateen.plan.outbound_clusters import RESOLVED, Target, cluster_ports, fixed_clusters, has_clusters, outbound_cluster, placement_of, subsets_of
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
    for service in visible_services(db, view):
        names.update(_service_names(db, client, service))
    if view.is_router and has_auto_passthrough(db, view):
        parsed = (ClusterName.parse(name) for name in list(names))
        names.update(one.sni for one in parsed if one is not None)
    return frozenset(names)


@query
def _service_names(db: Db, client: Client, service: Service) -> tuple[str, ...]:
    """The names of one service's clusters: those that turn out to exist."""
    return tuple(target.name for target in _targets(db, client, service) if outbound_cluster(db, client, target) is not None)


def _targets(db: Db, client: Client, service: Service) -> Iterator[Target]:
    if not has_clusters(service):
        return
    for port in cluster_ports(service):
        for subset in ("", *subsets_of(db, client, service.namespace, service.hostname)):
            yield Target(service, port, subset)


def has_forward(db: Db, view: View) -> bool:
    """Whether unknown hosts are resolved by name."""
    return not view.is_router and outbound_policy(db, view).mode is MeshOutboundMode.ALLOW_ANY_DYNAMIC_DNS


def has_auto_passthrough(db: Db, view: View) -> bool:
    """Whether a gateway routes by the server names of mesh TLS."""
    found = (server.tls for group in servers(db, view) for server in group.servers)
    return any(tls is not None and tls.mode is ServerTlsMode.AUTO_PASSTHROUGH for tls in found)


def target_of(db: Db, view: View, name: str) -> Target | None:
    """The service port and subset a cluster name stands for; None: the view sees none."""
    parsed = ClusterName.parse(name)
    if parsed is None or parsed.direction != "outbound":
        return None
    service = visible_service(db, view, parsed.host)
    port = next((one for one in cluster_ports(service) if one.number == parsed.port), None) if service and has_clusters(service) else None
    if service is None or port is None:
        return None
    target = Target(service, port, parsed.subset, is_sni="|" not in name)
    if service.resolution not in RESOLVED:
        return target
    return replace(target, placement=placement_of(db, view, client_of(db, view), target))


@query
def endpoint_names(db: Db, view: View) -> frozenset[str]:
    """The names of the clusters whose endpoints come by EDS."""
    return frozenset(name for name in cluster_names(db, view) if eds_target(db, view, name) is not None)


def eds_target(db: Db, view: View, name: str) -> tuple[Client, Target] | None:
    """Client and target of an EDS cluster; None: the view has no such cluster, or it is of another kind."""
    target = target_of(db, view, name)
    client = client_of(db, view)
    return (client, target) if target is not None and _is_eds(db, client, target) else None


@query
def _is_eds(db: Db, client: Client, target: Target) -> bool:
    cluster = outbound_cluster(db, client, target)
    return cluster is not None and cluster.discovery is Discovery.EDS


def cluster_resource(db: Db, view: View, name: str) -> Resource | None:
    """One cluster as a view gets it; None: it has none of that name."""
    client = client_of(db, view)
    target = target_of(db, view, name)
    if target is not None:
        return _outbound(db, client, target) if not target.is_sni or view.is_router else None
    if not view.is_router:
        if name == INBOUND_PASSTHROUGH:
            return _inbound_passthrough(db, client)
        port = next((one for one in inbound_ports(db, view) if inbound_cluster(one.port) == name), None)
        if port is not None:
            return _inbound(db, inbound_of(client, port, sidecar_of(db, view), view.addresses))
    return _fixed(db, client, has_forward(db, view), name)


@query
def _outbound(db: Db, client: Client, target: Target) -> Resource | None:
    cluster = outbound_cluster(db, client, target)
    return _resource(cluster) if cluster is not None else None


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
