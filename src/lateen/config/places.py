"""Where things stand in the user's files, found only when a finding needs it: places cost nothing while nothing is wrong.

A `Places` keeps the text of each object's document and where it begins; a field path is looked up by composing that one document anew (about 1 ms).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from yaml.nodes import MappingNode, Node, SequenceNode

from lateen.base.findings import Finding, Place
from lateen.base.names import ObjectRef
from lateen.config.documents import documents, key_text, pairs

_STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")


@dataclass(frozen=True)
class Origin:
    """Where one object's text is: `text` is its document alone, `line` the document's first line in `source` (from 1), `path` the object's
    place in the document (a `List`'s item: `items[3]`)."""

    source: str
    text: str
    line: int = 1
    path: str = ""


def steps(path: str) -> list[str | int]:
    """`spec.http[0].headers[x-a]` → its steps; numbers in brackets may be a list's index or a map's key."""
    found: list[str | int] = []
    for name, index in _STEP.findall(path):
        found.append(name or (int(index) if index.isdigit() else index))
    return found


def node_at(root: Node, path: str) -> tuple[Node, Node]:
    """The deepest existing node along a path, and the key that names it (itself, if it has none)."""
    node, named = root, root
    for step in steps(path):
        if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = named = node.value[step]
        elif isinstance(node, MappingNode):
            match = [(key, value) for key, value in pairs(node) if key_text(key) == str(step)]
            if not match:
                break
            named, node = match[-1]
        else:
            break
    return node, named


@dataclass(frozen=True)
class Places:
    """The side table of positions: object → its text. Immutable; `+` lets the right side win."""

    origins: Mapping[ObjectRef, Origin] = field(default_factory=dict)

    def __add__(self, other: "Places") -> "Places":
        return Places({**self.origins, **other.origins})

    def at(self, key: ObjectRef, path: str = "") -> Place | None:
        """The place of a field, else of the nearest enclosing one that exists. None: the object came from no file."""
        origin = self.origins.get(key)
        return None if origin is None else _place(origin, next(iter(documents(origin.text)[0]), None), path)

    def resolved(self, finding: Finding) -> Finding:
        """The finding with its place filled in, if it has none and its object came from a file."""
        return self.all_resolved((finding,))[0]

    def all_resolved(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Each finding `resolved`, in order; findings about one object that follow one another cost one reading of its text."""
        found: list[Finding] = []
        text, root = None, None
        for one in findings:
            origin = self.origins.get(one.object) if one.place is None and one.object is not None else None
            if origin is not None:
                if origin.text is not text:
                    text, root = origin.text, next(iter(documents(origin.text)[0]), None)
                one = replace(one, place=_place(origin, root, one.field))
            found.append(one)
        return tuple(found)


def _place(origin: Origin, root: Node | None, path: str) -> Place:
    """Of a field in the text of `origin`, whose root node is `root`; None: the text holds nothing any more."""
    if root is None:
        return Place(origin.source)
    node, named = node_at(root, f"{origin.path}.{path}" if origin.path and path else origin.path or path)
    mark = (node if not isinstance(node, MappingNode | SequenceNode) else named).start_mark
    return Place(origin.source, origin.line + mark.line, mark.column + 1)
