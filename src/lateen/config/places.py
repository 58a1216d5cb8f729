"""Where things stand in the user's files, found only when a finding needs it: places cost nothing while nothing is wrong.

A `Places` keeps the text of each object's document and where it begins; a field path is looked up by composing that one document anew (about 1 ms).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

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
        if origin is None:
            return None
        found, _ = documents(origin.text)
        if not found:
            return Place(origin.source)
        node, named = node_at(found[0], f"{origin.path}.{path}" if origin.path and path else origin.path or path)
        mark = (node if not isinstance(node, MappingNode | SequenceNode) else named).start_mark
        return Place(origin.source, origin.line + mark.line, mark.column + 1)

    def resolved(self, finding: Finding) -> Finding:
        """The finding with its place filled in, if it has none and its object came from a file."""
        if finding.place is not None or finding.object is None:
            return finding
        place = self.at(finding.object, finding.field)
        return finding if place is None else Finding(finding.code, finding.severity, finding.message, finding.object, finding.field, finding.hint, place)
