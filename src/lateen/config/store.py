"""The typed objects in force, as inputs of the query engine. Filled by `sources` through `control`; read by `mesh`, `plan` and `insight`.

Every read is recorded. Objects of namespaces that the mesh does not discover are there for what Kubernetes does with them, and not for the mesh.
Order is Istio's: oldest first (creation time, then name, then namespace); objects without a time are equally young.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.kubernetes.core import Namespace
from lateen.config.kinds.kubernetes.ingress import Ingress
from lateen.config.kinds.kubernetes.selectors import LabelSelector
from lateen.config.kinds.objects import Object
from lateen.config.kinds.values import Labels, Map
from lateen.config.registry import GATEWAY_KINDS, ISTIO_KINDS
from lateen.incremental import Db, Input, query

O = TypeVar("O", bound=Object)  # noqa: E741
NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that every namespace has. Source: Kubernetes, admission of namespaces."""


def _groups(key: ObjectRef) -> Iterable[tuple[str, ...]]:
    return ((key.kind,), (key.kind, key.namespace))


class Objects(Input[ObjectRef, Object]):
    """The objects in force. Key: kind, namespace, name. What configures the mesh is hidden where its namespace is not discovered."""

    def at(self, db: Db, key: ObjectRef) -> Object | None:
        """One object; None: there is none, or it is hidden."""
        found = super().at(db, key)
        return None if found is not None and key.kind in _CONFIGURING and not is_discovered(db, key.namespace) else found

    def keys(self, db: Db, group: Hashable = ()) -> tuple[ObjectRef, ...]:
        """The keys of a group, in order of arrival, without hidden ones."""
        found = super().keys(db, group)
        if not found or found[0].kind not in _CONFIGURING or not mesh_field(db, "discovery_selectors"):
            return found
        return tuple(key for key in found if is_discovered(db, key.namespace))

    def written(self, db: Db, key: ObjectRef) -> Object | None:
        """One object, hidden or not; None: there is none."""
        return super().at(db, key)

    def outside(self, db: Db, group: Hashable) -> tuple[ObjectRef, ...]:
        """The keys of a group whose namespaces are not discovered."""
        return tuple(key for key in super().keys(db, group) if not is_discovered(db, key.namespace)) if mesh_field(db, "discovery_selectors") else ()


OBJECTS = Objects("config.objects", _groups)
"""The objects in force."""
CONFIGURING: tuple[type[Object], ...] = (*ISTIO_KINDS, *GATEWAY_KINDS, Ingress)
"""Kinds that configure the mesh, and do nothing without one."""
_CONFIGURING = frozenset(kind.__name__ for kind in CONFIGURING)
MESH_CONFIG: Input[str, MeshConfig] = Input("config.mesh")
"""The mesh configuration in force, defaults filled in. Key: always `mesh`."""


@dataclass(frozen=True)
class Age:
    """The order of objects: oldest first."""

    created: float
    name: str
    namespace: str


def age(item: Object) -> tuple[float, str, str]:
    """Sort key: oldest first; an object without a time is younger than all that have one. Source: Istio, conflict resolution by creation time, then name,
    then namespace; an object its store has no time for was made just now."""
    return (inf if item.meta.created is None else item.meta.created, item.meta.name, item.meta.namespace)


def one(db: Db, kind: type[O], namespace: str, name: str) -> O | None:
    """One object; None: there is none. Recorded."""
    found = OBJECTS.at(db, ObjectRef(kind.__name__, namespace, name))
    return found if isinstance(found, kind) else None


@query
def _group(db: Db, kind: type[Object], group: tuple[str, ...]) -> tuple[Object, ...]:
    found = (OBJECTS.at(db, key) for key in OBJECTS.keys(db, group))
    return tuple(sorted((item for item in found if isinstance(item, kind)), key=age))


def in_namespace(db: Db, kind: type[O], namespace: str) -> tuple[O, ...]:
    """All objects of a kind in one namespace, oldest first. Recorded: any of them."""
    return _group(db, kind, (kind.__name__, namespace))  # type: ignore[return-value]


def everywhere(db: Db, kind: type[O]) -> tuple[O, ...]:
    """All objects of a kind, oldest first. Recorded: any of them; O(n) at each change of one, so build an index over it."""
    return _group(db, kind, (kind.__name__,))  # type: ignore[return-value]


def mesh_config(db: Db) -> MeshConfig:
    """The mesh configuration in force. Recorded as one value; read single fields through `mesh_field` on hot paths."""
    return MESH_CONFIG.at(db, "mesh") or MeshConfig()


@query
def mesh_field(db: Db, name: str) -> object:
    """One field of the mesh configuration, so that a change of another re-runs nothing."""
    return getattr(mesh_config(db), name)


def root_namespace(db: Db) -> str:
    """The namespace of mesh-wide policies."""
    return str(mesh_field(db, "root_namespace") or ROOT_NAMESPACE)


@query
def namespace_labels(db: Db, name: str) -> Labels:
    """A namespace's labels; of one that nobody wrote its name alone. Source: Kubernetes, label kubernetes.io/metadata.name."""
    return labels_of(name, one(db, Namespace, "", name))


def labels_of(name: str, written: Namespace | None) -> Labels:
    """The labels of a namespace as somebody wrote it; None: nobody did."""
    return Map({**(written.meta.labels if written else {}), NAMESPACE_NAME: name})


@query
def is_discovered(db: Db, namespace: str) -> bool:
    """Whether the mesh takes notice of a namespace: one of the selectors selects it, or there are none. The root namespace always counts.
    Source: Istio MeshConfig.discoverySelectors."""
    selectors = mesh_field(db, "discovery_selectors")
    if not isinstance(selectors, tuple) or not selectors or namespace in ("", root_namespace(db)):
        return True
    return selected(selectors, namespace_labels(db, namespace))


def selected(selectors: Iterable[LabelSelector], labels: Mapping[str, str]) -> bool:
    """Whether one of several selectors selects labels."""
    return any(selector.matches(labels) for selector in selectors)


def ref(item: Object) -> ObjectRef:
    """The object's name."""
    return ObjectRef(type(item).__name__, item.meta.namespace, item.meta.name)
