"""The HTTP routes of one VirtualService for one caller, in order. Called by `plan.virtual_hosts` (sidecars) and `plan.gateway_routes`.

A query of its own per VirtualService and caller, so that a change of one re-runs that one. Source: Istio HTTPRoute, its order and names.
"""

from collections.abc import Iterator

from lateen.base.names import ClusterName, ObjectRef, outbound_cluster
from lateen.config.kinds.istio.virtual_service import Destination, HttpDestination, HttpMatch, HttpRetry, HttpRoute
from lateen.config.store import mesh_field
from lateen.incremental import Db, query
from lateen.mesh.virtual_services import EffectiveVirtualService, Semantics, effective
from lateen.plan import http_action
from lateen.plan.destinations import Caller, cluster_name, hash_keys, http_cluster
from lateen.plan.http_match import route_match
from lateen.plan.route import (
    NO_CHANGES,
    Action,
    Form,
    Forward,
    HashKey,
    HeaderChanges,
    Mirror,
    Route,
    RouteMatch,
    Target,
)

MAX_WEIGHTS = 2**32 - 1
"""Of one route's targets together. Source: Envoy WeightedCluster."""


@query
def http_routes(db: Db, key: ObjectRef, caller: Caller) -> tuple[Route, ...]:
    """The routes of a VirtualService that can hold for the caller, up to the first that takes everything. Empty: none can, and it counts as not there."""
    service = effective(db, key)
    return routes_of(db, service, caller) if service is not None else ()


def routes_of(db: Db, service: EffectiveVirtualService, caller: Caller) -> tuple[Route, ...]:
    """The same for a service at hand (one that no VirtualService object stands for)."""
    found: list[Route] = []
    for route in service.http:
        for match in route.match or (None,):
            one = _route(db, service, route, match, caller)
            if one is not None:
                found.append(one)
                if match is not None and one.match.is_everything:
                    return tuple(found)
        if not route.match:
            return tuple(found)
    return tuple(found)


def _concerns(match: HttpMatch | None, caller: Caller) -> bool:
    """Whether a condition can hold here, by port, gateway and source. With gateways named, the source does not count."""
    if match is None:
        return True
    if match.port and match.port != caller.port:
        return False
    if match.gateways:
        return caller.gateway in match.gateways
    return match.source_labels.selects(dict(caller.labels)) and match.source_namespace in ("", caller.namespace)


def _route(db: Db, service: EffectiveVirtualService, route: HttpRoute, written: HttpMatch | None, caller: Caller) -> Route | None:
    if not _concerns(written, caller):
        return None
    match = route_match(written, by_segments=service.semantics is not Semantics.ISTIO)
    action = _action(db, service, route, caller) if match is not None else None
    if match is None or action is None:
        return None
    request, response = _changes(route)
    return Route(
        f"{route.name}.{written.name}" if written is not None and written.name else route.name,
        match,
        action,
        request,
        response,
        http_action.fault(route.fault),
        http_action.cors(route.cors_policy),
        _operation(service, match, action, caller.port),
        written.stat_prefix if written is not None else "",
        service.origin,
    )


def _changes(route: HttpRoute) -> tuple[HeaderChanges, HeaderChanges]:
    """Header changes of a route, those of a single destination among them."""
    sources = [route.headers]
    if len(route.route) == 1 and route.redirect is None and route.direct_response is None:
        sources.append(route.route[0].headers)
    request, response = NO_CHANGES, NO_CHANGES
    for headers in sources:
        if headers is not None:
            request = http_action.joined(request, http_action.header_changes(headers.request))
            response = http_action.joined(response, http_action.header_changes(headers.response))
    return request, response


def _action(db: Db, service: EffectiveVirtualService, route: HttpRoute, caller: Caller) -> Action | None:
    if route.redirect is not None:
        return http_action.redirect(route.redirect, caller.port, caller.is_tls)
    if route.direct_response is not None:
        return http_action.respond(route.direct_response)
    return _forward(db, service, route, caller)


def _forward(db: Db, service: EffectiveVirtualService, route: HttpRoute, caller: Caller) -> Forward | None:
    is_split = len(route.route) > 1
    chosen = tuple(to for to in route.route if to.destination is not None and (to.weight or not is_split))
    if not chosen:
        return None
    keys = [_keys(db, to.destination, caller) for to in chosen if to.destination]
    scale = _scale(chosen)
    targets = tuple(_target(db, to, caller, scale if is_split else 0) for to in chosen)
    prefix, regex = http_action.rewrites(route.rewrite)
    authority = (route.rewrite.authority if route.rewrite else "") or http_action.authority_of(route.headers)
    if not is_split and not authority:
        authority = http_action.authority_of(chosen[0].headers)
    return Forward(
        targets,
        is_split,
        route.timeout or 0.0,
        http_action.retries(_retry_policy(db, route), not is_split and bool(keys[0])),
        prefix,
        regex,
        authority,
        tuple(Mirror(_cluster(db, mirror.destination, caller), share) for mirror, share in http_action.mirrors(route) if mirror.destination),
        tuple(key for of_target in keys for key in of_target),
        fails_with_500=service.semantics is Semantics.GATEWAY_API,
    )


def default_retries(db: Db) -> HttpRetry | None:
    """The mesh's own retry policy; None: the built-in one. Source: Istio MeshConfig.defaultHttpRetryPolicy."""
    found = mesh_field(db, "default_http_retry_policy")
    return found if isinstance(found, HttpRetry) else None


def _retry_policy(db: Db, route: HttpRoute) -> HttpRetry | None:
    return default_retries(db) if route.retries is None else route.retries


def _cluster(db: Db, to: Destination, caller: Caller) -> str:
    host, port = http_cluster(db, caller, to)
    return cluster_name(host, port, to.subset)


def _keys(db: Db, to: Destination, caller: Caller) -> tuple[HashKey, ...]:
    host, port = http_cluster(db, caller, to)
    return hash_keys(db, caller.eyes, caller.labels, host, port, to.subset)


def _scale(chosen: tuple[HttpDestination, ...]) -> int:
    """What weights are divided by, so that their sum is one Envoy takes; hardly ever other than 1."""
    return sum(to.weight for to in chosen) // MAX_WEIGHTS + 1


def _target(db: Db, to: HttpDestination, caller: Caller, scale: int) -> Target:
    """`scale` 0: the only target."""
    assert to.destination is not None
    cluster = _cluster(db, to.destination, caller)
    if not scale:
        return Target(cluster)
    headers = to.headers
    return Target(
        cluster,
        to.weight if scale == 1 else max(1, to.weight // scale),
        http_action.header_changes(headers.request if headers else None),
        http_action.header_changes(headers.response if headers else None),
        http_action.authority_of(headers),
    )


def _operation(service: EffectiveVirtualService, match: RouteMatch, action: Action, port: int) -> str:
    """What traces call it: the destination if there is one, else the VirtualService, and the path. Source: Istio, route decorators."""
    path = match.path.value + ("*" if match.path.form in (Form.PREFIX, Form.SEGMENTS) else "")
    if isinstance(action, Forward) and not action.is_split:
        name = ClusterName.parse(action.targets[0].cluster)
        if name is not None:
            return f"{name.host}:{name.port}{path}"
    return f"{service.origin.name}:{port}{path}"


def default_route(db: Db, host: str, port: int, keys: tuple[HashKey, ...]) -> Route:
    """The route of a service that no VirtualService has: to its own cluster. Its retries look for another endpoint even where a hash (`keys`) chooses, as
    in Istio."""
    action = Forward((Target(outbound_cluster(port, "", host)),), retries=http_action.retries(default_retries(db), False), hash_keys=keys)
    return Route("default", RouteMatch(), action, operation=f"{host}:{port}/*")


def every_route(routes: Iterator[Route] | tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes with those that take everything last, else in order: several VirtualServices of one host at a gateway."""
    found = tuple(routes)
    return (*(route for route in found if not route.match.is_everything), *(route for route in found if route.match.is_everything))
