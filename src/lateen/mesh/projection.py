"""From a proxy to its View: only what queries read of it. The one place where a connected proxy's pod, labels and services come together.

Called by `serve` and `insight`. Source of the targets: Istio, GetProxyServiceTargets.
"""

from collections.abc import Iterator, Mapping

from lateen.base.names import ObjectRef, registered_name
from lateen.config import store
from lateen.config.kinds.istio.service_entry import ServiceEntry
from lateen.incremental import Db, index, query
from lateen.mesh.automatic_scope import SCOPE, WORKLOAD_NAME, ScopeMode
from lateen.mesh.endpoints import endpoints, entry_endpoints, kubernetes_endpoints
from lateen.mesh.model import Labels, Locality, Registry, Resolution, Service, selects
from lateen.mesh.networks import NETWORK
from lateen.mesh.pods import PodFacts, node_locality, pod_facts
from lateen.mesh.selector_keys import label_keys
from lateen.mesh.service_entries import entry_services
from lateen.mesh.services import all_services, kubernetes_service, service
from lateen.mesh.view import Proxy, ProxyType, ServiceTarget, View
from lateen.mesh.workload_entries import EntryFacts, workload_entry

METADATA = (
    "DNS_AUTO_ALLOCATE",
    "DNS_CAPTURE",
    "ENABLE_HBONE",
    "GENERATOR",
    "HTTP10",
    "HTTPS_PROXY",
    "HTTP_PROXY_PORT",
    "IDLE_TIMEOUT",
    "INBOUND_LISTEN_PORT",
    "INTERCEPTION_MODE",
    "OUTBOUND_LISTENERS",
    "OUTBOUND_LISTEN_PORT",
    "PROXY_CONFIG",
    "ROUTER_MODE",
    "UNPRIVILEGED_POD",
)
"""The metadata that queries may read; the rest of it differs from proxy to proxy and would part their views."""
PLACE = (NETWORK, "kubernetes.io/hostname")
TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone", "topology.istio.io/cluster", *PLACE)


def view_of(db: Db, proxy: Proxy) -> View:
    """The view of a proxy: its pod's facts before what it says itself. Recorded reads: the label keys that selectors use, the services whose endpoint it is."""
    pod = pod_facts(db, proxy.namespace, proxy.id.rpartition(".")[0] or proxy.id)
    labels = dict(proxy.labels)
    if pod is not None:
        labels |= dict(pod.labels)
    entry = _registered(db, proxy) if pod is None else None
    if entry is not None:
        labels |= dict(entry.labels)
    locality = proxy.locality
    if locality == Locality() and pod is not None:
        locality = pod.locality or node_locality(db, proxy.node_name)
    network = proxy.network or (pod.network if pod is not None else labels.get(NETWORK, ""))
    is_router = proxy.type is ProxyType.ROUTER
    learns = not is_router and SCOPE.at(db, "mesh") is ScopeMode.AUTOMATIC
    metadata = tuple(pair for pair in proxy.metadata if pair[0] in METADATA or (learns and pair[0] == WORKLOAD_NAME))
    targets = workload_targets(db, proxy.namespace, tuple(sorted(labels.items())), proxy.addresses, _pod_ref(pod) or _entry_ref(entry))
    node = proxy.node_name or (pod.node if pod else "")
    return View(
        type=proxy.type,
        namespace=proxy.namespace,
        service_account=proxy.service_account,
        labels=_projected_labels(db, proxy.namespace, is_router, {**labels, **_topology(locality, proxy, network)}),
        dns_domain=proxy.dns_domain or f"{proxy.namespace}.svc.cluster.local",
        locality=locality,
        network=network,
        cluster_id=proxy.cluster_id,
        has_ipv4=any("." in address for address in proxy.addresses) or not proxy.addresses,
        has_ipv6=any(":" in address for address in proxy.addresses),
        targets=targets,
        addresses=proxy.addresses if _needs_addresses(db, proxy.namespace, metadata) or _is_headless(db, targets) else (),
        node_name=node if _has_node_local(db) else "",
        metadata=metadata,
    )


def _registered(db: Db, proxy: Proxy) -> EntryFacts | None:
    """The entry of a workload that joined a WorkloadGroup by itself."""
    group = dict(proxy.metadata).get("AUTO_REGISTER_GROUP")
    return workload_entry(db, proxy.namespace, registered_name(group, proxy.addresses[0], proxy.network)) if group and proxy.addresses else None


def _pod_ref(pod: PodFacts | None) -> ObjectRef | None:
    return ObjectRef("Pod", pod.namespace, pod.name) if pod else None


def _entry_ref(entry: EntryFacts | None) -> ObjectRef | None:
    return ObjectRef("WorkloadEntry", entry.namespace, entry.name) if entry else None


def _topology(locality: Locality, proxy: Proxy, network: str) -> dict[str, str]:
    values = (locality.region, locality.zone, locality.subzone, proxy.cluster_id, network, proxy.node_name)
    return {key: value for key, value in zip(TOPOLOGY, values, strict=True) if value}


def _projected_labels(db: Db, namespace: str, is_router: bool, labels: Mapping[str, str]) -> Labels:
    keys = label_keys(db, namespace, is_router)
    return tuple(sorted((key, value) for key, value in labels.items() if key in keys))


def _needs_addresses(db: Db, namespace: str, metadata: Labels) -> bool:
    """Whether listeners bind to the proxy's own addresses: without capture, or behind a Sidecar's ingress listeners."""
    if dict(metadata).get("INTERCEPTION_MODE") == "NONE":
        return True
    return bool(store.OBJECTS.keys(db, ("Sidecar", namespace)) or store.OBJECTS.keys(db, ("Sidecar", store.root_namespace(db))))


@query
def _is_headless(db: Db, targets: tuple[ServiceTarget, ...]) -> bool:
    """Whether the workload is an endpoint of a headless service: its proxy has a listener for each other one, not for itself."""
    found = (service(db, target.namespace, target.hostname) for target in targets)
    return any(one is not None and one.is_headless for one in found)


@query
def _has_node_local(db: Db) -> bool:
    return any(one.is_node_local for one in all_services(db))


@query
def workload_targets(db: Db, namespace: str, labels: Labels, addresses: tuple[str, ...], workload: ObjectRef | None) -> tuple[ServiceTarget, ...]:
    """The service ports a workload serves, oldest service first, each's ports as written: by the selectors of its namespace's Services, and by its
    addresses where an endpoint is written out."""
    found: dict[ServiceTarget, None] = {}
    services = {(one.hostname, one.namespace): rank for rank, one in reversed(list(enumerate(all_services(db))))}
    for target in _by_selector(db, namespace, labels, workload):
        found[target] = None
    for address in addresses:
        for target in written_targets.at(db, address) or ():
            found[target] = None
        if workload is None or workload.kind != "Pod":
            for target in _namespace_targets.at(db, address, namespace) or ():
                found[target] = None
    return tuple(sorted(found, key=lambda one: services.get((one.hostname, one.namespace), -1)))


def _by_selector(db: Db, namespace: str, labels: Labels, workload: ObjectRef | None) -> Iterator[ServiceTarget]:
    """A registered workload serves its ports whether it is well or not: only its clients look at that."""
    facts = pod_facts(db, workload.namespace, workload.name) if workload and workload.kind == "Pod" else None
    entry = workload_entry(db, workload.namespace, workload.name) if workload and workload.kind == "WorkloadEntry" else None
    for one in _selecting(db, namespace):
        if not selects(one.selector, labels):
            continue
        for port in one.ports:
            number = facts.port(port.target) if facts else port.target
            if one.registered_in is Registry.EXTERNAL and port.target is None:
                number = port.number
            if entry is not None:
                number = entry.port(port.name, number if isinstance(number, int) else port.number)
            if isinstance(number, int):
                yield ServiceTarget(one.hostname, one.namespace, port.number, number)


@query
def _selecting(db: Db, namespace: str) -> tuple[Service, ...]:
    """The services of a namespace that select workloads."""
    found: list[Service] = []
    for key in store.OBJECTS.keys(db, ("Service", namespace)):
        service = kubernetes_service(db, namespace, key.name)
        if service is not None and service.selector and service.resolution is not Resolution.ALIAS:
            found.append(service)
    for key in store.OBJECTS.keys(db, (ServiceEntry.__name__, namespace)):
        found.extend(service for service in entry_services(db, namespace, key.name) if service.selector)
    return tuple(found)


@index
def written_targets(db: Db) -> Mapping[str, tuple[ServiceTarget, ...]]:
    """Address → what it serves of services without a selector, whose endpoints somebody wrote: EndpointSlices, inline endpoints."""
    found: dict[str, list[ServiceTarget]] = {}
    for key in store.OBJECTS.keys(db, ("Service",)):
        service = kubernetes_service(db, key.namespace, key.name)
        if service is not None and not service.selector:
            for one in kubernetes_endpoints(db, key.namespace, key.name):
                found.setdefault(one.address, []).append(ServiceTarget(service.hostname, service.namespace, one.service_port, one.port))
    for key in store.OBJECTS.keys(db, (ServiceEntry.__name__,)):
        for service in entry_services(db, key.namespace, key.name):
            for one in entry_endpoints(db, key.namespace, key.name, service.hostname) if not service.selector else ():
                found.setdefault(one.address, []).append(ServiceTarget(service.hostname, service.namespace, one.service_port, one.port))
    return {address: tuple(targets) for address, targets in found.items()}


@index
def _namespace_targets(db: Db, namespace: str) -> Mapping[str, tuple[ServiceTarget, ...]]:
    """Address → what it serves in a namespace; only for proxies that no Pod object stands behind."""
    found: dict[str, list[ServiceTarget]] = {}
    for offered in all_services(db):
        if offered.namespace == namespace and offered.resolution is not Resolution.ALIAS:
            for one in endpoints(db, namespace, offered.hostname):
                found.setdefault(one.address, []).append(ServiceTarget(offered.hostname, namespace, one.service_port, one.port))
    return {address: tuple(targets) for address, targets in found.items()}
