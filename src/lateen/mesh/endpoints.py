"""The endpoints of every service: EndpointSlices, selected pods, WorkloadEntries, and what ServiceEntries list. Read by `plan`.

Endpoints belong to (namespace, host) and a port's name, so that a ServiceEntry with a Kubernetes Service's host adds to that Service's ports.
Source: Istio, EndpointIndex.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address

from lateen.base.names import ObjectRef
from lateen.config import store
from lateen.config.kinds.istio.service_entry import ServiceEntry
from lateen.config.kinds.kubernetes.service import Endpoint as SliceEndpoint
from lateen.config.kinds.kubernetes.service import EndpointSlice
from lateen.incremental import Db, index, query
from lateen.mesh.model import Endpoint, Health, Port, Resolution, Service
from lateen.mesh.pods import PodFacts, pod_facts, pods_by_address, pods_selected
from lateen.mesh.service_entries import entry_services
from lateen.mesh.services import declared_service, services_by_host
from lateen.mesh.workload_entries import EntryFacts, entries_selected, entry_facts, workload_entry

SERVICE_NAME = "kubernetes.io/service-name"
DNS_RESOLUTIONS = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


@query
def endpoints(db: Db, namespace: str, hostname: str) -> tuple[Endpoint, ...]:
    """All endpoints of a host in a namespace, sorted; `port_name` says which of its ports each serves. Not-ready ones are there, UNHEALTHY."""
    found: list[Endpoint] = []
    for origin in _origins(db, namespace, hostname):
        if origin.kind == "Service":
            found.extend(kubernetes_endpoints(db, namespace, origin.name))
        else:
            found.extend(entry_endpoints(db, namespace, origin.name, hostname))
    return tuple(sorted(found, key=_order))


@query
def _origins(db: Db, namespace: str, hostname: str) -> tuple[ObjectRef, ...]:
    """What declares the host. A service exported to nobody has no endpoints, not even where a route still leads to it. Source: Istio, exportTo `~`."""
    return tuple(one.origin for one in services_by_host.at(db, hostname) or () if one.namespace == namespace and one.export_to != NOBODY)


NOBODY = frozenset({"~"})


def _order(one: Endpoint) -> tuple[str, str, int]:
    return (one.port_name, one.address, one.port)


@query
def _slice_service(db: Db, namespace: str, name: str) -> str:
    piece = store.one(db, EndpointSlice, namespace, name)
    return piece.meta.labels.get(SERVICE_NAME, "") if piece else ""


@index
def slices_of(db: Db, namespace: str) -> Mapping[str, tuple[str, ...]]:
    """Service name → names of its EndpointSlices, sorted."""
    found: dict[str, list[str]] = {}
    for key in store.OBJECTS.keys(db, ("EndpointSlice", namespace)):
        found.setdefault(_slice_service(db, namespace, key.name), []).append(key.name)
    return {service: tuple(sorted(names)) for service, names in found.items()}


@query
def kubernetes_endpoints(db: Db, namespace: str, name: str) -> tuple[Endpoint, ...]:
    """Endpoints of a Kubernetes Service, be it of the mesh or not: its EndpointSlices if it has any, else the ready and unready pods it selects;
    and WorkloadEntries it selects."""
    service = declared_service(db, namespace, name)
    if service is None or service.resolution is Resolution.ALIAS:
        return ()
    slices = slices_of.at(db, name, namespace) or ()
    found = list(_from_slices(db, service, slices) if slices else _from_pods(db, service))
    for entry_name in entries_selected(db, namespace, service.selector):
        facts = workload_entry(db, namespace, entry_name)
        if facts and facts.is_healthy:
            found.extend(_of_entry(facts, port, port.target if isinstance(port.target, int) else port.number) for port in service.ports)
    return tuple(found)


def _from_pods(db: Db, service: Service) -> Iterator[Endpoint]:
    family = ip_address(service.addresses[0]).version if service.addresses else 0
    for name in pods_selected(db, service.namespace, service.selector):
        pod = pod_facts(db, service.namespace, name)
        address = pod.address(family) or pod.address(0) if pod else ""
        if pod is None or pod.is_gone or not address:
            continue
        health = Health.HEALTHY if pod.is_ready or service.publishes_not_ready else Health.UNHEALTHY
        for port in service.ports:
            number = port.number if port.target is None else pod.port(port.target)
            if number is not None:
                yield _of_pod(pod, address, port, number, health)


def _of_pod(pod: PodFacts, address: str, port: Port, number: int, health: Health) -> Endpoint:
    return Endpoint(
        address=address,
        port=number,
        service_port=port.number,
        labels=pod.labels,
        locality=pod.locality,
        health=health,
        has_mesh_tls=pod.has_mesh_tls,
        service_account=pod.service_account,
        namespace=pod.namespace,
        node=pod.node,
        hostname=pod.hostname,
        network=pod.network,
        workload=pod.workload,
        pod=ObjectRef("Pod", pod.namespace, pod.name),
        port_name=port.name,
    )


def _from_slices(db: Db, service: Service, names: tuple[str, ...]) -> Iterator[Endpoint]:
    ports = {port.name: port for port in service.ports}
    for name in names:
        piece = store.one(db, EndpointSlice, service.namespace, name)
        for member in piece.endpoints if piece else ():
            health = _health(member)
            if piece is None or health is None:
                continue
            for address in member.addresses:
                pod, is_known = _pod_of(db, service.namespace, member, address)
                for written in piece.ports if is_known else ():
                    port = ports.get(written.name or "")
                    if port is None or written.port is None:
                        continue
                    if pod is not None:
                        yield _of_pod(pod, address, port, written.port, health)
                    else:
                        yield Endpoint(
                            address, written.port, port.number, health=health, namespace=service.namespace, node=member.node_name or "", port_name=port.name
                        )


def _health(member: SliceEndpoint) -> Health | None:
    """None: it ends, and takes no more connections. Source: Istio, EndpointSlice conditions."""
    conditions = member.conditions
    if conditions is None or conditions.ready is None or conditions.ready:
        return Health.HEALTHY
    return None if conditions.terminating else Health.UNHEALTHY


def _pod_of(db: Db, namespace: str, member: SliceEndpoint, address: str) -> tuple[PodFacts | None, bool]:
    """The pod behind a member of a slice, and whether all is known: a member that names a pod which is not there yet is left out."""
    target = member.target_ref
    if target is not None and target.kind == "Pod":
        pod = pod_facts(db, target.namespace or namespace, target.name)
        return pod, pod is not None
    ref = pods_by_address.at(db, address)
    return (pod_facts(db, ref.namespace, ref.name) if ref else None), True


@query
def entry_endpoints(db: Db, namespace: str, name: str, hostname: str) -> tuple[Endpoint, ...]:
    """Endpoints that one ServiceEntry gives one of its hosts: those written, the pods and WorkloadEntries it selects or, with DNS and none written, the
    host itself."""
    entry = store.one(db, ServiceEntry, namespace, name)
    service = next((one for one in entry_services(db, namespace, name) if one.hostname == hostname), None)
    if entry is None or service is None:
        return ()
    if service.selector:
        return tuple(_selected(db, service))
    if not entry.spec.endpoints and service.resolution in DNS_RESOLUTIONS:
        return tuple(Endpoint(hostname, _target(port), port.number, namespace=namespace, port_name=port.name) for port in service.ports)
    written = [entry_facts(one, namespace, "", {}) for one in entry.spec.endpoints]
    return tuple(_of_entry(facts, port, _target(port)) for facts in written for port in service.ports)


def _target(port: Port) -> int:
    return port.target if isinstance(port.target, int) else port.number


def _of_entry(facts: EntryFacts, port: Port, number: int) -> Endpoint:
    return Endpoint(
        address=facts.address,
        port=facts.port(port.name, number),
        service_port=port.number,
        labels=facts.labels,
        locality=facts.locality,
        weight=facts.weight,
        has_mesh_tls=facts.has_mesh_tls,
        service_account=facts.service_account,
        namespace=facts.namespace,
        network=facts.network,
        workload=facts.name,
        port_name=port.name,
    )


def _selected(db: Db, service: Service) -> Iterator[Endpoint]:
    for name in entries_selected(db, service.namespace, service.selector):
        facts = workload_entry(db, service.namespace, name)
        if facts and facts.is_healthy:
            yield from (_of_entry(facts, port, _target(port)) for port in service.ports)
    yield from _from_pods(db, replace(service, addresses=()))
