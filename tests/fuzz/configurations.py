"""Configurations without end, from a seed: the golden cases with fields changed, alone and together, and with objects of other cases beside them.

A configuration is a list of objects, each read again from its JSON and validated, so that only what a user could have in force counts.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lateen.base.findings import Severity
from lateen.base.names import ObjectRef
from lateen.config.decode import decode, ref_of
from lateen.config.defaults import with_defaults
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.objects import Object
from lateen.config.kinds.values import Duration, Map
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.config.support import MESH, Support
from lateen.config.validate import validate
from lateen.mesh.projection import view_of
from lateen.mesh.view import ProxyType
from lateen.sources.plain import as_json
from lateen.xds.resource import Resource, ResourceType
from lateen.xds.resources import resource, resource_names
from tests.cases.evidence import FOLDERS, SHOWN, Case, changes, shown_statuses

KINDS = frozenset(SHOWN) - {"Pod"}
"""What is changed: what pods run does not reach proxies."""
Key = tuple[str, str]
"""(kind, field path)."""
Snapshot = dict[tuple[ResourceType, str], Resource]
TRIES = 24
"""Changes of one field that are made in the search for one that proxies see."""
MIXED = frozenset({"VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "PeerAuthentication", "WorkloadEntry", "Service"})
LOGS = ("accessLog", "disableEnvoyListenerLog", "defaultProviders", "extensionProviders")
"""Fields of the mesh that say where the access log goes: without the log of this test no call is judged."""


@dataclass(frozen=True)
class Edit:
    """Objects in place of others, and objects that go. `fields`: those that are changed. `mesh`: another mesh configuration."""

    objects: tuple[Object, ...] = ()
    fields: tuple[Key, ...] = ()
    mesh: MeshConfig | None = None
    has_log: bool = True


@dataclass
class Counts:
    """What was generated. `refused`: by decoding or validation, with a finding."""

    made: int = 0
    refused: int = 0
    silent: list[str] = field(default_factory=list)
    """Refused without a finding."""


def required() -> frozenset[Key]:
    """Every field that is said to work, of what reaches proxies."""
    return frozenset((name, path) for name in KINDS for path, status in shown_statuses(name).items() if status is Support.WORKS)


def reread(one: Object, counts: Counts) -> Object | None:
    """The object as a user's file gives it. None: refused."""
    return reread_json(as_json(one, reveals=True), counts)


def reread_json(document: dict[str, Any], counts: Counts) -> Object | None:
    """The object of a user's file. None: refused."""
    decoded = decode(json.dumps(document), "generated")
    errors = [one for one in decoded.findings if one.severity is Severity.ERROR]
    found = next(iter(decoded.objects), None)
    if found is not None:
        errors += [one for one in validate(found) if one.severity is Severity.ERROR]
    if errors or found is None:
        counts.refused += 1
        if not errors:
            counts.silent.append(f"{document.get('kind')} {document.get('metadata')}")
        return None
    return with_defaults(found)


class Mesh(Case):
    """A golden case whose access log the test reads. `snapshots()`: what each proxy gets."""

    def __init__(self, folder: Path, log: Callable[[MeshConfig], MeshConfig]) -> None:
        super().__init__(folder)
        self.name, self.log = folder.name, log
        self.everyone = sorted(self.proxies, key=lambda one: one.type is ProxyType.ROUTER)
        self.kept = {ref_of(one): one for one in self.objects}
        MESH_CONFIG.set(self.db, "mesh", log(self.mesh))

    def look(self, draw: random.Random) -> None:
        """From now on two look: a gateway, and one other by chance."""
        self.proxies = [draw.choice(self.everyone[:-1]), self.everyone[-1]]

    def snapshots(self) -> list[Snapshot]:
        self._register()
        found = []
        for proxy in self.proxies:
            view, one = view_of(self.db, proxy), {}
            for type_ in ResourceType:
                for name in resource_names(self.db, view, type_):
                    made = resource(self.db, view, type_, name)
                    if made is not None:
                        one[type_, name] = made
            found.append(one)
        return found

    def apply(self, edit: Edit) -> None:
        for one in edit.objects:
            OBJECTS.set(self.db, ref_of(one), one)
        if edit.mesh is not None:
            MESH_CONFIG.set(self.db, "mesh", self.log(edit.mesh) if edit.has_log else edit.mesh)

    def undo(self, edit: Edit) -> None:
        for one in edit.objects:
            before = self.kept.get(ref_of(one))
            OBJECTS.set(self.db, ref_of(one), before) if before is not None else OBJECTS.remove(self.db, ref_of(one))
        if edit.mesh is not None:
            MESH_CONFIG.set(self.db, "mesh", self.log(self.mesh))


def single_edits(mesh: Mesh, values: dict[Key, list[Any]], reached: set[Key], counts: Counts) -> Iterator[Edit]:
    """One field at a time, as long as no proxy has seen a change of it (`reached`, which the caller fills) and it has not been tried often enough."""
    tried: dict[Key, int] = defaultdict(int)
    for one in mesh.objects:
        name = type(one).__name__
        if name not in KINDS:
            continue
        others = ((path, lambda _, changed=changed: changed) for path, changed in borrowed(one, name, values))
        for path, change in (*changes(one), *others):
            key = (name, path)
            if key in reached or tried[key] >= TRIES:
                continue
            tried[key] += 1
            try:
                changed = reread(change(one), counts)
            except (TypeError, ValueError):  # a change that its own type cannot spell
                counts.refused += 1
                continue
            if changed is not None:
                counts.made += 1
                yield Edit((changed,), (key,))
    for path, change in changes(mesh.mesh) if any(ref_of(one) == ObjectRef("ConfigMap", "istio-system", "istio") for one in mesh.objects) else ():
        key = (MESH, path)
        if key not in reached and tried[key] < TRIES:
            tried[key] += 1
            counts.made += 1
            yield Edit(fields=(key,), mesh=change(mesh.mesh), has_log=not path.startswith(LOGS))


def said(objects: Iterable[Object]) -> dict[Key, list[Any]]:
    """(kind, field path) → the values that objects have there, for those that a user would write."""
    found: dict[Key, list[Any]] = defaultdict(list)

    def walk(kind: str, value: Any, path: str) -> None:
        for item in msgspec.structs.fields(type(value)):
            inner, here = getattr(value, item.name), f"{path}.{item.encode_name}" if path else item.encode_name
            if item.name == "meta" or inner is None or inner == ():
                continue
            found[kind, here] += [one for one in (inner, _narrowed(inner)) if one not in found[kind, here]]
            for one in inner if isinstance(inner, tuple) else (inner,):
                if isinstance(one, msgspec.Struct):
                    walk(kind, one, f"{here}[]" if isinstance(inner, tuple) else here)

    for one in objects:
        walk(type(one).__name__, one, "")
    return found


def _narrowed(value: Any) -> Any:
    """The value with a name for each wildcard."""
    if isinstance(value, str) and type(value) is str:
        return value.replace("*", "a9")
    if isinstance(value, Map):
        return Map({_narrowed(name): inner for name, inner in value.items()})
    return value


def borrowed(one: Any, kind: str, values: dict[Key, list[Any]], path: str = "") -> Iterator[tuple[str, Any]]:
    """(field path, the object with what another object says there)."""
    for item in msgspec.structs.fields(type(one)):
        inner, here = getattr(one, item.name), f"{path}.{item.encode_name}" if path else item.encode_name
        if item.name == "meta":
            continue
        for other in values.get((kind, here), ()):
            if other != inner:
                yield here, msgspec.structs.replace(one, **{item.name: other})
        if isinstance(inner, msgspec.Struct):
            for under, changed in borrowed(inner, kind, values, here):
                yield under, msgspec.structs.replace(one, **{item.name: changed})
        elif isinstance(inner, tuple):
            for at, each in enumerate(inner):
                if isinstance(each, msgspec.Struct):
                    for under, changed in borrowed(each, kind, values, f"{here}[]"):
                        yield under, msgspec.structs.replace(one, **{item.name: (*inner[:at], changed, *inner[at + 1 :])})


HOSTILE_TEXTS = (
    "((",
    "%FOO%",
    "a\nb",
    "\u0000",
    "x" * 20_000,
    "*",
    "*.*",
    "..",
    "ü.example.com",
    "",
    " ",
    "-1",
    "/../..",
    "((((a{1,100}){1,9}){1,9}){1,9})",
    "outbound|80||x",
)
HOSTILE_NUMBERS = (0, -1, 1, 65535, 65536, 2**31 - 1, 2**32 - 1, 2**32, 2**63 - 1)
HOSTILE_SECONDS = (0.0, 1e-9, 0.001, -1.0, 1e9, 9e9)


def hostile(value: Any, draw: random.Random) -> Any:
    """Another value of the same type that nobody would write."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, Duration):
        return Duration(draw.choice(HOSTILE_SECONDS))
    if isinstance(value, (int, float)):
        return type(value)(draw.choice(HOSTILE_NUMBERS))
    if isinstance(value, str) and type(value) is str:
        return draw.choice(HOSTILE_TEXTS)
    if isinstance(value, tuple) and value:
        return draw.choice((value * 2, (), value * 300, (*value, hostile(value[0], draw)), tuple(hostile(one, draw) for one in value)))
    return value


def spoiled(one: Any, draw: random.Random) -> Any:
    """The object, or a part of it, with one value in its depth made hostile."""
    names = [item.name for item in msgspec.structs.fields(type(one)) if item.name != "meta" and getattr(one, item.name) not in (None, (), "")]
    if not names:
        return one
    name = draw.choice(names)
    value = getattr(one, name)
    if isinstance(value, msgspec.Struct):
        value = spoiled(value, draw)
    elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct) and draw.random() < 0.9:
        at = draw.randrange(len(value))
        value = (*value[:at], spoiled(value[at], draw), *value[at + 1 :])
    else:
        value = hostile(value, draw)
    return msgspec.structs.replace(one, **{name: value})


@dataclass(frozen=True)
class Pool:
    """Objects of all cases that may stand beside each other."""

    objects: tuple[Object, ...]

    @staticmethod
    def of_cases() -> "Pool":
        found = []
        for folder in FOLDERS:
            found += [one for one in decode((folder / "in.yaml").read_text(), folder.name).objects if type(one).__name__ in MIXED]
        return Pool(tuple(found))

    def mixed(self, mesh: Mesh, draw: random.Random, counts: Counts) -> Edit | None:
        """Objects of other cases beside this one's, some of all changed, some spoiled. None: nothing of it could be in force."""
        chosen: list[Object] = []
        for one in draw.sample(self.objects, draw.randint(1, 4)):
            renamed = msgspec.structs.replace(one, meta=msgspec.structs.replace(one.meta, name=f"{one.meta.name}-{draw.randrange(9)}"))
            chosen.append(renamed if draw.random() < 0.7 else one)
        own = [one for one in mesh.objects if type(one).__name__ in MIXED]
        chosen += draw.sample(own, min(len(own), draw.randint(0, 3)))
        found: dict[ObjectRef, Object] = {}
        fields: list[Key] = []
        for one in chosen:
            kind, roll = type(one).__name__, draw.random()
            try:
                if roll < 0.5:
                    every = list(changes(one))
                    for path, change in draw.sample(every, min(len(every), draw.randint(1, 2))):
                        one = change(one)
                        fields.append((kind, path))
                elif roll < 0.8:
                    one = spoiled(one, draw)
                again = reread(one, counts)
            except (TypeError, ValueError, KeyError, IndexError, AttributeError):  # two changes that exclude each other, or what a type cannot spell
                counts.refused += 1
                continue
            if again is not None:
                found[ref_of(again)] = again
        if not found:
            return None
        counts.made += 1
        return Edit(tuple(found.values()), tuple(fields))
