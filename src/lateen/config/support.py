"""Which fields of the API are in force: each known field works, or is said not to. Silence is a bug.

`sources` adds the findings to what it reads; `docs/support.md` is generated from `statuses`; a test that changes a field of a golden case and sees
the emitted bytes change is what lets a field stand under "works". A feature that lands takes its lines out of `NOT_YET`.
Paths are YAML's, lists with `[]`, maps with `{}`: `spec.http[].match[].headers{}.regex`; a path stands for everything under it.
"""

import types
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef
from lateen.config import codes
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.istio.mesh_proxy import MeshProxyConfig
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Map
from lateen.config.registry import KINDS
from lateen.config.support_tables import EMPTY, NO_EFFECT, NO_NEED, NOT_HERE, NOT_YET, TEMPLATES


class Support(StrEnum):
    """What becomes of a field."""

    WORKS = "works"
    NOT_YET = "not in force yet"
    NO_EFFECT = "no effect, in Istio neither"
    NOT_HERE = "no effect on one machine"
    EMPTY = "an empty folder on one machine"
    NO_NEED = "no effect in this mesh"


_NEEDLESS = {kind: tuple(reasons) for kind, reasons in NO_NEED.items()}
TABLES = (
    (NOT_YET, Support.NOT_YET),
    (NO_EFFECT, Support.NO_EFFECT),
    (NOT_HERE, Support.NOT_HERE),
    (EMPTY, Support.EMPTY),
    (_NEEDLESS, Support.NO_NEED),
)
MESH = "MeshConfig"
"""Name of the mesh configuration in the tables; the others are kinds' class names."""


def _status(kind: str, path: str) -> Support:
    """The status of the longest listed path that `path` lies under."""
    if kind in TEMPLATES and path.startswith(TEMPLATES[kind]):
        return _status("Pod", path.removeprefix(TEMPLATES[kind]))
    best, found = -1, Support.WORKS
    for listed, status in TABLES:
        for prefix in listed.get(kind, ()):
            is_under = path == prefix or path.startswith((f"{prefix}.", f"{prefix}[", f"{prefix}{{")) or prefix == ""
            if is_under and len(prefix) > best:
                best, found = len(prefix), status
    return found


def field_paths(kind: type[Spec], path: str = "") -> Iterator[str]:
    """All field paths of a type, enclosing ones first."""
    for item in msgspec.structs.fields(kind):
        here = f"{path}.{item.encode_name}" if path else item.encode_name
        yield here
        yield from _under(get_type_hints(kind, include_extras=True)[item.name], here)


def _under(hint: Any, path: str) -> Iterator[str]:
    """Paths within a field of a type. (Any: a type hint.)"""
    if hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for item in args:
            yield from _under(item, path)
    elif origin is tuple:
        yield from _under(args[0], f"{path}[]")
    elif origin is Map:
        yield from _under(args[0], f"{path}{{}}")
    elif isinstance(hint, type) and issubclass(hint, Spec):
        yield from field_paths(hint, path)


@cache
def statuses(kind: type[Spec]) -> dict[str, Support]:
    """Field path → status, for a kind of object (below metadata) or MeshConfig."""
    name = MESH if kind is MeshConfig else kind.__name__
    return {path: _status(name, path) for path in field_paths(kind) if not path.startswith("metadata")}


def unlisted() -> tuple[str, ...]:
    """Lines of the tables that name no field; empty unless a table is wrong."""
    wrong: list[str] = []
    kinds: dict[str, type[Spec]] = {kind.__name__: kind for kind in KINDS} | {MESH: MeshConfig}
    for table, _ in TABLES:
        for name, paths in table.items():
            known = set(field_paths(kinds[name])) | {""} if name in kinds else set()
            wrong += [f"{name} {path}" for path in paths if path not in known]
    return tuple(wrong)


def not_in_force(item: Object) -> tuple[Finding, ...]:
    """A finding for each field that the object sets and that does nothing yet (or ever), outermost first and once."""
    ref = ObjectRef(type(item).__name__, item.meta.namespace, item.meta.name)
    found = _said(item, type(item).__name__, "", "")
    return tuple(Finding(codes.NOT_IN_FORCE, _severity(status), _words(status, path), ref, place) for place, path, status in found)


def not_in_force_of_mesh(config: MeshConfig, ref: ObjectRef) -> tuple[Finding, ...]:
    """The same for the mesh configuration; `ref`: its ConfigMap."""
    found = _said(config, MESH, "", "")
    return tuple(Finding(codes.NOT_IN_FORCE, _severity(status), f"{place}: {_words(status, path)}", ref, "data.mesh") for place, path, status in found)


def not_in_force_of_proxy(config: MeshProxyConfig, ref: ObjectRef, field: str) -> tuple[Finding, ...]:
    """The same for one proxy's configuration, which a pod's annotation at `field` says."""
    found = _said(config, MESH, "defaultConfig", "")
    told = "proxy.istio.io/config"
    return tuple(Finding(codes.NOT_IN_FORCE, _severity(status), f"{told}: {place}: {_words(status, path)}", ref, field) for place, path, status in found)


def _severity(status: Support) -> Severity:
    return Severity.WARNING if status in (Support.NOT_YET, Support.EMPTY) else Severity.INFO


def reason(path: str) -> str:
    """Why a field of the mesh configuration does nothing in this mesh; empty: no such reason."""
    return next((why for listed, why in NO_NEED[MESH].items() if path == listed or path.startswith((f"{listed}.", f"{listed}["))), "")


def _words(status: Support, path: str) -> str:
    known = {
        Support.NOT_YET: "not in force yet",
        Support.NOT_HERE: "has no effect on one machine",
        Support.EMPTY: "no such volume on one machine: the pod has an empty folder in its place",
        Support.NO_NEED: f"has no effect: {reason(path)}",
    }
    return known.get(status, "has no effect (in Istio neither)")


def _said(value: Spec, kind: str, path: str, place: str) -> Iterator[tuple[str, str, Support]]:
    """(place, path, status) of what is set and not in force. `path` has `[]` where `place` has indexes."""
    if not _has_lines(kind):
        return
    for item in msgspec.structs.fields(type(value)):
        inner = getattr(value, item.name)
        if item.name == "meta" or inner == _default(item):
            continue
        here = f"{path}.{item.encode_name}" if path else item.encode_name
        where = f"{place}.{item.encode_name}" if place else item.encode_name
        status = _status(kind, here)
        if status is not Support.WORKS:
            yield where, here, status
        else:
            yield from _said_in(inner, kind, here, where)


def _said_in(value: object, kind: str, path: str, place: str) -> Iterator[tuple[str, str, Support]]:
    if isinstance(value, Spec):
        yield from _said(value, kind, path, place)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _said_in(item, kind, f"{path}[]", f"{place}[{index}]")
    elif isinstance(value, Map):
        for key, item in value.items():
            yield from _said_in(item, kind, f"{path}{{}}", f"{place}[{key}]")


def _has_lines(kind: str) -> bool:
    return kind in TEMPLATES or any(kind in table for table, _ in TABLES)


def _default(item: msgspec.structs.FieldInfo) -> object:
    if item.default is not msgspec.NODEFAULT:
        return item.default
    return item.default_factory() if item.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT
