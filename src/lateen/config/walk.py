"""Typed values from YAML nodes: every mistake found in one pass, each with its field and place.

`decoder(type)` gives a function over nodes, built once per type from the struct's own fields; nothing about single kinds is written here.
Used by `config.decode` (objects) and `config.defaults` (mesh configuration, annotations). A part with a mistake takes its default, so that the
rest is still checked; whoever reads `Walk.findings` decides that the object is refused.
"""

import base64
import binascii
import difflib
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import msgspec
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lateen.base.findings import Finding, Place, Severity
from lateen.base.names import ObjectRef
from lateen.base.secrets import Secret
from lateen.config import codes
from lateen.config.documents import key_text, pairs, plain, scalar
from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Duration, Json, Map

Path = tuple["Path | None", str]
"""A field path as a linked list, rendered only for a finding: (parent, step with its punctuation)."""
Decoder = Callable[["Walk", Node, Path], Any]
"""Any: each decoder gives the type it was built for; mypy cannot follow types made at run time."""

MAX_VISITS_PER_CHARACTER = 4
"""Without aliases a text has fewer nodes than characters; aliases may multiply it so much and no more."""


class TooLarge(Exception):
    """Aliases multiply the document beyond bounds, or an alias contains itself."""


@dataclass
class Walk:
    """One document's walk: where it is, and what was found so far."""

    source: str
    first_line: int = 1
    budget: int = 100_000
    """Nodes that may still be visited."""
    is_strict: bool = True
    """Whether an unknown field is an error, not a warning."""
    takes_proto_names: bool = False
    """Whether `snake_case` spellings are fields too, as in protobuf's JSON."""
    object: ObjectRef | None = None
    findings: list[Finding] = field(default_factory=list)

    def add(self, node: Node, path: Path | None, code: str, message: str, hint: str = "", severity: Severity = Severity.ERROR) -> None:
        """Records a finding at a node."""
        place = Place(self.source, self.first_line + node.start_mark.line, node.start_mark.column + 1)
        self.findings.append(Finding(code, severity, message, self.object, text(path), hint, place))

    def spend(self) -> None:
        """Counts a node. Raises TooLarge when there were too many."""
        self.budget -= 1
        if self.budget < 0:
            raise TooLarge


def text(path: Path | None) -> str:
    """`spec.http[0].timeout`."""
    parts: list[str] = []
    while path is not None:
        path, step = path
        parts.append(step)
    return "".join(reversed(parts)).removeprefix(".")


def nearest(word: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    """`did you mean …?`, or nothing."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean `{by_lower[close[0]]}`?" if close else ""


def _seen(node: Node) -> str:
    """What a node is, in words, for "expected X, got Y"."""
    if isinstance(node, MappingNode):
        return "an object"
    if isinstance(node, SequenceNode):
        return "a list"
    value = scalar(node) if isinstance(node, ScalarNode) else None
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"{'true' if value else 'false'} (a boolean)"
    shown = str(value) if len(str(value)) <= 40 else str(value)[:37] + "..."
    return f"`{shown}` ({'text' if isinstance(value, str) else 'a number'})"


def _wrong(walk: Walk, node: Node, path: Path, expected: str, hint: str = "") -> None:
    walk.add(node, path, codes.WRONG_TYPE, f"expected {expected}, got {_seen(node)}", hint)


def _value(node: Node) -> object:
    return scalar(node) if isinstance(node, ScalarNode) else None


def _text(walk: Walk, node: Node, path: Path) -> str:
    value = _value(node)
    if isinstance(value, str):
        return value
    hint = f'quote it: "{node.value}"' if isinstance(node, ScalarNode) else ""
    _wrong(walk, node, path, "text", hint)
    return ""


def _boolean(walk: Walk, node: Node, path: Path) -> bool:
    value = _value(node)
    if not isinstance(value, bool):
        _wrong(walk, node, path, "true or false")
        return False
    return value


def _number(walk: Walk, node: Node, path: Path) -> float:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong(walk, node, path, "a number")
        return 0.0
    return float(value)


def _integer(low: int, high: int) -> Decoder:
    def decode(walk: Walk, node: Node, path: Path) -> int:
        value = _value(node)
        if isinstance(value, bool) or not isinstance(value, int):
            hint = "write it without quotes" if isinstance(value, str) and value.isdigit() else ""
            _wrong(walk, node, path, "a whole number", hint)
            return 0
        if not low <= value <= high:
            walk.add(node, path, codes.WRONG_TYPE, f"must be between {low} and {high}: {value}")
            return 0
        return value

    return decode


def _duration(walk: Walk, node: Node, path: Path) -> Duration:
    value = _value(node)
    if not isinstance(value, str):
        hint = f"write {node.value}s" if isinstance(value, int) and not isinstance(value, bool) else ""
        _wrong(walk, node, path, "a duration such as 250ms, 10s or 1m30s", hint)
        return Duration(0)
    try:
        return Duration.parse(value)
    except ValueError as error:
        walk.add(node, path, codes.WRONG_TYPE, f"{error}: `{value}`")
        return Duration(0)


def _secret(walk: Walk, node: Node, path: Path) -> Secret:
    value = _value(node)
    if not isinstance(value, str):
        walk.add(node, path, codes.WRONG_TYPE, "expected text")
        return Secret(b"")
    return Secret(value.encode())


def _json(walk: Walk, node: Node, path: Path) -> Json:
    _spend_all(walk, node)
    return Json(plain(node))


def _spend_all(walk: Walk, node: Node, depth: int = 0) -> None:
    walk.spend()
    if depth > 200:
        raise TooLarge
    if isinstance(node, MappingNode):
        for _, value in node.value:
            _spend_all(walk, value, depth + 1)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _spend_all(walk, item, depth + 1)


def _enum(kind: type[StrEnum]) -> Decoder:
    known = {item.value: item for item in kind}
    first = next(iter(known.values()))

    def decode(walk: Walk, node: Node, path: Path) -> StrEnum:
        value = _value(node)
        if isinstance(value, str) and value in known:
            return known[value]
        shown = node.value if isinstance(node, ScalarNode) else ""
        hint = nearest(shown, known) or "one of " + ", ".join(known)
        if isinstance(value, str):
            walk.add(node, path, codes.WRONG_TYPE, f"no such value: `{value}`", hint)
        else:
            _wrong(walk, node, path, "one of " + ", ".join(known))
        return first

    return decode


def _union(kinds: tuple[type, ...]) -> Decoder:
    """Scalars of several types (a port's number or name; a quantity)."""
    names = {int: "a whole number", str: "text", float: "a number"}
    expected = " or ".join(names[kind] for kind in kinds)

    def decode(walk: Walk, node: Node, path: Path) -> object:
        value = _value(node)
        if value is None or isinstance(value, bool) or not isinstance(value, kinds):
            _wrong(walk, node, path, expected)
            return ""
        return value

    return decode


def _list(item: Decoder) -> Decoder:
    def decode(walk: Walk, node: Node, path: Path) -> tuple[object, ...]:
        if not isinstance(node, SequenceNode):
            hint = "put `- ` before it" if isinstance(node, ScalarNode | MappingNode) else ""
            _wrong(walk, node, path, "a list", hint)
            return ()
        walk.spend()
        found: list[object] = []
        for index, value in enumerate(node.value):
            if isinstance(value, ScalarNode) and scalar(value) is None:
                _wrong(walk, value, (path, f"[{index}]"), "an entry", "take the `-` away")
            else:
                found.append(item(walk, value, (path, f"[{index}]")))
        return tuple(found)

    return decode


def _map(item: Decoder) -> Decoder:
    def decode(walk: Walk, node: Node, path: Path) -> Map[object]:
        if not isinstance(node, MappingNode):
            _wrong(walk, node, path, "an object")
            return Map()
        found: dict[str, object] = {}
        for _, name, value in _entries(walk, node, path):
            walk.spend()
            found[name] = item(walk, value, (path, f"[{name}]"))
        return Map(found)

    return decode


def _entries(walk: Walk, node: MappingNode, path: Path) -> list[tuple[Node, str, Node]]:
    """The pairs of a mapping by the text of their key; keys that are no scalars or come twice are findings."""
    found: dict[str, tuple[Node, str, Node]] = {}
    own = {id(key) for key, _ in node.value}
    for key, value in pairs(node):
        name = key_text(key)
        if name is None:
            walk.add(key, path, codes.WRONG_TYPE, "a key must be text")
            continue
        if name in found and id(key) in own and id(found[name][0]) in own:
            line = walk.first_line + found[name][0].start_mark.line
            walk.add(key, (path, f".{name}"), codes.DUPLICATE_KEY, f"key twice: `{name}`", f"the first is on line {line}")
            continue
        found[name] = (key, name, value)
    return list(found.values())


@dataclass(frozen=True)
class FieldPlan:
    """How one field is decoded: attribute, decoder, whether a later document adds to it (maps) or into it (messages)."""

    attribute: str
    decode: Decoder
    message: "StructDecoder | None"
    is_merged_map: bool


class StructDecoder:
    """Decodes mappings to one struct type; `base`: an instance whose values stand where the document is silent."""

    _made: ClassVar[dict[type, "StructDecoder"]] = {}

    def __init__(self, kind: type[Spec]) -> None:
        self.kind = kind
        self._fields: dict[str, FieldPlan] | None = None

    @classmethod
    def of(cls, kind: type[Spec]) -> "StructDecoder":
        """The one decoder of a type."""
        if kind not in cls._made:
            cls._made[kind] = cls(kind)
        return cls._made[kind]

    @property
    def fields(self) -> dict[str, FieldPlan]:
        """YAML name → plan."""
        if self._fields is None:
            hints = get_type_hints(self.kind, include_extras=True)
            merged: frozenset[str] = getattr(self.kind, "MERGED_MAPS", frozenset())
            self._fields = {
                item.encode_name: FieldPlan(item.name, decoder(hints[item.name]), _message(hints[item.name]), item.name in merged)
                for item in msgspec.structs.fields(self.kind)
            }
        return self._fields

    def __call__(self, walk: Walk, node: Node, path: Path) -> Any:
        """The struct. (Any: of `self.kind`, known at run time only.)"""
        return self.onto(walk, node, path, None)

    def onto(self, walk: Walk, node: Node, path: Path | None, base: Spec | None) -> Any:
        """The struct, silent fields from `base`. (Any: as above.)"""
        if not isinstance(node, MappingNode):
            if _value(node) is not None or isinstance(node, SequenceNode):
                walk.add(node, path, codes.WRONG_TYPE, f"expected an object, got {_seen(node)}")
            return base or self.kind()
        values: dict[str, Any] = {}
        present: dict[str, Node] = {}
        for key, name, value in _entries(walk, node, (path, "")):
            walk.spend()
            plan = self._plan(walk, key, name, path)
            if plan is None or (isinstance(value, ScalarNode) and scalar(value) is None):
                continue
            present[self.kind.ALIASES.get(name, name)] = key
            here: Path = (path, f".{name}")
            before = getattr(base, plan.attribute) if base is not None else None
            if plan.message is not None and before is not None and not before.IS_REPLACED_WHOLE:
                values[plan.attribute] = plan.message.onto(walk, value, here, before)
            elif plan.is_merged_map and before is not None:
                values[plan.attribute] = Map({**before, **plan.decode(walk, value, here)})
            else:
                values[plan.attribute] = plan.decode(walk, value, here)
        check_presence(walk, node, path, self.kind, present)
        return self.kind(**values) if base is None else msgspec.structs.replace(base, **values)

    def _plan(self, walk: Walk, key: Node, name: str, path: Path | None) -> FieldPlan | None:
        fields = self.fields
        plan = fields.get(name) or fields.get(self.kind.ALIASES.get(name, ""))
        if plan is None and walk.takes_proto_names:
            plan = next((item for item in fields.values() if item.attribute == name), None)
        if plan is None:
            severity = Severity.ERROR if walk.is_strict else Severity.WARNING
            hint = nearest(name, fields)
            walk.add(key, (path, f".{name}"), codes.UNKNOWN_FIELD, f"unknown field: `{name}`", hint, severity)
        return plan


def check_presence(walk: Walk, node: Node, path: Path | None, kind: type[Spec], present: Mapping[str, Node]) -> None:
    """Findings for required fields that are missing and exclusive ones that are both there. `present`: name → its key."""
    for name in kind.REQUIRED:
        if name not in present:
            walk.add(node, (path, f".{name}"), codes.MISSING_FIELD, f"missing field: `{name}`")
    for group in kind.ONE_OF:
        said = [name for name in present if name in group]
        if len(said) > 1:
            walk.add(present[said[1]], (path, f".{said[1]}"), codes.EXCLUSIVE, f"either {' or '.join(said)}")


def _message(hint: Any) -> StructDecoder | None:
    """The struct decoder of a field that is one message (or None); else None. (Any: a type hint.)"""
    kinds = [item for item in (get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)) if item is not type(None)]
    if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], Spec):
        return StructDecoder.of(kinds[0])
    return None


_SCALARS: dict[object, Decoder] = {
    str: _text,
    bool: _boolean,
    float: _number,
    int: _integer(-(2**63), 2**63 - 1),
    Duration: _duration,
    Json: _json,
    Secret: _secret,
}


def _limited(kind: Any, limits: msgspec.Meta) -> Decoder:
    """The decoder of a type with bounds: of numbers, of the length of texts and lists, of a text's form. (Any: a type hint.)"""
    low, high = (limits.ge, limits.le)
    if kind is int:
        return _integer(int(low) if low is not None else -(2**63), int(high) if high is not None else 2**63 - 1)
    inner = decoder(kind)
    form = re.compile(limits.pattern) if limits.pattern is not None else None

    def decode(walk: Walk, node: Node, path: Path) -> Any:
        count = len(walk.findings)
        value = inner(walk, node, path)
        if len(walk.findings) != count:
            return value
        if (low is not None and value < low) or (high is not None and value > high):
            walk.add(node, path, codes.WRONG_TYPE, f"must be between {low} and {high}: {value:g}")
        elif limits.min_length is not None and len(value) < limits.min_length:
            walk.add(node, path, codes.WRONG_TYPE, "must not be empty" if limits.min_length == 1 else f"needs at least {limits.min_length}")
        elif limits.max_length is not None and len(value) > limits.max_length:
            walk.add(node, path, codes.WRONG_TYPE, f"longer than {limits.max_length}: {len(value)}")
        elif form is not None and form.search(value) is None:
            walk.add(node, path, codes.WRONG_TYPE, f"must have the form {form.pattern}: `{value}`")
        return value

    return decode


def decoder(hint: Any) -> Decoder:
    """The decoder of a field's type. (Any: a type hint.) Raises TypeError for a type no field may have."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, args = get_origin(hint), get_args(hint)
    if hasattr(hint, "__metadata__"):
        return _limited(hint.__origin__, hint.__metadata__[0])
    if origin in (Union, types.UnionType):
        kinds = tuple(item for item in args if item is not type(None))
        return decoder(kinds[0]) if len(kinds) == 1 else _union(kinds)
    if origin is tuple:
        return _list(decoder(args[0]))
    if origin is Map:
        return _map(decoder(args[0]))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum(hint)
    if isinstance(hint, type) and issubclass(hint, Spec):
        return StructDecoder.of(hint)
    raise TypeError(f"no decoder for {hint!r}")


def is_base64(value: str) -> bool:
    """Whether `value` is standard base64, white space aside."""
    try:
        base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
