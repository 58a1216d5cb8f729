"""Load assignments as bytes: EDS, and the endpoints inside clusters. Envoy: endpoint.v3.ClusterLoadAssignment.

Bytes are shared by all views whose assignment key is equal.
"""

from lateen.base.names import ObjectRef
from lateen.incremental import Db, query
from lateen.mesh.model import Health
from lateen.mesh.services import service
from lateen.mesh.view import View
from lateen.plan.assignment import Assignment, Host
from lateen.plan.clients import Seat, seat_of
from lateen.plan.load_assignments import AssignmentKey
from lateen.plan.load_assignments import load_assignment as planned
from lateen.plan.outbound_clusters import assignment_key, nearness
from lateen.wire.pb.envoy.config.core.v3 import address_pb2, health_check_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from lateen.xds.resources import Common, Resource, ResourceType
from lateen.xds.transport import MATCH_KEY, MATCH_VALUE

_HEALTH = {Health.HEALTHY: health_check_pb2.HEALTHY, Health.UNHEALTHY: health_check_pb2.UNHEALTHY, Health.DRAINING: health_check_pb2.DRAINING}
SOCKET_MATCH = "envoy.transport_socket_match"


def load_assignment(db: Db, view: View, name: str) -> Resource | None:
    """The endpoints of one EDS cluster as a view gets them; None: the view has no such cluster, or it is not of EDS. No endpoints: an empty one."""
    from lateen.xds.clusters import eds_target  # it reads clusters, which hold assignments

    common = _common(db, seat_of(db, view), name)
    if common is not None and view.namespace not in common.homes:
        return common.resource
    found = eds_target(db, view, name)
    if found is None:
        return None
    caller, target = found
    near = nearness(db, caller, target)
    node = view.node_name if target.service.is_node_local else None
    return _resource(db, assignment_key(db, caller, target, node, near.placement(view) if near is not None else None))


@query
def _common(db: Db, seat: Seat, name: str) -> Common | None:
    """The same for all of a seat; None: it depends on where the client runs, or there is none."""
    from lateen.xds.clusters import common_target, is_eds

    found = common_target(db, seat, name)
    if found is None or not is_eds(db, found.caller, found.target) or found.target.service.is_node_local:
        return None
    if nearness(db, found.caller, found.target) is not None:
        return None
    return Common(_resource(db, assignment_key(db, found.caller, found.target)), found.homes)


@query
def _resource(db: Db, key: AssignmentKey) -> Resource:
    body = assignment_message(planned(db, key)).SerializeToString(deterministic=True)
    return Resource(ResourceType.ENDPOINT, key.cluster, body, _origins(db, key.namespace, key.hostname))


def _origins(db: Db, namespace: str, hostname: str) -> frozenset[ObjectRef]:
    one = service(db, namespace, hostname)
    return frozenset((one.origin,)) if one else frozenset()


def assignment_message(assignment: Assignment) -> endpoint_pb2.ClusterLoadAssignment:
    """The message of an assignment."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=assignment.cluster)
    for group in assignment.groups:
        part = message.endpoints.add(priority=group.priority)
        place = group.locality
        if place.region or place.zone or place.subzone:
            part.locality.region, part.locality.zone, part.locality.sub_zone = place.region, place.zone, place.subzone
        part.load_balancing_weight.value = group.weight
        part.lb_endpoints.extend(_endpoint(host) for host in group.hosts)
    return message


def _endpoint(host: Host) -> endpoint_components_pb2.LbEndpoint:
    message = endpoint_components_pb2.LbEndpoint(health_status=_HEALTH[host.health])
    message.endpoint.address.CopyFrom(address_message(host.address, host.port))
    message.load_balancing_weight.value = host.weight
    if host.has_mesh_tls:
        message.metadata.filter_metadata[SOCKET_MATCH].fields[MATCH_KEY].string_value = MATCH_VALUE
    return message


def address_message(address: str, port: int) -> address_pb2.Address:
    """A TCP address, or the path of a unix socket."""
    if address.startswith("unix://"):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=address.removeprefix("unix://")))
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))
