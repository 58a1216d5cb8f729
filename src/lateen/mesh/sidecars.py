"""Sidecars: which Sidecar is in force for a workload. What it makes visible is `mesh.visibility`'s.

Source: Istio Sidecar: one with a matching workloadSelector, else the namespace's own without, else the root namespace's without; the oldest of each.
"""

from lateen.base.names import ObjectRef
from lateen.config.kinds.istio.sidecar import Sidecar
from lateen.config.store import in_namespace, one, ref, root_namespace
from lateen.incremental import Db, query
from lateen.mesh.model import Labels, label_pairs, selects


def _selector(sidecar: Sidecar) -> Labels:
    return label_pairs(sidecar.spec.workload_selector.labels) if sidecar.spec.workload_selector else ()


@query
def _choices(db: Db, namespace: str) -> tuple[tuple[Labels, ObjectRef], ...]:
    """Selector and name of the namespace's Sidecars: those that select first, oldest first; then the oldest that does not."""
    found = [(_selector(sidecar), ref(sidecar)) for sidecar in in_namespace(db, Sidecar, namespace)]
    return (*(item for item in found if item[0]), *[item for item in found if not item[0]][:1])


def sidecar_name(db: Db, namespace: str, labels: Labels) -> ObjectRef | None:
    """The Sidecar in force for a workload; None: the default, everything exported is visible."""
    own = next((name for selector, name in _choices(db, namespace) if selects(selector, labels)), None)
    if own or namespace == root_namespace(db):
        return own
    return next((name for selector, name in _choices(db, root_namespace(db)) if not selector), None)


def sidecar_at(db: Db, name: ObjectRef | None) -> Sidecar | None:
    """The object of that name."""
    return one(db, Sidecar, name.namespace, name.name) if name else None
