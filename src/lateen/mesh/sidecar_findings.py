"""What is wrong with Sidecars: one that an older takes the place of, imports of hosts that nobody has. Called by `mesh.findings`."""

from lateen.base.findings import Finding, Severity
from lateen.config.kinds.istio.sidecar import Sidecar
from lateen.config.store import everywhere, ref
from lateen.incremental import Db, query
from lateen.mesh.imports import EXCLUDED
from lateen.mesh.model import Labels, label_pairs
from lateen.mesh.services import services_by_host


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """All findings about Sidecars."""
    found: list[Finding] = []
    scopes: dict[tuple[str, Labels], Sidecar] = {}
    for sidecar in everywhere(db, Sidecar):
        key = (sidecar.namespace, label_pairs(sidecar.spec.workload_selector.labels) if sidecar.spec.workload_selector else ())
        if winner := scopes.get(key):
            text = f"has no effect, an older Sidecar has the same workloads: `{winner.namespace}/{winner.name}`"
            found.append(Finding("IST0110" if key[1] else "IST0111", Severity.ERROR, text, ref(sidecar), "spec.workloadSelector", "merge the two"))
        scopes.setdefault(key, sidecar)
        found += _imports_of_nothing(db, sidecar)
    return tuple(found)


def _imports_of_nothing(db: Db, sidecar: Sidecar) -> list[Finding]:
    """Egress hosts, written out in full, that no service has: traffic to them is treated as unknown."""
    found = []
    for at, listener in enumerate(sidecar.spec.egress):
        for index, written in enumerate(listener.hosts):
            home, _, host = written.rpartition("/")
            if home.startswith(EXCLUDED) or "*" in host or not host:
                continue
            namespace = sidecar.namespace if home == "." else home
            if not any(namespace in ("*", service.namespace) for service in services_by_host.at(db, host) or ()):
                field = f"spec.egress[{at}].hosts[{index}]"
                text = f"no service that this namespace could see has the host: `{written}`"
                found.append(Finding("IST0101", Severity.WARNING, text, ref(sidecar), field, "its name in full, `namespace/name.namespace.svc.cluster.local`"))
    return found
