"""What gRPC clients and servers without a proxy get: API listeners, the routes of one host, plain clusters, endpoints. Called by `xds.resources`.

gRPC refuses what it doesn't know in some places and overlooks it in others; here is only what it reads. What Envoy would refuse it isn't sent either.

Source: gRPC A27, A28, A29, A31, A32, A33, A36, A37, A42, A44; names of resources: Istio, proxyless gRPC.
"""

from google.protobuf.message import Message

from lateen.base.names import ClusterName, ObjectRef, outbound_cluster
from lateen.incremental import Db, query
from lateen.mesh.model import MtlsMode
from lateen.mesh.services import services_by_host
from lateen.mesh.view import View
from lateen.plan.assignment import Assignment, Group, Host
from lateen.plan.clients import Caller
from lateen.plan.cluster import UNLIMITED, Cluster, Discovery, MeshTls, RingHash
from lateen.plan.load_assignments import load_assignment
from lateen.plan.outbound_clusters import Target, assignment_key, nearness
from lateen.plan.proxyless import Destination, destination, destination_host, proxyless_cluster, server_mode
from lateen.plan.route import Forward, VirtualHost
from lateen.wire.pb.envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from lateen.wire.pb.envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2, route_pb2
from lateen.wire.pb.envoy.extensions.filters.http.fault.v3 import fault_pb2
from lateen.wire.pb.envoy.extensions.filters.http.router.v3 import router_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from lateen.wire.pb.envoy.type.matcher.v3 import string_pb2
from lateen.xds.any import duration, packed
from lateen.xds.assignment_message import assignment_message
from lateen.xds.check import nameless, problem
from lateen.xds.clusters import target_of
from lateen.xds.resource import Resource, ResourceType
from lateen.xds.route_bytes import FAULT, virtual_host_message
from lateen.xds.transport import TLS_SOCKET

ROUTER = "envoy.filters.http.router"
PROVIDER, CERTIFICATE, AUTHORITY = "default", "default", "ROOTCA"
"""The provider of certificates that a client's bootstrap names, and what is asked of it. Source: Istio, the bootstrap of proxyless gRPC."""


def proxyless_resource(db: Db, view: View, type_: ResourceType, name: str) -> Resource | None:
    """One resource by the name it is asked for; None: it does not exist for this client."""
    match type_:
        case ResourceType.LISTENER:
            return _server(db, view, name) or _api_listener(db, view, name)
        case ResourceType.ROUTE:
            return _routes(db, view, name)
        case ResourceType.CLUSTER:
            return _cluster(db, view, name)
        case ResourceType.ENDPOINT:
            return _endpoints(db, view, name)
        case _:
            return None


def _checked(type_: ResourceType, name: str, message: Message, origins: frozenset[ObjectRef] = frozenset(), why: str = "") -> Resource:
    """A resource held to the same as an Envoy's: gRPC refuses no less than Envoy what the descriptors forbid. `why`: a problem that is known already."""
    return Resource(type_, name, message.SerializeToString(deterministic=True), origins, problem(_without_tls(message)) or why)


def _without_tls(message: Message) -> Message:
    """The message without TLS: gRPC's own providers of certificates stand where Envoy wants secrets. Nothing of them is a user's."""
    plain: cluster_pb2.Cluster | listener_pb2.Listener
    match message:
        case cluster_pb2.Cluster():
            plain = cluster_pb2.Cluster()
            plain.CopyFrom(message)
            plain.ClearField("transport_socket")
        case listener_pb2.Listener():
            plain = listener_pb2.Listener()
            plain.CopyFrom(message)
            for chain in plain.filter_chains:
                chain.ClearField("transport_socket")
        case _:
            return message
    return plain


# Listeners


def _api_listener(db: Db, view: View, name: str) -> Resource | None:
    """The way of a client to `host:port`: its routes by RDS, and the filters that gRPC has."""
    found = destination(db, view, name)
    if found is None:
        return None
    ads = config_source_pb2.ConfigSource(ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3)
    manager = hcm.HttpConnectionManager(
        stat_prefix="outbound",
        rds=hcm.Rds(config_source=ads, route_config_name=outbound_cluster(found.port, "", found.host)),
        http_filters=[hcm.HttpFilter(name=FAULT, typed_config=packed(fault_pb2.HTTPFault())), _router()],
    )
    message = listener_pb2.Listener(name=name)
    message.api_listener.api_listener.CopyFrom(packed(manager))
    return _checked(ResourceType.LISTENER, name, message, _services(db, found.host))


def _router() -> hcm.HttpFilter:
    return hcm.HttpFilter(name=ROUTER, typed_config=packed(router_pb2.Router()))


def _services(db: Db, host: str) -> frozenset[ObjectRef]:
    return frozenset(one.origin for one in services_by_host.at(db, host) or ())


def _server(db: Db, view: View, name: str) -> Resource | None:
    """A server's listener: in the clear, or under STRICT with the workload's certificate and clients of the mesh alone."""
    found = server_mode(db, view, name)
    if found is None:
        return None
    address, port, mode = found
    everything = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"), non_forwarding_action=route_components_pb2.NonForwardingAction())
    host = route_components_pb2.VirtualHost(name=f"inbound|http|{port}", domains=["*"], routes=[everything])
    manager = hcm.HttpConnectionManager(
        stat_prefix="inbound",
        route_config=route_pb2.RouteConfiguration(name=f"inbound|http|{port}", virtual_hosts=[host]),
        http_filters=[_router()],
    )
    handles = listener_components_pb2.Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))
    chain = listener_components_pb2.FilterChain(name="inbound", filters=[handles])
    if mode is MtlsMode.STRICT:
        chain.name = "inbound-mtls"
        chain.transport_socket.CopyFrom(_downstream_tls())
    message = listener_pb2.Listener(name=name, filter_chains=[chain], traffic_direction=base_pb2.INBOUND)
    message.address.CopyFrom(address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port)))
    return _checked(ResourceType.LISTENER, name, message)


def _downstream_tls() -> base_pb2.TransportSocket:
    """Any identity that the mesh's root vouches for gets in: gRPC checks no names of clients here. Source: gRPC A29."""
    context = tls_pb2.DownstreamTlsContext()
    context.require_client_certificate.value = True
    _apply_providers(context.common_tls_context)
    return base_pb2.TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


# Routes


def _routes(db: Db, view: View, name: str) -> Resource | None:
    """The route configuration of one destination, named as its cluster."""
    parsed = ClusterName.parse(name)
    if parsed is None or parsed.direction != "outbound" or parsed.subset:
        return None
    host = destination_host(db, view, Destination(parsed.host, parsed.port))
    return _route_configuration(db, host, name) if host is not None else None


@query
def _route_configuration(db: Db, host: VirtualHost, name: str) -> Resource:
    message = route_pb2.RouteConfiguration(name=name)
    one = message.virtual_hosts.add()
    one.CopyFrom(virtual_host_message(host))
    for route, planned in zip(one.routes, host.routes, strict=True):
        route.ClearField("decorator")
        if isinstance(planned.action, Forward):
            route.route.ClearField("max_grpc_timeout")
            route.route.ClearField("timeout")
            if planned.action.timeout_s > 0:
                route.route.max_stream_duration.max_stream_duration.CopyFrom(duration(planned.action.timeout_s))
    return _checked(ResourceType.ROUTE, name, message, host.origins)


# Clusters


def _target(db: Db, view: View, name: str) -> tuple[Caller, Target, Cluster] | None:
    found = target_of(db, view, name)
    if found is None:
        return None
    cluster = _planned(db, *found)
    return (*found, cluster) if cluster is not None else None


@query
def _planned(db: Db, caller: Caller, target: Target) -> Cluster | None:
    return proxyless_cluster(db, caller, target)


def _cluster(db: Db, view: View, name: str) -> Resource | None:
    found = _target(db, view, name)
    return _cluster_resource(db, found[2]) if found is not None else None


@query
def _cluster_resource(db: Db, cluster: Cluster) -> Resource:
    message = cluster_pb2.Cluster(name=cluster.name)
    if cluster.discovery is Discovery.LOGICAL_DNS and cluster.assignment is not None:
        message.type = cluster_pb2.Cluster.LOGICAL_DNS
        message.load_assignment.CopyFrom(assignment_message(cluster.assignment))
    else:
        message.type = cluster_pb2.Cluster.EDS
        message.eds_cluster_config.service_name = cluster.name
        message.eds_cluster_config.eds_config.ads.SetInParent()
        message.eds_cluster_config.eds_config.resource_api_version = config_source_pb2.V3
    if isinstance(cluster.balancer, RingHash):
        message.lb_policy = cluster_pb2.Cluster.RING_HASH
        message.ring_hash_lb_config.minimum_ring_size.value = cluster.balancer.minimum_size
    if cluster.breakers.max_requests != UNLIMITED:
        limits = circuit_breaker_pb2.CircuitBreakers.Thresholds()
        limits.max_requests.value = cluster.breakers.max_requests
        message.circuit_breakers.thresholds.append(limits)
    if isinstance(cluster.transport.socket, MeshTls):
        message.transport_socket.CopyFrom(_upstream_tls(cluster.transport.socket))
    return _checked(ResourceType.CLUSTER, cluster.name, message, cluster.origins)


def _upstream_tls(socket: MeshTls) -> base_pb2.TransportSocket:
    context = tls_pb2.UpstreamTlsContext(sni=socket.sni)
    _apply_providers(context.common_tls_context)
    names = [string_pb2.StringMatcher(exact=name) for name in socket.identities]
    context.common_tls_context.combined_validation_context.default_validation_context.match_subject_alt_names.extend(names)
    return base_pb2.TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def _apply_providers(common: tls_pb2.CommonTlsContext) -> None:
    """Certificate and roots come from the client's own files, by the provider that its bootstrap names. Names of peers are
    said in the field that gRPC reads, which Envoy has left behind. Source: gRPC A29."""
    own = common.tls_certificate_provider_instance
    own.instance_name, own.certificate_name = PROVIDER, CERTIFICATE
    roots = common.combined_validation_context.default_validation_context.ca_certificate_provider_instance
    roots.instance_name, roots.certificate_name = PROVIDER, AUTHORITY


# Endpoints


def _endpoints(db: Db, view: View, name: str) -> Resource | None:
    found = _target(db, view, name)
    if found is None or found[2].discovery is not Discovery.EDS:
        return None
    caller, target, _ = found
    near = nearness(db, caller, target)
    node = view.node_name if target.service.is_node_local else None
    key = assignment_key(db, caller, target, node, near.placement(view) if near is not None else None)
    return _assignment_resource(db, _plain(load_assignment(db, key)), target.service.origin)


def _plain(assignment: Assignment) -> Assignment:
    """Each address once, IP addresses alone: gRPC refuses a whole assignment for a second one. Source: gRPC A27, its client's validation."""
    seen: set[tuple[str, int]] = set()
    groups = []
    for group in assignment.groups:
        hosts = []
        for host in group.hosts:
            if host.port and (host.address, host.port) not in seen:
                seen.add((host.address, host.port))
                hosts.append(Host(host.address, host.port, host.weight, host.health))
        groups.append(Group(group.locality, group.priority, group.weight, tuple(hosts)))
    return Assignment(assignment.cluster, tuple(groups))


@query
def _assignment_resource(db: Db, assignment: Assignment, origin: ObjectRef) -> Resource:
    """gRPC wants every locality named, if by nothing."""
    message = assignment_message(assignment)
    for part in message.endpoints:
        part.locality.SetInParent()
    return _checked(ResourceType.ENDPOINT, assignment.cluster, message, frozenset((origin,)), nameless(message))
