"""All services of the mesh: Kubernetes Services and ServiceEntry hosts as one kind of value, with aliases and automatic addresses.

Order is Istio's: oldest first, then by name and namespace. Which of several services of one host a client sees is decided in `visibility`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lateen.base.names import ObjectRef
from lateen.config import store
from lateen.config.kinds.istio.service_entry import ServiceEntry
from lateen.config.kinds.kubernetes.service import Service as KubernetesService
from lateen.config.kinds.kubernetes.service import ServicePort
from lateen.incremental import Db, index, query
from lateen.mesh.addresses import allocated
from lateen.mesh.distribution import distribution
from lateen.mesh.model import Port, Registry, Resolution, Service, label_pairs
from lateen.mesh.protocols import service_protocol
from lateen.mesh.service_entries import entry_services, exported_to
from lateen.mesh.view import View

DOMAIN = "cluster.local"
EXPORT_TO = "networking.istio.io/exportTo"
ACCOUNTS = "alpha.istio.io/canonical-serviceaccounts"


def service_hostname(name: str, namespace: str) -> str:
    """The host of a Kubernetes Service."""
    return f"{name}.{namespace}.svc.{DOMAIN}"


def kubernetes_service(db: Db, namespace: str, name: str) -> Service | None:
    """What one Kubernetes Service of the mesh declares; None: there is none, or its namespace is not discovered."""
    return declared_service(db, namespace, name) if store.is_discovered(db, namespace) else None


@query
def declared_service(db: Db, namespace: str, name: str) -> Service | None:
    """What one Kubernetes Service declares, be it of the mesh or not; None: there is none. Source: Kubernetes core/v1 Service, Istio service annotations."""
    written = store.one(db, KubernetesService, namespace, name)
    if written is None:
        return None
    spec, annotations = written.spec, written.meta.annotations
    defaults = store.mesh_field(db, "default_service_export_to")
    said = tuple(part.strip() for part in annotations.get(EXPORT_TO, "").split(",") if part.strip())
    export_to = said or (defaults if isinstance(defaults, tuple) else ())
    return Service(
        hostname=service_hostname(name, namespace),
        namespace=namespace,
        name=name,
        ports=tuple(_port(port) for port in spec.ports),
        origin=ObjectRef("Service", namespace, name),
        resolution=_resolution(spec.type, spec.cluster_ip),
        addresses=_addresses(spec.type, spec.cluster_ip, spec.cluster_ips),
        selector=label_pairs(spec.selector),
        labels=label_pairs(written.meta.labels),
        export_to=exported_to(export_to, namespace),
        created=written.meta.created or 0.0,
        subject_alt_names=tuple(part.strip() for part in annotations.get(ACCOUNTS, "").split(",") if part.strip()),
        external_name=spec.external_name.rstrip(".").lower() if spec.type == "ExternalName" else "",
        is_node_local=spec.internal_traffic_policy == "Local",
        publishes_not_ready=spec.publish_not_ready_addresses,
        traffic_distribution=distribution(db, namespace, annotations, spec.traffic_distribution or ""),
    )


def _port(port: ServicePort) -> Port:
    return Port(port.port, port.name, service_protocol(port.port, port.name, port.protocol, port.app_protocol), port.target_port)


def _resolution(type_: str, cluster_ip: str) -> Resolution:
    if type_ == "ExternalName":
        return Resolution.ALIAS
    return Resolution.HEADLESS if cluster_ip == "None" else Resolution.STATIC


def _addresses(type_: str, cluster_ip: str, cluster_ips: tuple[str, ...]) -> tuple[str, ...]:
    if type_ == "ExternalName":
        return ()
    return tuple(dict.fromkeys(address for address in (cluster_ip, *cluster_ips) if address and address != "None"))


@query
def _declared(db: Db) -> tuple[Service, ...]:
    """Every service as its own object says, oldest first. O(n) when one changes."""
    found: list[Service] = []
    for key in store.OBJECTS.keys(db, ("Service",)):
        one = kubernetes_service(db, key.namespace, key.name)
        if one is not None:
            found.append(one)
    for key in store.OBJECTS.keys(db, (ServiceEntry.__name__,)):
        found.extend(entry_services(db, key.namespace, key.name))
    return tuple(sorted(found, key=lambda one: (one.created, f"{one.name}.{one.namespace}", one.origin)))


@query
def _foreign(db: Db) -> tuple[Service, ...]:
    """Kubernetes Services of namespaces that are not discovered, as their own objects say."""
    found = (declared_service(db, key.namespace, key.name) for key in store.OBJECTS.outside(db, ("Service",)))
    return tuple(one for one in found if one is not None)


@query
def _automatic(db: Db) -> Mapping[tuple[str, str], tuple[str, ...]]:
    return allocated((*_declared(db), *_foreign(db)))


@query
def foreign_services(db: Db) -> tuple[Service, ...]:
    """Kubernetes Services that the mesh takes no notice of, automatic addresses filled in: pods reach them as on a cluster without a mesh."""
    return tuple(replace(one, auto_addresses=_automatic(db).get((one.namespace, one.hostname), ())) for one in _foreign(db))


@query
def all_services(db: Db) -> tuple[Service, ...]:
    """Every service, oldest first, aliases and automatic addresses filled in. Services that are only an alias (ExternalName) are among them: they have no
    clusters of their own. O(n) when one service changes."""
    declared = _declared(db)
    aliases = _aliases(declared)
    automatic = _automatic(db)
    return tuple(
        replace(one, aliases=aliases.get(one.hostname, ()), auto_addresses=automatic.get((one.namespace, one.hostname), ()))
        if one.hostname in aliases or (one.namespace, one.hostname) in automatic
        else one
        for one in declared
    )


def _aliases(services: Iterable[Service]) -> Mapping[str, tuple[str, ...]]:
    """Host → the ExternalName hosts that end at it, chains followed, rings left out. Source: Istio, ExternalName services."""
    services = tuple(services)
    step = {one.hostname: one.external_name for one in services if one.resolution is Resolution.ALIAS}
    ends: dict[str, list[str]] = {}
    hosts = {one.hostname for one in services if one.resolution is not Resolution.ALIAS}
    for alias in sorted(step):
        seen, at = {alias}, step[alias]
        while at in step and at not in seen:
            seen.add(at)
            at = step[at]
        if at in hosts:
            ends.setdefault(at, []).append(alias)
    return {host: tuple(found) for host, found in ends.items()}


@index
def services_by_host(db: Db) -> Mapping[str, tuple[Service, ...]]:
    """Host → its services, oldest first: several namespaces, and several in one namespace, may declare the same host."""
    found: dict[str, list[Service]] = {}
    for one in all_services(db):
        found.setdefault(one.hostname, []).append(one)
    return {host: tuple(services) for host, services in found.items()}


@query
def service(db: Db, namespace: str, hostname: str) -> Service | None:
    """The service of that host in one namespace: Kubernetes' before a ServiceEntry's, else the oldest. None: there is none. Source: Istio, ServiceIndex."""
    own = tuple(one for one in services_by_host.at(db, hostname) or () if one.namespace == namespace)
    return next((one for one in own if one.registered_in is Registry.KUBERNETES), next(iter(own), None))


def addresses_for(one: Service, view: View) -> tuple[str, ...]:
    """The addresses at which this view's workload reaches a service. Automatic ones count only for a proxy whose DNS answers with them."""
    if one.addresses or dict(view.metadata).get("DNS_CAPTURE") != "true":
        return one.addresses
    return one.auto_addresses
