"""What is wrong with Gateways: servers that give way to older ones, credentials that are missing or no good, selectors that select nothing.

Called by `mesh.findings`.

A finding is made for each group of Gateways with one selector, as the workload that they select would see them.
"""

from collections.abc import Iterator

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef
from lateen.config.kinds.istio.gateway import Gateway, Server, ServerTlsMode
from lateen.config.kinds.kubernetes.core import Namespace
from lateen.config.store import everywhere, ref, root_namespace
from lateen.incremental import Db, query
from lateen.mesh.credentials import ROOT_SUFFIX, Unusable, certificate, root
from lateen.mesh.gateways import merged, refusal_finding
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


@query
def _targets(db: Db, selector: Labels) -> tuple[ServiceTarget, ...]:
    """The Service ports of a workload with these labels; a target port by name is left out, its number is the pod's."""
    found: list[ServiceTarget] = []
    for service in all_services(db):
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
def _of_gateway(db: Db, name: ObjectRef, selector: Labels, servers: tuple[Server, ...]) -> tuple[Finding, ...]:
    found = []
    for index, server in enumerate(servers):
        for home in _homes(db, selector):
            for problem in _credential_problems(db, server, home):
                code = "IST0101" if problem.is_missing else "LTN0214"
                hint = "create it in the namespace of the gateway's pods; until then only this server is closed"
                found.append(Finding(code, Severity.ERROR, problem.reason, name, f"spec.servers[{index}].tls.credentialName", hint))
    return tuple(found)


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """All findings about Gateways."""
    gateways = everywhere(db, Gateway)
    found = [one for gateway in gateways for one in _of_gateway(db, ref(gateway), label_pairs(gateway.spec.selector), gateway.spec.servers)]
    for selector in sorted({label_pairs(gateway.spec.selector) for gateway in gateways}):
        found += (refusal_finding(refusal) for refusal in merged(db, selector, _targets(db, selector)).refused)
    return tuple(dict.fromkeys(found))
