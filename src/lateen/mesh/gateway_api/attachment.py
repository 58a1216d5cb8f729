"""Which listeners, and which Services of the mesh, a route of the Gateway API attaches to, with which hosts. Called by `routes`.

Source: Gateway API, ParentReference, AllowedRoutes, hostnames; mesh routes (GAMMA).
"""

from dataclasses import dataclass

from lateen.base.names import MESH_GATEWAY, ObjectRef
from lateen.config.kinds.gateway.gateways import GROUP, ParentReference
from lateen.config.kinds.gateway.routes import GRPCRoute, HTTPRoute, TCPRoute, TLSRoute
from lateen.config.kinds.istio.service_entry import ServiceEntry
from lateen.config.store import OBJECTS, one
from lateen.incremental import Db, query
from lateen.mesh.gateway_api.listeners import ApiListener, listeners
from lateen.mesh.hosts import is_within, overlap
from lateen.mesh.services import service_hostname

Route = HTTPRoute | GRPCRoute | TLSRoute | TCPRoute
ISTIO_GROUP = "networking.istio.io"


@dataclass(frozen=True)
class Attachment:
    """Where a route's rules count. `gateway`: `mesh` or an internal Gateway. `hosts`: the route's own, of a mesh route its Service's. `port` 0: any.

    `viewers`: the namespaces whose clients it is for; `*`: all."""

    gateway: str
    hosts: tuple[str, ...]
    port: int = 0
    viewers: str = "*"


def route_at(db: Db, key: ObjectRef) -> Route | None:
    """The route of that name; None: there is none."""
    found = OBJECTS.at(db, key)
    return found if isinstance(found, HTTPRoute | GRPCRoute | TLSRoute | TCPRoute) else None


def hostnames(route: Route) -> tuple[str, ...]:
    """The hosts it says; none: every one."""
    return () if isinstance(route, TCPRoute) else route.spec.hostnames


@query
def attachments(db: Db, key: ObjectRef) -> tuple[Attachment, ...]:
    """All places where a route counts, in order of its parents; the same place once."""
    route = route_at(db, key)
    if route is None:
        return ()
    found: dict[Attachment, None] = {}
    for parent in route.spec.parent_refs:
        home = parent.namespace or route.namespace
        if (parent.group, parent.kind) == (GROUP, "Gateway"):
            for listener in _listeners(db, route, key.kind, parent, home):
                hosts = _served_hosts(hostnames(route), listener, listeners(db, listener.owner))
                if hosts:
                    found[Attachment(listener.gateway, hosts)] = None
        else:
            for host in _mesh_hosts(db, parent, home):
                viewers = "*" if home == route.namespace else route.namespace
                found[Attachment(MESH_GATEWAY, (host,), parent.port or 0, viewers)] = None
    return tuple(found)


def _mesh_hosts(db: Db, parent: ParentReference, home: str) -> tuple[str, ...]:
    if (parent.group, parent.kind) == ("", "Service"):
        return (service_hostname(parent.name, home),)
    if (parent.group, parent.kind) == (ISTIO_GROUP, "ServiceEntry"):
        entry = one(db, ServiceEntry, home, parent.name)
        return entry.spec.hosts if entry else ()
    return ()


def _listeners(db: Db, route: Route, kind: str, parent: ParentReference, home: str) -> list[ApiListener]:
    """The listeners of one parent that take the route: by section and port, kind, namespace, and a host in common."""
    found = []
    for listener in listeners(db, ObjectRef("KubernetesGateway", home, parent.name)):
        is_asked = parent.section_name in (None, listener.section) and parent.port in (None, listener.port)
        is_allowed = kind in listener.kinds and (listener.namespaces is None or route.namespace in listener.namespaces)
        if is_asked and is_allowed and _shares_host(route, listener):
            found.append(listener)
    return found


def _shares_host(route: Route, listener: ApiListener) -> bool:
    names = hostnames(route)
    return not listener.hostname or not names or any(overlap(name, listener.hostname) for name in names)


def _served_hosts(names: tuple[str, ...], listener: ApiListener, others: tuple[ApiListener, ...]) -> tuple[str, ...]:
    """The route's hosts that no other listener of the port covers more narrowly than this one. Source: Gateway API, listener isolation."""
    own = listener.hostname or "*"
    rivals = [one.hostname for one in others if one.port == listener.port and one.hostname and one.hostname != own and is_within(one.hostname, own)]
    return tuple(name for name in names or ("*",) if not any(is_within(name, rival) for rival in rivals))
