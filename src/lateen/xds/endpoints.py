"""Load assignments as bytes: EDS. Envoy: endpoint.v3.ClusterLoadAssignment.

Bytes are shared by all views whose assignment key is equal.
"""

from dataclasses import replace
from functools import lru_cache

from lateen.base.addresses import is_plain_ip
from lateen.base.names import ObjectRef
from lateen.incremental import Db, query
from lateen.mesh.model import Health, Locality
from lateen.mesh.networks import scale
from lateen.mesh.services import service
from lateen.mesh.view import View
from lateen.plan.assignment import Assignment, Group, Host
from lateen.plan.clients import Seat, seat_of
from lateen.plan.load_assignments import MAX_WEIGHT, AssignmentKey
from lateen.plan.load_assignments import load_assignment as planned
from lateen.plan.outbound_clusters import assignment_key, nearness, network_at
from lateen.xds.assignment_message import assignment_message
from lateen.xds.check import nameless, problem
from lateen.xds.clusters import common_target, eds_target, is_eds
from lateen.xds.resource import Common, Resource, ResourceType

_ANY = "10.0.0.1"
"""Stands for any address, and any name of a cluster."""


def load_assignment(db: Db, view: View, name: str) -> Resource | None:
    """The endpoints of one EDS cluster as a view gets them; None: the view has no such cluster, or it is not of EDS. No endpoints: an empty one."""
    common = _common(db, seat_of(db, view), name)
    if common is not None and view.namespace not in common.homes:
        return common.resource
    found = eds_target(db, view, name)
    if found is None:
        return None
    caller, target = found
    near = nearness(db, caller, target)
    node = view.node_name if target.service.is_node_local else None
    key = assignment_key(db, caller, replace(target, network=network_at(db, view)), node, near.placement(view) if near is not None else None)
    return _resource(db, key)


@query
def _common(db: Db, seat: Seat, name: str) -> Common | None:
    """The same for all of a seat; None: it depends on where the client runs, or there is none."""
    found = common_target(db, seat, name)
    if found is None or not is_eds(db, found.caller, found.target) or found.target.service.is_node_local:
        return None
    if scale(db) or nearness(db, found.caller, found.target) is not None:
        return None
    return Common(_resource(db, assignment_key(db, found.caller, found.target)), found.homes)


@query
def _resource(db: Db, key: AssignmentKey) -> Resource:
    assignment = planned(db, key)
    message = assignment_message(assignment)
    why = "" if _is_plain(assignment) else problem(message) or nameless(message)
    return Resource(ResourceType.ENDPOINT, key.cluster, message.SerializeToString(deterministic=True), _origins(db, key.namespace, key.hostname), why)


def _is_plain(assignment: Assignment) -> bool:
    """Whether it is plain that Envoy takes it: endpoints are thousands and differ by their addresses, which only have to be some, and little else.

    False: its message is to be looked at."""
    weights, shape = 0, []
    for group in assignment.groups:
        kinds = set()
        for host in group.hosts:
            if not is_plain_ip(host.address):
                return False
            kinds.add((host.port, host.weight, host.health is Health.HEALTHY, host.has_mesh_tls))
            weights += host.weight
        shape.append((group.locality, group.priority, group.weight, frozenset(kinds)))
    return bool(assignment.cluster) and weights <= MAX_WEIGHT and _is_taken(tuple(shape))


_Shape = tuple[tuple[Locality, int, int, frozenset[tuple[int, int, bool, bool]]], ...]
"""Of each group: locality, priority, weight, and its different kinds of endpoints: port, weight, healthy, mesh TLS."""


@lru_cache(1024)
def _is_taken(shape: _Shape) -> bool:
    """Whether an assignment of this shape, with one endpoint of each kind, has no problem."""
    groups = tuple(
        Group(
            locality,
            priority,
            weight,
            tuple(Host(_ANY, port, share, Health.HEALTHY if is_healthy else Health.UNHEALTHY, is_meshed) for port, share, is_healthy, is_meshed in kinds),
        )
        for locality, priority, weight, kinds in shape
    )
    return not problem(assignment_message(Assignment(_ANY, groups)))


def _origins(db: Db, namespace: str, hostname: str) -> frozenset[ObjectRef]:
    one = service(db, namespace, hostname)
    return frozenset((one.origin,)) if one else frozenset()
