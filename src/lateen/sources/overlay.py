"""Several sources as one set of objects: the first layer that has an object wins, and a fact may keep an older form of one in force.

Called by `control`: files before what runs (pods of the node) before what is made up for them (gateway pods). Without I/O.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lateen.base.names import ObjectRef
from lateen.config.decode import ref_of
from lateen.config.kinds.objects import Object


@dataclass(frozen=True)
class Effect:
    """What changed in force since the last `take`."""

    upserts: tuple[Object, ...]
    removed: tuple[ObjectRef, ...]
    before: Mapping[ObjectRef, Object | None]
    """What was in force instead, for each of them."""

    @property
    def is_empty(self) -> bool:
        """Nothing did."""
        return not self.upserts and not self.removed


class Overlay:
    """Layers of objects by name, the first one named wins."""

    def __init__(self, *layers: str) -> None:
        self._layers: dict[str, dict[ObjectRef, Object]] = {name: {} for name in layers}
        self._kept: dict[ObjectRef, Object | None] = {}
        self._in_force: dict[ObjectRef, Object] = {}
        self._stirred: set[ObjectRef] = set()

    @property
    def in_force(self) -> dict[ObjectRef, Object]:
        """Every object in force, as of the last `take`."""
        return self._in_force

    @property
    def stirred(self) -> frozenset[ObjectRef]:
        """Objects that may differ at the next `take`."""
        return frozenset(self._stirred)

    @property
    def refs(self) -> Iterator[ObjectRef]:
        """Every object that some layer has, each once."""
        return iter(dict.fromkeys(ref for objects in self._layers.values() for ref in objects))

    def layer(self, name: str) -> dict[ObjectRef, Object]:
        """One layer's objects; to be read only."""
        return self._layers[name]

    def change(self, layer: str, upserts: Iterable[Object], removed: Iterable[ObjectRef] = ()) -> None:
        """Adds, replaces and removes objects of a layer."""
        objects = self._layers[layer]
        for item in upserts:
            ref = ref_of(item)
            objects[ref] = item
            self._stirred.add(ref)
        for ref in removed:
            objects.pop(ref, None)
            self._stirred.add(ref)

    def replace(self, layer: str, objects: Iterable[Object]) -> None:
        """Makes `objects` all there is in a layer."""
        new = {ref_of(item): item for item in objects}
        self._stirred |= self._layers[layer].keys() | new.keys()
        self._layers[layer] = new

    def keep(self, ref: ObjectRef, form: Object | None) -> None:
        """A fact: this form of the object (None: no such object) is in force, whatever the layers say, until `let_go`."""
        self._kept[ref] = form
        self._stirred.add(ref)

    def let_go(self, ref: ObjectRef) -> None:
        """The layers decide again."""
        if ref in self._kept:
            del self._kept[ref]
            self._stirred.add(ref)

    def written(self, ref: ObjectRef) -> Object | None:
        """The object as the layers say; None: none has it."""
        return next((objects[ref] for objects in self._layers.values() if ref in objects), None)

    def take(self) -> Effect:
        """What is different in force now."""
        upserts: list[Object] = []
        removed: list[ObjectRef] = []
        earlier: dict[ObjectRef, Object | None] = {}
        for ref in sorted(self._stirred):
            form = self._kept[ref] if ref in self._kept else self.written(ref)
            before = self._in_force.get(ref)
            if form is None and before is not None:
                del self._in_force[ref]
                removed.append(ref)
                earlier[ref] = before
            elif form is not None and form is not before and form != before:
                self._in_force[ref] = form
                upserts.append(form)
                earlier[ref] = before
        self._stirred.clear()
        return Effect(tuple(upserts), tuple(removed), earlier)
