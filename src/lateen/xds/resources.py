"""The door to everything emitted: which resources a view has, and the bytes of one. Called by `serve` and `insight`; made by the files beside this one."""

from lateen.incremental import Db, query
from lateen.mesh.view import View
from lateen.xds import clusters, endpoints, extensions, listeners, proxyless, routes
from lateen.xds.resource import Resource, ResourceType


@query
def resource_names(db: Db, view: View, type_: ResourceType) -> frozenset[str]:
    """All names of a type that this view has: what a wildcard subscription gets (CDS, LDS), or what its clusters and listeners ask for."""
    if view.is_proxyless:
        return frozenset()  # it asks for what it dials, and gets that
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
    if view.is_proxyless:
        return proxyless.proxyless_resource(db, view, type_, name)
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
