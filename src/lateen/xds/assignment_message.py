"""Assignments and addresses as messages: the body of EDS, and the endpoints inside clusters. Envoy: endpoint.v3.ClusterLoadAssignment."""

from lateen.mesh.model import Health
from lateen.plan.assignment import Assignment, Host
from lateen.wire.pb.envoy.config.core.v3 import address_pb2, health_check_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from lateen.xds.transport import MATCH_KEY, MATCH_VALUE

_HEALTH = {Health.HEALTHY: health_check_pb2.HEALTHY, Health.UNHEALTHY: health_check_pb2.UNHEALTHY, Health.DRAINING: health_check_pb2.DRAINING}
SOCKET_MATCH = "envoy.transport_socket_match"


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
