"""What is wrong with services in this mesh: hosts declared twice, endpoints that cannot be used, aliases that lead nowhere. Called by `mesh.findings`.

Codes: Istio's analyzers; LTN: ours. Each ServiceEntry is looked at by a query of its own.
"""

from collections.abc import Iterator

from lateen.base.addresses import is_callable
from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef
from lateen.config.store import OBJECTS
from lateen.incremental import Db, query
from lateen.mesh.endpoints import entry_endpoints
from lateen.mesh.model import Endpoint, Port, Protocol, Registry, Resolution, Service
from lateen.mesh.service_entries import entry_services
from lateen.mesh.services import all_services, kubernetes_service, services_by_host


@query
def service_findings(db: Db) -> tuple[Finding, ...]:
    """Of all ServiceEntries and Services, by kind, namespace and name."""
    entries = sorted(OBJECTS.keys(db, ("ServiceEntry",)))
    services = sorted(OBJECTS.keys(db, ("Service",)))
    return (
        *(one for key in entries for one in entry_findings(db, key)),
        *shared_ports(db),
        *(one for key in services for one in (*alias_findings(db, key), *port_findings(db, key))),
    )


SYSTEM_NAMESPACES = ("istio-system", "kube-system", "kube-public", "kube-node-lease", "local-path-storage")
"""Whose Services are not for users to name."""


@query
def port_findings(db: Db, key: ObjectRef) -> tuple[Finding, ...]:
    """Of one Kubernetes Service's ports whose protocol nothing says."""
    service = kubernetes_service(db, key.namespace, key.name)
    if service is None or service.resolution is Resolution.ALIAS or key.namespace in SYSTEM_NAMESPACES:
        return ()
    unnamed = (port for port in service.ports if port.protocol is Protocol.UNSUPPORTED)
    hint = "begin its name with `http-`, `grpc-`, `tcp-` …, or set appProtocol; a server that speaks first answers 200 ms sooner then"
    return tuple(
        Finding("IST0118", Severity.INFO, f"port {port.number} does not say what it speaks: each connection is looked at", key, "spec.ports", hint)
        for port in unnamed
    )


@query
def alias_findings(db: Db, key: ObjectRef) -> tuple[Finding, ...]:
    """Of one Kubernetes Service that is only another name."""
    service = kubernetes_service(db, key.namespace, key.name)
    if service is None or service.resolution is not Resolution.ALIAS or services_by_host.at(db, service.external_name):
        return ()
    text = f"no service of the mesh has this host, so the name is no route: `{service.external_name}`"
    return (Finding("LTN0511", Severity.INFO, text, key, "spec.externalName", "declare the host by a ServiceEntry to route to it"),)


@query
def entry_findings(db: Db, key: ObjectRef) -> tuple[Finding, ...]:
    """Of one ServiceEntry."""
    found: list[Finding] = []
    for at, service in enumerate(entry_services(db, key.namespace, key.name)):
        rivals = tuple(one for one in services_by_host.at(db, service.hostname) or () if one.origin != key)
        found += _rivals(service, rivals, key, f"spec.hosts[{at}]")
        if at == 0:
            found += _endpoints(service, entry_endpoints(db, key.namespace, key.name, service.hostname), key)
    return tuple(found)


@query
def shared_ports(db: Db) -> tuple[Finding, ...]:
    """ServiceEntries with an address and a TCP port that an older service has: nothing tells their connections apart, as names of hosts do for HTTP and TLS."""
    owners: dict[tuple[str, int], Service] = {}
    found = []
    for service in all_services(db):
        for at, port in enumerate(service.ports):
            if not port.protocol.is_tcp or port.protocol in (Protocol.TLS, Protocol.HTTPS):
                continue
            for address in service.addresses:
                owner = owners.setdefault((address, port.number), service)
                if owner.hostname == service.hostname or service.registered_in is Registry.KUBERNETES or not _meet(owner, service):
                    continue
                text = f"TCP connections to {address}:{port.number} are not told apart from those of `{owner.hostname}`: only one of the two is reached"
                found.append(Finding("LTN0516", Severity.WARNING, text, service.origin, f"spec.ports[{at}].number", "give one of them another address or port"))
    return tuple(dict.fromkeys(found))


def _meet(one: Service, other: Service) -> bool:
    """Whether some namespace sees both."""
    mine, theirs = one.export_to | {one.namespace}, other.export_to | {other.namespace}
    return "*" in mine or "*" in theirs or not mine.isdisjoint(theirs)


def _rivals(service: Service, rivals: tuple[Service, ...], key: ObjectRef, field: str) -> Iterator[Finding]:
    for other in rivals:
        name = f"`{other.origin}`"
        if other.registered_in is Registry.KUBERNETES:
            if other.namespace == service.namespace:
                text = f"a Kubernetes Service has this host; the entry only adds endpoints to ports of the same name: {name}"
                yield Finding("LTN0512", Severity.WARNING, text, key, field, "take another host if that is not meant")
            continue
        if other.namespace == service.namespace and (other.created, other.origin) < (service.created, service.origin):
            text = f"an older entry of the namespace has this host; only its ports count: {name}"
            yield Finding("LTN0513", Severity.WARNING, text, key, field, "merge the two entries")
        for port in service.ports:
            theirs = other.port(port.number)
            if theirs is not None and theirs.protocol is not port.protocol:
                yield _protocols(key, port, theirs, name)


def _protocols(key: ObjectRef, port: Port, theirs: Port, name: str) -> Finding:
    text = f"port {port.number} is {port.protocol.value or 'detected'} here and {theirs.protocol.value or 'detected'} in {name}"
    return Finding("IST0177", Severity.WARNING, text, key, "spec.ports", "declare one protocol in both")


def _endpoints(service: Service, found: tuple[Endpoint, ...], key: ObjectRef) -> Iterator[Finding]:
    if service.resolution is Resolution.DNS_ROUND_ROBIN and len({one.address for one in found}) > 1:
        text = "DNS_ROUND_ROBIN resolves one name; the first endpoint counts"
        yield Finding("LTN0514", Severity.WARNING, text, key, "spec.endpoints", "use DNS for several")
    if service.resolution is Resolution.STATIC:
        names = sorted({one.address for one in found if not is_callable(one.address)})
        if names:
            text = f"a STATIC entry takes addresses only; this endpoint is left out: `{names[0]}`"
            yield Finding("LTN0515", Severity.WARNING, text, key, "spec.resolution", "use DNS")
