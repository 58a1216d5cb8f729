"""The door to everything emitted: which resources a view has, and the bytes of one. Called by `serve` and `insight`; made by the files beside this one."""

from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b

from lateen.base.names import ObjectRef
from lateen.incremental import Db, query
from lateen.mesh.view import View


class ResourceType(Enum):
    """The xDS types we serve; the value is the type URL."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True)
class Resource:
    """One emitted resource. `body`: the serialized message. `version`: hash of `body`. `origins`: the objects that decided it, for the ledger."""

    type: ResourceType
    name: str
    body: bytes = field(repr=False)
    origins: frozenset[ObjectRef] = frozenset()
    version: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", blake2b(self.body, digest_size=8).hexdigest())


@dataclass(frozen=True)
class Common:
    """A resource that many views share. `homes`: namespaces whose views may have another one."""

    resource: Resource
    homes: frozenset[str] = frozenset()


@query
def resource_names(db: Db, view: View, type_: ResourceType) -> frozenset[str]:
    """All names of a type that this view has: what a wildcard subscription gets (CDS, LDS), or what its clusters and listeners ask for."""
    from lateen.xds import clusters, extensions, listeners, routes

    match type_:
        case ResourceType.CLUSTER:
            return clusters.cluster_names(db, view)
        case ResourceType.ENDPOINT:
            return clusters.endpoint_names(db, view)
        case ResourceType.LISTENER:
            return listeners.listener_names(db, view)
        case ResourceType.ROUTE:
            return routes.route_names(db, view)
        case ResourceType.EXTENSION:
            return extensions.extension_names(db, view)
        case ResourceType.SECRET:
            return extensions.secret_names(db, view)


@query
def resource(db: Db, view: View, type_: ResourceType, name: str) -> Resource | None:
    """One resource as this view gets it; None: it does not exist for it."""
    from lateen.xds import clusters, endpoints, extensions, listeners, routes

    match type_:
        case ResourceType.CLUSTER:
            return clusters.cluster_resource(db, view, name)
        case ResourceType.ENDPOINT:
            return endpoints.load_assignment(db, view, name)
        case ResourceType.LISTENER:
            return listeners.listener_resource(db, view, name)
        case ResourceType.ROUTE:
            return routes.route_resource(db, view, name)
        case ResourceType.EXTENSION:
            return extensions.extension_resource(db, view, name)
        case ResourceType.SECRET:
            return extensions.secret_resource(db, view, name)
