"""What is wrong with Gateways: servers that give way to older ones, credentials that are missing or no good, selectors that select nothing.

Called by `mesh.findings`.

A finding is made for each kind of workload that a Gateway's selector selects, as it sees all Gateways that select it.
"""

from collections.abc import Iterator

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef
from lateen.config.kinds.istio.gateway import Gateway, Server, ServerTlsMode
from lateen.config.kinds.kubernetes.core import Namespace
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.store import everywhere, one, ref, root_namespace
from lateen.incremental import Db, query
from lateen.mesh.credentials import ROOT_SUFFIX, Unusable, certificate, root
from lateen.mesh.gateways import merged, refusal_findings
from lateen.mesh.model import Labels, label_pairs
from lateen.mesh.pods import pods_selected
from lateen.mesh.services import all_services
from lateen.mesh.view import ServiceTarget

_OWN_CERTIFICATE = (ServerTlsMode.SIMPLE, ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL)
_CLIENTS_ROOT = (ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL)


@query
def _homes(db: Db, selector: Labels) -> tuple[str, ...]:
    """The namespaces where workloads run that a Gateway's selector selects; where none does, the root namespace: there its gateway pod will be."""
    namespaces = sorted({one.name for one in everywhere(db, Namespace)} | {root_namespace(db)})
    return tuple(one for one in namespaces if pods_selected(db, one, selector)) or (root_namespace(db),)


def _targets(db: Db, selector: Labels) -> tuple[ServiceTarget, ...]:
    """The Service ports of a workload with these labels, in whatever namespace."""
    return _targets_at(db, "", selector)


@query
def _targets_at(db: Db, namespace: str, selector: Labels) -> tuple[ServiceTarget, ...]:
    """The Service ports of a workload with these labels in a namespace, empty: any. A target port by name is left out, its number is the pod's."""
    found: list[ServiceTarget] = []
    for service in all_services(db):
        if service.namespace != namespace and namespace:
            continue
        if service.selector and set(service.selector) <= set(selector):
            found.extend(
                ServiceTarget(service.hostname, service.namespace, port.number, port.target if isinstance(port.target, int) else port.number)
                for port in service.ports
            )
    return tuple(found)


def _names(server: Server) -> tuple[str, ...]:
    tls = server.tls
    if tls is None or tls.mode not in _OWN_CERTIFICATE:
        return ()
    names = tls.credential_names or ((tls.credential_name,) if tls.credential_name else ())
    return tuple(name for name in names if "://" not in name)


def _credential_problems(db: Db, server: Server, namespace: str) -> Iterator[Unusable]:
    for name in _names(server):
        found = certificate(db, namespace, name)
        if isinstance(found, Unusable):
            yield found
        elif server.tls is not None and server.tls.mode in _CLIENTS_ROOT:
            authority = root(db, namespace, server.tls.ca_cert_credential_name or name + ROOT_SUFFIX)
            if isinstance(authority, Unusable):
                yield authority


@query
def _kinds_at(db: Db, home: str, selector: Labels) -> tuple[Labels, ...]:
    """The label sets of the workloads that a selector selects in a namespace, sorted."""
    names = pods_selected(db, home, selector)
    return tuple(sorted({label_pairs(pod.meta.labels) for name in names if (pod := one(db, Pod, home, name)) is not None}))


@query
def _ports_at(db: Db, home: str, selector: Labels) -> frozenset[int]:
    """Ports, and target ports, of the Services through which the workloads are reached that a selector selects in a namespace."""
    kinds = _kinds_at(db, home, selector)
    return frozenset(number for own in kinds for found in _targets_at(db, home, own) for number in (found.service_port, found.port))


@query
def _seen_by(db: Db, selector: Labels) -> tuple[tuple[Labels, tuple[ServiceTarget, ...]], ...]:
    """Labels and Service ports of each kind of workload that a selector selects; of one with no more labels where there is none yet."""
    running = [(own, _targets_at(db, home, own)) for home in _homes(db, selector) for own in _kinds_at(db, home, selector)]
    return tuple(running) or ((selector, _targets(db, selector)),)


def _unoffered(db: Db, name: ObjectRef, selector: Labels, servers: tuple[Server, ...]) -> Iterator[Finding]:
    """Servers on ports that nobody outside reaches: Services have the workload, none has the port."""
    offered = frozenset(number for home in _homes(db, selector) for number in _ports_at(db, home, selector))
    for index, server in enumerate(servers):
        if offered and server.port is not None and server.port.number and server.port.number not in offered:
            text = f"no Service of the workloads that are selected has this port: `{server.port.number}`"
            hint = f"they have {', '.join(map(str, sorted(offered)))}; it is listened at as it is"
            yield Finding("IST0162", Severity.WARNING, text, name, f"spec.servers[{index}].port.number", hint)


@query
def _of_gateway(db: Db, name: ObjectRef, selector: Labels, servers: tuple[Server, ...]) -> tuple[Finding, ...]:
    found = []
    for index, server in enumerate(servers):
        for home in _homes(db, selector):
            for problem in _credential_problems(db, server, home):
                code = "IST0101" if problem.is_missing else "IST0161"
                hint = "create it in the namespace of the gateway's pods; until then only this server is closed"
                found.append(Finding(code, Severity.ERROR, problem.reason, name, f"spec.servers[{index}].tls.credentialName", hint))
    return (*found, *_unoffered(db, name, selector, servers))


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """All findings about Gateways."""
    gateways = everywhere(db, Gateway)
    found = [one for gateway in gateways for one in _of_gateway(db, ref(gateway), label_pairs(gateway.spec.selector), gateway.spec.servers)]
    for selector in sorted({label_pairs(gateway.spec.selector) for gateway in gateways}):
        for labels, targets in _seen_by(db, selector):
            found += (finding for refusal in merged(db, labels, targets).refused for finding in refusal_findings(refusal))
    return tuple(dict.fromkeys(found))
