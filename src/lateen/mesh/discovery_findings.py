"""What discoverySelectors leave out, where somebody wrote something there. Called by `mesh.findings`."""

from collections import defaultdict
from collections.abc import Iterator

from lateen.base.findings import Finding, Severity
from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config import store
from lateen.config.kinds.kubernetes.core import Namespace
from lateen.config.kinds.kubernetes.selectors import LabelSelector
from lateen.incremental import Db, query

MESH_CONFIG = ObjectRef("ConfigMap", ROOT_NAMESPACE, "istio")
IGNORED, NOTHING, ROOT = "LTN0225", "LTN0226", "LTN0227"


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """One for each namespace with ignored configuration, and what is wrong with the selectors as a whole."""
    selectors = store.mesh_field(db, "discovery_selectors")
    if not isinstance(selectors, tuple) or not selectors:
        return ()
    return (*_of_selectors(db, selectors), *_ignored(db))


def _of_selectors(db: Db, selectors: tuple[LabelSelector, ...]) -> Iterator[Finding]:
    root = store.root_namespace(db)
    names = {one.name for one in store.everywhere(db, Namespace)} | {ref.namespace for ref in _pods(db)}
    if not any(store.is_discovered(db, name) for name in names - {root}):
        text = "discoverySelectors select no namespace: the mesh knows no service"
        yield Finding(NOTHING, Severity.WARNING, text, MESH_CONFIG, "data.mesh", "label the Namespaces that belong to it")
    own = any(store.OBJECTS.keys(db, (kind.__name__, root)) for kind in store.CONFIGURING)
    if own and not any(selector.matches(store.namespace_labels(db, root)) for selector in selectors):
        text = f"discoverySelectors do not select the root namespace `{root}`: what is written there counts here, and on a cluster it would not"
        yield Finding(ROOT, Severity.INFO, text, MESH_CONFIG, "data.mesh", "label that Namespace too")


def _pods(db: Db) -> tuple[ObjectRef, ...]:
    return store.OBJECTS.keys(db, ("Pod",))


def _ignored(db: Db) -> Iterator[Finding]:
    """Objects of one namespace in one sentence: it is one decision."""
    found: dict[str, list[ObjectRef]] = defaultdict(list)
    for kind in store.CONFIGURING:
        for ref in store.OBJECTS.outside(db, (kind.__name__,)):
            found[ref.namespace].append(ref)
    for namespace, refs in sorted(found.items()):
        first = min(refs)
        more = f" and {len(refs) - 1} more" if len(refs) > 1 else ""
        text = f"namespace `{namespace}` is left out by discoverySelectors: {first.kind} {first.name}{more} does nothing"
        yield Finding(IGNORED, Severity.WARNING, text, first, "metadata.namespace", f"label Namespace {namespace} so that a selector selects it")
