"""The typed objects in force, as inputs of the query engine. Filled by `sources` through `control`; read by `mesh`, `plan` and `insight`.

Every read is recorded. Order is Istio's: oldest first (creation time, then name, then namespace); objects without a time are equally young.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.objects import Object
from lateen.incremental import Db, Input, query

O = TypeVar("O", bound=Object)  # noqa: E741


def _groups(key: ObjectRef) -> Iterable[tuple[str, ...]]:
    return ((key.kind,), (key.kind, key.namespace))


OBJECTS: Input[ObjectRef, Object] = Input("config.objects", _groups)
"""The objects in force. Key: kind, namespace, name."""
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


def ref(item: Object) -> ObjectRef:
    """The object's name."""
    return ObjectRef(type(item).__name__, item.meta.namespace, item.meta.name)
