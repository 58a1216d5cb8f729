"""VirtualServices as they count: names in full, delegates in place, visible where exported; the oldest first.

Called by `plan` for routes, by `mesh.visibility` for what they send to. Which of several wins a host is decided in `plan.virtual_hosts` (sidecars) and
`plan.gateway_routes`. A change of routes re-runs the one effective service and a scan of headings with an equal result; who claims which host is computed
from headings alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import msgspec

from lateen.base.findings import Finding, Severity
from lateen.base.names import MESH_GATEWAY, ObjectRef, full_host
from lateen.config.kinds.istio.virtual_service import Destination, HttpRoute, TcpRoute, TlsRoute, VirtualService
from lateen.config.store import age, everywhere, mesh_field, one, ref
from lateen.incremental import Db, index, query
from lateen.mesh.delegates import merged_routes
from lateen.mesh.gateway_api.routes import Member, Place, http_of, places, tcp_of, tls_of
from lateen.mesh.hosts import is_within
from lateen.mesh.imports import EVERYTHING, Imports
from lateen.mesh.ingress import ingress_hosts, ingress_routes

M = TypeVar("M", bound=msgspec.Struct)
R = TypeVar("R", TcpRoute, TlsRoute)
INGRESS_HOST = "IngressHost"
"""Kind of the keys that stand for the rules of Ingresses for one host."""
ROUTE_PLACE = "RoutePlace"
"""Kind of the keys that stand for the rules of the Gateway API at one place."""


@dataclass(frozen=True)
class Heading:
    """What of a VirtualService says whom it concerns. `hosts`: in full. `gateways`: `mesh` or `namespace/name`. `export_to`: namespaces or `*`; empty: none.

    `key`: what `effective` takes; `origin`: the object that a user wrote."""

    key: ObjectRef
    origin: ObjectRef
    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    export_to: frozenset[str]
    age: tuple[float, str, str] = (0.0, "", "")

    @property
    def namespace(self) -> str:
        """Of the VirtualService."""
        return self.origin.namespace

    def is_visible(self, namespace: str) -> bool:
        """Whether it is exported to a namespace."""
        return not self.export_to.isdisjoint(("*", namespace))

    @property
    def rank(self) -> tuple[int, tuple[float, str, str]]:
        """Order of precedence: those for their own namespace alone, those for some namespaces, those for all; the oldest of each. Source: Istio."""
        return 2 if "*" in self.export_to else 0 if self.export_to == {self.namespace} else 1, self.age


class Semantics(Enum):
    """Whose rules hold where APIs differ in details."""

    ISTIO = "istio"
    INGRESS = "ingress"
    GATEWAY_API = "gateway-api"


@dataclass(frozen=True)
class EffectiveVirtualService:
    """A VirtualService as it counts: hosts, destinations and gateways in full, delegates in place."""

    heading: Heading
    http: tuple[HttpRoute, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    semantics: Semantics = Semantics.ISTIO

    @property
    def origin(self) -> ObjectRef:
        """The VirtualService."""
        return self.heading.origin

    @property
    def namespace(self) -> str:
        """Of the VirtualService."""
        return self.heading.namespace

    @property
    def hosts(self) -> tuple[str, ...]:
        """Fully qualified."""
        return self.heading.hosts


def gateway_name(written: str, namespace: str) -> str:
    """`mesh` or `namespace/name`. Source: Istio VirtualService.gateways; `name.namespace.svc…` is an old spelling."""
    if written == MESH_GATEWAY:
        return written
    home, slash, name = written.partition("/")
    if slash:
        return f"{namespace if home == '.' else home}/{name}"
    name, dot, rest = written.partition(".")
    return f"{rest.partition('.')[0]}/{name}" if dot else f"{namespace}/{name}"


def resolved_host(written: str, namespace: str) -> str:
    """A host in full; IP addresses stay as they are."""
    return written if ":" in written else full_host(written, namespace)


def _exported(service: VirtualService, default: tuple[str, ...]) -> frozenset[str]:
    targets = {service.namespace if target == "." else target for target in service.spec.export_to or default}
    return frozenset({"*"} if "*" in targets else targets - {"~"})


def _heading(service: VirtualService, default: tuple[str, ...]) -> Heading:
    home = service.namespace
    return Heading(
        ref(service),
        ref(service),
        tuple(resolved_host(host, home) for host in service.spec.hosts),
        tuple(gateway_name(name, home) for name in service.spec.gateways) or (MESH_GATEWAY,),
        _exported(service, default),
        age(service),
    )


def _default_export(db: Db) -> tuple[str, ...]:
    found = mesh_field(db, "default_virtual_service_export_to")
    return found if isinstance(found, tuple) and found else ("*",)


@query
def headings(db: Db) -> tuple[Heading, ...]:
    """All VirtualServices that have hosts, oldest first. O(n) at each change of one; equal unless whom it concerns has changed."""
    default = _default_export(db)
    written = tuple(_heading(service, default) for service in everywhere(db, VirtualService) if service.spec.hosts)
    made = [_place_heading(place, members) for place, members in places.whole(db).items()]
    return (
        *written,
        *sorted(made, key=lambda heading: heading.key),
        *(_ingress_heading(host, origin, gateway) for host, (origin, gateway) in sorted(ingress_hosts.whole(db).items())),
    )


def _place_heading(place: Place, members: tuple[Member, ...]) -> Heading:
    """Rules of the Gateway API for one host of one listener or of the mesh."""
    first = members[0]
    key = ObjectRef(ROUTE_PLACE, place.viewers, f"{place.gateway} {place.host}")
    return Heading(key, first.route, (place.host,), (place.gateway,), frozenset({place.viewers}), first.age)


def _of_place(db: Db, key: ObjectRef) -> EffectiveVirtualService | None:
    gateway, _, host = key.name.partition(" ")
    place = Place(gateway, host, key.namespace)
    members = places.at(db, place)
    if members is None:
        return None
    return EffectiveVirtualService(_place_heading(place, members), http_of(db, place), tls_of(db, place), tcp_of(db, place), Semantics.GATEWAY_API)


def _ingress_heading(host: str, origin: ObjectRef, gateway: str) -> Heading:
    return Heading(ObjectRef(INGRESS_HOST, "", host), origin, (host,), (gateway,), frozenset({"*"}))


@index
def _by_gateway(db: Db) -> Mapping[str, tuple[Heading, ...]]:
    found: dict[str, list[Heading]] = {}
    for heading in headings(db):
        for gateway in dict.fromkeys(heading.gateways):
            found.setdefault(gateway, []).append(heading)
    return {gateway: tuple(members) for gateway, members in found.items()}


@query
def claims(db: Db, namespace: str, gateway: str) -> tuple[Heading, ...]:
    """The headings that a namespace sees at a gateway (`mesh` or `namespace/name`), in order of precedence."""
    return tuple(sorted((heading for heading in _by_gateway.at(db, gateway) or () if heading.is_visible(namespace)), key=lambda heading: heading.rank))


@query
def imported_claims(db: Db, namespace: str, imports: Imports) -> tuple[Heading, ...]:
    """The same for sidecars, of what an egress listener imports."""
    found = claims(db, namespace, MESH_GATEWAY)
    return found if imports == EVERYTHING else tuple(heading for heading in found if imports.concerns(heading.namespace, heading.hosts))


@index
def _claims_by_host(db: Db, namespace: str, imports: Imports) -> Mapping[str, tuple[Heading, ...]]:
    """Host, exact or wildcard → those that claim it, in order of precedence."""
    found: dict[str, list[Heading]] = {}
    for heading in imported_claims(db, namespace, imports):
        for host in dict.fromkeys(heading.hosts):
            found.setdefault(host, []).append(heading)
    return {host: tuple(members) for host, members in found.items()}


@query
def _wildcards(db: Db, namespace: str, imports: Imports) -> tuple[str, ...]:
    """The wildcards that anyone claims, sorted."""
    return tuple(sorted(host for host in _claims_by_host.whole(db, namespace, imports) if host.startswith("*")))


def claims_of(db: Db, namespace: str, imports: Imports, host: str) -> tuple[Heading, ...]:
    """The headings that concern one host (itself a wildcard or not), in order of precedence. Recorded: those alone, and which wildcards there are."""
    if host.startswith("*"):
        hosts = [one for one in _claims_by_host.whole(db, namespace, imports) if is_within(one, host) or is_within(host, one)]
    else:
        hosts = [host, *(one for one in _wildcards(db, namespace, imports) if is_within(host, one))]
    found = {heading: None for one in hosts for heading in _claims_by_host.at(db, one, namespace, imports) or ()}
    return tuple(sorted(found, key=lambda heading: heading.rank))


@query
def effective(db: Db, key: ObjectRef) -> EffectiveVirtualService | None:
    """One VirtualService as it counts; None: there is none of that key."""
    if key.kind == ROUTE_PLACE:
        return _of_place(db, key)
    if key.kind == INGRESS_HOST:
        owner = ingress_hosts.at(db, key.name)
        return EffectiveVirtualService(_ingress_heading(key.name, *owner), ingress_routes(db, key.name), semantics=Semantics.INGRESS) if owner else None
    service = one(db, VirtualService, key.namespace, key.name)
    if service is None:
        return None
    heading = _heading(service, _default_export(db))
    return EffectiveVirtualService(
        heading,
        tuple(_with_delegates(db, service)),
        tuple(_resolved(route, service.namespace) for route in service.spec.tls),
        tuple(_resolved(route, service.namespace) for route in service.spec.tcp),
    )


def virtual_services(db: Db, namespace: str, gateway: str) -> tuple[EffectiveVirtualService, ...]:
    """Those a namespace sees at a gateway (`mesh` or `namespace/name`), in order of precedence."""
    return _effective_of(db, claims(db, namespace, gateway))


def imported_services(db: Db, namespace: str, imports: Imports) -> tuple[EffectiveVirtualService, ...]:
    """Those an egress listener imports, in order of precedence."""
    return _effective_of(db, imported_claims(db, namespace, imports))


def _effective_of(db: Db, found: Iterable[Heading]) -> tuple[EffectiveVirtualService, ...]:
    return tuple(service for heading in found if (service := effective(db, heading.key)))


def _with_delegates(db: Db, service: VirtualService) -> Iterator[HttpRoute]:
    for route in service.spec.http:
        if route.delegate is None:
            yield _resolved_http(route, service.namespace)
            continue
        home = route.delegate.namespace or service.namespace
        delegate = delegate_of(db, home, route.delegate.name, service.namespace)
        if delegate is not None:
            written = msgspec.structs.replace(route, match=tuple(_resolved_match(match, service.namespace) for match in route.match))
            delegated = tuple(_resolved_http(sub, home) for sub in delegate.spec.http if sub.delegate is None)
            yield from merged_routes(_resolved_http(written, service.namespace), delegated)


def delegate_of(db: Db, namespace: str, name: str, root_namespace: str) -> VirtualService | None:
    """The delegate, if there is one that is exported to the root's namespace; one that has hosts is none."""
    found = one(db, VirtualService, namespace, name)
    if found is None or found.spec.hosts or _exported(found, _default_export(db)).isdisjoint(("*", root_namespace)):
        return None
    return found


def _resolved_match(match: M, namespace: str) -> M:
    gateways = getattr(match, "gateways", ())
    return msgspec.structs.replace(match, gateways=tuple(gateway_name(name, namespace) for name in gateways)) if gateways else match


def _resolved_destination(destination: Destination | None, namespace: str) -> Destination | None:
    if destination is None or "." in destination.host:
        return destination
    return msgspec.structs.replace(destination, host=resolved_host(destination.host, namespace))


def _resolved(route: R, namespace: str) -> R:
    targets = tuple(msgspec.structs.replace(target, destination=_resolved_destination(target.destination, namespace)) for target in route.route)
    return msgspec.structs.replace(route, route=targets, match=tuple(_resolved_match(match, namespace) for match in route.match))


def _resolved_http(route: HttpRoute, namespace: str) -> HttpRoute:
    return msgspec.structs.replace(
        route,
        match=tuple(_resolved_match(match, namespace) for match in route.match),
        route=tuple(msgspec.structs.replace(target, destination=_resolved_destination(target.destination, namespace)) for target in route.route),
        mirror=_resolved_destination(route.mirror, namespace),
        mirrors=tuple(msgspec.structs.replace(mirror, destination=_resolved_destination(mirror.destination, namespace)) for mirror in route.mirrors),
    )


@query
def source_label_keys(db: Db) -> frozenset[str]:
    """The keys of labels by which any VirtualService asks who calls."""
    written = everywhere(db, VirtualService)
    return frozenset(key for service in written for route in _routes(service) for match in route.match for key in match.source_labels)


def _routes(service: VirtualService) -> tuple[HttpRoute | TlsRoute | TcpRoute, ...]:
    return (*service.spec.http, *service.spec.tls, *service.spec.tcp)


def destinations(service: EffectiveVirtualService) -> Iterator[tuple[str, int]]:
    """(host, port) of all it sends or mirrors to; port 0: not said."""
    targets: list[Destination | None] = []
    for http in service.http:
        targets += (*(target.destination for target in http.route), http.mirror, *(mirror.destination for mirror in http.mirrors))
    for tls in service.tls:
        targets += (target.destination for target in tls.route)
    for tcp in service.tcp:
        targets += (target.destination for target in tcp.route)
    return ((target.host, target.port.number if target.port else 0) for target in targets if target)


@query
def imported_destinations(db: Db, namespace: str, imports: Imports) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(host, ports) that the VirtualServices an egress listener imports send to, in their order; port 0: not said. Source: Istio, Sidecar scope."""
    found: dict[str, dict[int, None]] = {}
    for service in imported_services(db, namespace, imports):
        for host, port in destinations(service):
            found.setdefault(host, {})[port] = None
    return tuple((host, tuple(sorted(ports))) for host, ports in found.items())


@query
def mirrored_hosts(db: Db, key: ObjectRef) -> frozenset[str]:
    """The hosts that a VirtualService sends copies of requests to."""
    service = effective(db, key)
    found = (to for http in service.http for to in (http.mirror, *(mirror.destination for mirror in http.mirrors))) if service is not None else ()
    return frozenset(to.host for to in found if to)


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """Hosts that an older VirtualService already has for the sidecars; delegates that are not there."""
    found: list[Finding] = []
    owners: dict[str, list[Heading]] = {}
    for heading in sorted(headings(db), key=lambda one: one.rank):
        for host in heading.hosts if MESH_GATEWAY in heading.gateways else ():
            held = owners.setdefault(host, [])
            winner = next((one for one in held if _share_viewers(one, heading)), None)
            held.append(heading)
            if winner is not None and winner is not heading:
                text = f"has no effect on sidecars for `{host}`, which an older VirtualService has: `{winner.namespace}/{winner.origin.name}`"
                found.append(Finding("IST0109", Severity.ERROR, text, heading.origin, "spec.hosts", "merge the two"))
                text = f"a younger VirtualService for `{host}` has no effect on sidecars beside this one: `{heading.namespace}/{heading.origin.name}`"
                found.append(Finding("IST0109", Severity.INFO, text, winner.origin, "spec.hosts", "merge the two"))
    for service in everywhere(db, VirtualService):
        found += _delegate_findings(db, service)
    return tuple(found)


def _share_viewers(one: Heading, other: Heading) -> bool:
    """Whether some namespace sees both."""
    return bool(one.export_to & other.export_to) or ("*" in one.export_to and bool(other.export_to)) or ("*" in other.export_to and bool(one.export_to))


def _delegate_findings(db: Db, service: VirtualService) -> Iterator[Finding]:
    for at, route in enumerate(service.spec.http):
        if route.delegate is not None:
            home = route.delegate.namespace or service.namespace
            if delegate_of(db, home, route.delegate.name, service.namespace) is None:
                text = f"no VirtualService without hosts is visible there: `{home}/{route.delegate.name}`"
                yield Finding("IST0101", Severity.ERROR, text, ref(service), f"spec.http[{at}].delegate", "this route is left out")
