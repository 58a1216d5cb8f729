"""Visibility: which services a proxy sees, by exportTo and by the Sidecar in force. Everything outbound starts here.

Called by `plan` for listeners, routes and clusters. A scope (namespace and Sidecar) is what it depends on, so that proxies with one scope share one answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lateen.base.names import ObjectRef
from lateen.config.kinds.istio.mesh_config import MeshOutboundMode, MeshOutboundPolicy
from lateen.config.kinds.istio.sidecar import CaptureMode, Sidecar
from lateen.config.kinds.istio.sidecar import EgressListener as WrittenListener
from lateen.config.kinds.istio.virtual_service import Destination
from lateen.config.store import mesh_field
from lateen.incremental import Db, index, query
from lateen.mesh.imports import EVERYTHING, Imports, imports_of
from lateen.mesh.model import Port, Protocol, Registry, Service
from lateen.mesh.protocols import declared_protocol
from lateen.mesh.services import all_services, services_by_host
from lateen.mesh.sidecars import sidecar_at, sidecar_name
from lateen.mesh.view import View


@dataclass(frozen=True)
class Scope:
    """Whose eyes: a namespace, and the Sidecar in force there. `sidecar` None: the default, everything exported.

    `is_router`: a gateway, which no Sidecar concerns."""

    namespace: str
    sidecar: ObjectRef | None = None
    is_router: bool = False


@dataclass(frozen=True)
class EgressListener:
    """One way out of a workload. `port` None: every port no other listener has. `bind` empty: not said.

    `is_captured`: redirected traffic, else the port is bound.

    `services`: what it imports, oldest first; a hostname may be there twice, of one namespace."""

    port: Port | None
    bind: str
    is_captured: bool
    imports: Imports
    services: tuple[Service, ...]


def scope(db: Db, view: View) -> Scope:
    """The scope of a view."""
    if view.is_router:
        return Scope(view.namespace, None, True)
    return Scope(view.namespace, sidecar_name(db, view.namespace, view.labels))


@index
def _by_export(db: Db) -> Mapping[str, tuple[Service, ...]]:
    """Namespace, or `*` → the services exported to it, oldest first."""
    found: dict[str, list[Service]] = {}
    for service in all_services(db):
        for namespace in ("*",) if "*" in service.export_to else sorted(service.export_to - {"~"}):
            found.setdefault(namespace, []).append(service)
    return {namespace: tuple(services) for namespace, services in found.items()}


@query
def exported_services(db: Db, namespace: str) -> tuple[Service, ...]:
    """What the namespace may see: exported to it alone, to it by name, to all; each oldest first. Source: Istio exportTo."""
    own = _by_export.at(db, namespace) or ()
    private = tuple(service for service in own if service.export_to == {namespace} == {service.namespace})
    return (*private, *(service for service in own if service not in private), *(_by_export.at(db, "*") or ()))


def _one_namespace_each(services: tuple[Service, ...], namespace: str, has_preference: bool) -> tuple[Service, ...]:
    """Without the services whose hostname another namespace wins: the viewer's own, else (where preferred) Kubernetes' one, else the first."""
    homes: dict[str, Service] = {}
    for service in services:
        held = homes.get(service.hostname)
        if held is None or _beats(service, held, namespace, has_preference):
            homes[service.hostname] = service
    return tuple(service for service in services if homes[service.hostname].namespace == service.namespace)


def _beats(service: Service, held: Service, namespace: str, has_preference: bool) -> bool:
    if held.namespace == namespace:
        return False
    return service.namespace == namespace or (has_preference and _is_kubernetes(service) and not _is_kubernetes(held))


def _is_kubernetes(service: Service) -> bool:
    return service.registered_in is Registry.KUBERNETES


def _with_port(service: Service, number: int) -> Service | None:
    ports = tuple(port for port in service.ports if port.number == number)
    return None if not ports else service if ports == service.ports else replace(service, ports=ports)


def _needs_port(port: Port | None) -> bool:
    return port is not None and port.number > 0 and port.protocol is not Protocol.HTTP_PROXY


def _imported(services: tuple[Service, ...], imports: Imports, port: Port | None) -> tuple[Service, ...]:
    found = []
    for service in services:
        if imports.has(service.namespace, (service.hostname, *service.aliases)):
            kept = _with_port(service, port.number) if port is not None and _needs_port(port) else service
            if kept is not None:
                found.append(kept)
    return tuple(found)


EVERYWHERE = Scope("")
"""Stands for every namespace that has no Sidecar and sees what all see."""


@index
def _peculiar(db: Db) -> Mapping[str, bool]:
    """The namespaces that, without any Sidecar, see other services than most: some are exported to them or hidden from them, or they share a hostname with
    another namespace, whose service others may prefer."""
    found = {namespace for service in all_services(db) for namespace in service.export_to - {"*", "~"}}
    homes: dict[str, set[str]] = {}
    for service in all_services(db):
        homes.setdefault(service.hostname, set()).add(service.namespace)
        if "*" not in service.export_to:
            found.add(service.namespace)
    found.update(*(namespaces for namespaces in homes.values() if len(namespaces) > 1))
    return dict.fromkeys(found, True)


def vantage(db: Db, eyes: Scope) -> Scope:
    """The scope whose services, listeners and all that follows from them alone a scope shares."""
    return eyes if eyes.sidecar is not None or _peculiar.at(db, eyes.namespace) else EVERYWHERE


@query
def vantage_of(db: Db, view: View) -> Scope:
    """The same for a view."""
    return vantage(db, scope(db, view))


def scoped_listeners(db: Db, eyes: Scope) -> tuple[EgressListener, ...]:
    """The ways out in a scope, as written; one without a port for everything where no Sidecar says otherwise."""
    return _scoped_listeners(db, vantage(db, eyes))


@query
def _scoped_listeners(db: Db, eyes: Scope) -> tuple[EgressListener, ...]:
    services = exported_services(db, eyes.namespace)
    sidecar = sidecar_at(db, eyes.sidecar)
    if sidecar is None or not sidecar.spec.egress:
        everything = _one_namespace_each(services, eyes.namespace, True)
        return (EgressListener(None, "", True, EVERYTHING, everything),)
    return tuple(_listener(written, eyes.namespace, services) for written in sidecar.spec.egress)


def _listener(written: WrittenListener, namespace: str, services: tuple[Service, ...]) -> EgressListener:
    said = written.port if written.port and (written.port.number or written.bind) else None
    port = Port(said.number, said.name, declared_protocol(said.protocol)) if said else None
    imports = imports_of(written.hosts, namespace)
    found = _one_namespace_each(_imported(services, imports, port), namespace, False)
    return EgressListener(port, written.bind, written.capture_mode is not CaptureMode.NONE, imports, found)


def egress_listeners(db: Db, view: View) -> tuple[EgressListener, ...]:
    """The ways out of a view's workload, in the order written."""
    return _scoped_listeners(db, vantage_of(db, view))


def _add(found: dict[str, Service], service: Service) -> None:
    held = found.get(service.hostname)
    if held is None:
        found[service.hostname] = service
    elif (held.namespace, held.registered_in, held.resolution) == (service.namespace, service.registered_in, service.resolution):
        missing = tuple(port for port in service.ports if held.port(port.number) is None)
        if missing:
            found[service.hostname] = replace(held, ports=(*held.ports, *missing))
    elif held.namespace == service.namespace and _is_kubernetes(service) and not _is_kubernetes(held):
        found[service.hostname] = service


def scoped_services(db: Db, eyes: Scope) -> tuple[Service, ...]:
    """One service for each hostname seen in a scope, in order of the listeners; also what imported VirtualServices send to, with those ports, where that
    can be anything new: with a Sidecar, or where the namespace has services that are not even exported to itself."""
    return _scoped_services(db, vantage(db, eyes))


@query
def _scoped_services(db: Db, eyes: Scope) -> tuple[Service, ...]:
    found: dict[str, Service] = {}
    for listener in _scoped_listeners(db, eyes):
        for service in listener.services:
            _add(found, service)
        if eyes.sidecar is not None or (not eyes.is_router and _hidden_at_home(db, eyes.namespace)):
            for service in _destinations(db, eyes, listener):
                _add(found, service)
    return tuple(found.values())


@query
def _hidden_at_home(db: Db, namespace: str) -> bool:
    """Whether a service of the namespace is not exported to it (exportTo `~`): only VirtualServices can lead there."""
    return any(service.namespace == namespace and not service.export_to & {"*", namespace} for service in all_services(db))


def _destinations(db: Db, eyes: Scope, listener: EgressListener) -> list[Service]:
    """What the VirtualServices that the listener imports send to; no Host is added by it. Source: Istio, Sidecar scope, inferred destinations."""
    from lateen.mesh.virtual_services import imported_destinations  # it reads listeners; imported late

    found = []
    for host, ports in imported_destinations(db, eyes.namespace, listener.imports):
        known = services_by_host.at(db, host) or ()
        own = [service for service in known if service.namespace == eyes.namespace]
        candidates = [service for service in known if service.export_to & {"*", eyes.namespace}]
        for service in (own or sorted(candidates, key=lambda one: one.namespace))[:1]:
            if listener.port is not None and _needs_port(listener.port):
                kept = _with_port(service, listener.port.number)
            elif not ports or 0 in ports:
                kept = service
            else:
                named = tuple(port for port in service.ports if port.number in ports)
                kept = replace(service, ports=named) if named else None
            if kept is not None:
                found.append(kept)
    return found


@index
def _by_host(db: Db, eyes: Scope) -> Mapping[str, Service]:
    return {service.hostname: service for service in _scoped_services(db, eyes)}


def service_seen(db: Db, eyes: Scope, host: str) -> Service | None:
    """The service of that host as the scope sees it; None: it sees none."""
    return _by_host.at(db, host, vantage(db, eyes))


def visible_services(db: Db, view: View) -> tuple[Service, ...]:
    """The services a view can reach, one for each hostname."""
    return _scoped_services(db, vantage_of(db, view))


@dataclass(frozen=True)
class OutboundPolicy:
    """What happens to traffic for no known service. `proxy`: where it goes instead of straight out; None: straight out."""

    mode: MeshOutboundMode
    proxy: Destination | None = None

    @property
    def is_open(self) -> bool:
        """Unknown destinations are let through."""
        return self.mode is not MeshOutboundMode.REGISTRY_ONLY


@query
def scoped_policy(db: Db, eyes: Scope) -> OutboundPolicy:
    """The policy in a scope: the Sidecar's, else the mesh's."""
    sidecar = sidecar_at(db, eyes.sidecar)
    said = sidecar.spec.outbound_traffic_policy if sidecar else None
    if said:
        return OutboundPolicy(MeshOutboundMode(said.mode.value), said.egress_proxy)
    mesh = mesh_field(db, "outbound_traffic_policy")
    return OutboundPolicy(mesh.mode if isinstance(mesh, MeshOutboundPolicy) else MeshOutboundMode.ALLOW_ANY)


def outbound_policy(db: Db, view: View) -> OutboundPolicy:
    """What happens to traffic of a view for no known service. Source: Istio outboundTrafficPolicy of Sidecar and MeshConfig."""
    return scoped_policy(db, scope(db, view))


def sidecar_of(db: Db, view: View) -> Sidecar | None:
    """The Sidecar in force for a view; None: none, or a gateway."""
    return sidecar_at(db, scope(db, view).sidecar)
