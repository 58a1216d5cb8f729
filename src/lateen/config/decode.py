"""YAML text → typed objects, with a finding for every mistake and a side table of places.

Called by `sources`. Pure: the text is given. What Istio's rules say beyond types and fields is `config.validate`'s; defaults are `config.defaults`'s.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lateen.base.findings import Finding, Place, Severity
from lateen.base.names import ObjectRef
from lateen.config import codes
from lateen.config.documents import Broken, key_text, pairs, scalar, stream
from lateen.config.kinds.objects import Meta, Object
from lateen.config.places import Origin, Places
from lateen.config.registry import BY_NAME, IGNORED, is_strict
from lateen.config.walk import MAX_VISITS_PER_CHARACTER, Path, StructDecoder, TooLarge, Walk, check_presence, nearest

DEFAULT_NAMESPACE = "default"
"""Where a namespaced object without a namespace goes. Source: kubectl."""
_IGNORED_META = frozenset({"resourceVersion", "managedFields", "selfLink", "finalizers", "deletionGracePeriodSeconds", "clusterName"})
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True)
class Decoded:
    """What a text says."""

    objects: tuple[Object, ...] = ()
    """The good ones, in the text's order; each object once."""
    findings: tuple[Finding, ...] = ()
    places: Places = field(default_factory=Places)
    refused: frozenset[ObjectRef] = frozenset()
    """Objects that the text names and that are no good: their last good revision stays in force."""
    is_broken: bool = False
    """The text ended in a syntax error: what it would have said after that is unknown, so nothing it held before is gone."""


def ref_of(item: Object) -> ObjectRef:
    """An object's key: the Python class names the kind, because two API groups have a `Gateway`."""
    return ObjectRef(type(item).__name__, item.meta.namespace, item.meta.name)


def decode(text: str, source: str) -> Decoded:
    """All objects of a text, several documents or `List`s. `source`: what findings call it (a file's path, `-`). Never raises for what the text holds."""
    found = _Found(source)
    lines = text.splitlines(keepends=True)
    budget = MAX_VISITS_PER_CHARACTER * len(text) + 10_000
    broken = None
    for item, end in _with_ends(stream(text), len(lines)):
        if isinstance(item, Broken):
            broken = item
            break
        start = item.start_mark.line
        walk = Walk(source, budget=budget)
        origin = Origin(source, "".join(lines[start:end]), start + 1)
        try:
            _document(walk, item, origin, found)
        except (TooLarge, RecursionError):
            walk.add(item, None, codes.SYNTAX, "aliases make this document too large", "write it out instead")
            if walk.object is not None:
                found.refused.add(walk.object)
        budget = walk.budget
        found.findings += walk.findings
    if broken is not None:
        found.findings.append(_syntax(broken, source))
    objects = {ref: item for ref, item in found.objects.items() if ref not in found.refused}
    return Decoded(tuple(objects.values()), tuple(found.findings), Places(found.origins), frozenset(found.refused), broken is not None)


def _with_ends(items: Iterator[Node | Broken], last: int) -> Iterator[tuple[Node | Broken, int]]:
    """Each document with the line at which the next one begins."""
    held: Node | Broken | None = None
    for item in items:
        if held is not None:
            yield held, last if isinstance(item, Broken) else item.start_mark.line
        held = item
    if held is not None:
        yield held, last


@dataclass
class _Found:
    source: str
    objects: dict[ObjectRef, Object] = field(default_factory=dict)
    origins: dict[ObjectRef, Origin] = field(default_factory=dict)
    refused: set[ObjectRef] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)


def _syntax(broken: Broken, source: str) -> Finding:
    place = Place(source, broken.line, broken.column)
    return Finding(codes.SYNTAX, Severity.ERROR, f"not YAML: {broken.reason}", None, "", broken.hint, place)


def _document(walk: Walk, node: Node, origin: Origin, found: _Found) -> None:
    """One object, or a list's items."""
    walk.object = None
    if not isinstance(node, MappingNode):
        walk.add(node, None, codes.ENVELOPE, "expected an object with apiVersion and kind")
        return
    head = {key_text(key): value for key, value in pairs(node)}
    kind_node, version_node = head.get("kind"), head.get("apiVersion")
    kind, version = _word(kind_node), _word(version_node)
    items = head.get("items")
    if kind.endswith("List") and isinstance(items, SequenceNode):
        for index, item in enumerate(items.value):
            _document(walk, item, Origin(origin.source, origin.text, origin.line, f"items[{index}]"), found)
        return
    if not kind or not version:
        missing = " and ".join(name for name, value in (("apiVersion", version), ("kind", kind)) if not value)
        walk.add(node, None, codes.ENVELOPE, f"missing {missing}")
        return
    found_kind = _kind(walk, kind_node or node, version_node or node, kind, version)
    if found_kind is not None:
        _object(walk, node, found_kind, origin, found)


def _word(node: Node | None) -> str:
    value = scalar(node) if isinstance(node, ScalarNode) else None
    return value if isinstance(value, str) else ""


def _kind(walk: Walk, kind_node: Node, version_node: Node, kind: str, api_version: str) -> type[Object] | None:
    """The type a document names; None, with a finding, if there is none."""
    group, _, version = api_version.rpartition("/")
    found = BY_NAME.get((group, kind))
    if found is not None:
        if version in found.versions:
            return found
        served = ", ".join(f"{group}/{item}" if group else item for item in found.versions)
        walk.add(version_node, (None, "apiVersion"), codes.UNKNOWN_KIND, f"`{kind}` has no version `{version}`", f"served: {served}")
        return None
    elsewhere = [item for (_, name), item in BY_NAME.items() if name == kind]
    groups = {group for group, _ in BY_NAME}
    if elsewhere and (group not in groups or _is_close(group, elsewhere[0].group)):
        hint = f"did you mean `{elsewhere[0].api_version()}`?"
        walk.add(version_node, (None, "apiVersion"), codes.UNKNOWN_KIND, f"`{kind}` is not in `{api_version}`", hint)
        return None
    hint = nearest(kind, [name for (other, name) in BY_NAME if other == group] or [name for _, name in BY_NAME])
    if kind in IGNORED:
        walk.add(kind_node, (None, "kind"), codes.IGNORED_KIND, f"the mesh leaves this kind alone: `{kind}`", "", Severity.INFO)
    elif group.endswith("istio.io") or (hint and group in groups):
        walk.add(kind_node, (None, "kind"), codes.UNKNOWN_KIND, f"no such kind: `{kind}` in `{api_version}`", hint)
    else:
        message = f"unknown kind, left alone: `{kind}` of `{api_version}`"
        walk.add(kind_node, (None, "kind"), codes.IGNORED_KIND, message, hint, Severity.WARNING)
    return None


def _is_close(group: str, other: str) -> bool:
    return bool(nearest(group, [other])) or group == ""


def _object(walk: Walk, node: MappingNode, kind: type[Object], origin: Origin, found: _Found) -> None:
    before = len(walk.findings)
    meta, ref = _metadata(walk, node, kind)
    walk.object = ref
    walk.is_strict = is_strict(kind)
    values: dict[str, object] = {"meta": meta}
    present: dict[str, Node] = {}
    fields = StructDecoder.of(kind).fields
    for key, name, value in _top(walk, node):
        if name in ("apiVersion", "kind", "metadata"):
            continue
        plan = fields.get(name)
        if plan is None:
            if name != "status":
                severity = Severity.ERROR if walk.is_strict else Severity.WARNING
                walk.add(key, (None, name), codes.UNKNOWN_FIELD, f"unknown field: `{name}`", nearest(name, fields), severity)
        elif not (isinstance(value, ScalarNode) and scalar(value) is None):
            present[name] = key
            values[plan.attribute] = plan.decode(walk, value, (None, name))
    check_presence(walk, node, None, kind, present)
    added = [
        item if item.object else Finding(item.code, item.severity, item.message, ref, item.field, item.hint, item.place) for item in walk.findings[before:]
    ]
    walk.findings[before:] = added
    if ref is None:
        return
    if ref in found.objects:
        hint = f"the first is at {found.source}:{found.origins[ref].line}; it counts"
        walk.add(node, None, codes.DUPLICATE_OBJECT, "an object of this kind and name is here twice", hint)
        return
    found.origins[ref] = origin
    if any(item.severity is Severity.ERROR for item in added):
        found.refused.add(ref)
    else:
        found.objects[ref] = kind(**values)  # type: ignore[arg-type]  # each by its field's decoder


def _top(walk: Walk, node: MappingNode) -> Iterator[tuple[Node, str, Node]]:
    seen: set[str] = set()
    for key, value in pairs(node):
        name = key_text(key) or ""
        if name in seen:
            walk.add(key, (None, name), codes.DUPLICATE_KEY, f"key twice: `{name}`")
            continue
        seen.add(name)
        yield key, name, value


def _metadata(walk: Walk, node: MappingNode, kind: type[Object]) -> tuple[Meta, ObjectRef | None]:
    """The object's metadata and key; the key is None, with a finding, if it has no usable name."""
    head = {key_text(key): (key, value) for key, value in pairs(node)}
    key, inner = head.get("metadata", (node, node))
    meta = Meta()
    name_node: Node = node
    if inner is not node:
        meta, name_node = _decoded_meta(walk, inner)
    name, namespace = meta.name or (f"{meta.generate_name}0" if meta.generate_name else ""), meta.namespace
    if not name:
        walk.add(name_node if inner is not node else key, (None, "metadata.name"), codes.ENVELOPE, "missing metadata.name")
        return meta, None
    if kind.is_namespaced and not namespace:
        namespace = DEFAULT_NAMESPACE
    elif not kind.is_namespaced:
        namespace = ""
    ref = ObjectRef(kind.__name__, namespace, name)
    walk.object = ref
    for label, value, where in (("metadata.name", name, name_node), ("metadata.namespace", namespace, name_node)):
        if value and (len(value) > 253 or not _NAME.fullmatch(value)):
            walk.add(where, (None, label), codes.ENVELOPE, f"not a valid name: `{value}`", "lower-case letters, digits, `-` and `.`")
    values = {item: getattr(meta, item) for item in meta.__struct_fields__}
    return Meta(**{**values, "name": name, "namespace": namespace}), ref


def _decoded_meta(walk: Walk, node: Node) -> tuple[Meta, Node]:
    """Metadata with times as seconds; unknown fields of it are warnings, bookkeeping is dropped."""
    if not isinstance(node, MappingNode):
        walk.add(node, (None, "metadata"), codes.WRONG_TYPE, "expected an object")
        return Meta(), node
    plans = StructDecoder.of(Meta).fields
    values: dict[str, object] = {}
    name_node: Node = node
    here: Path = (None, "metadata")
    for key, name, value in _top(walk, node):
        path: Path = (here, f".{name}")
        if isinstance(value, ScalarNode) and scalar(value) is None:
            continue
        if name in ("creationTimestamp", "deletionTimestamp"):
            values[plans[name].attribute] = _time(walk, value, path)
        elif name in plans:
            name_node = value if name == "name" else name_node
            values[plans[name].attribute] = plans[name].decode(walk, value, path)
        elif name not in _IGNORED_META:
            walk.add(key, path, codes.UNKNOWN_FIELD, f"unknown field: `{name}`", nearest(name, plans), Severity.WARNING)
    return Meta(**values), name_node  # type: ignore[arg-type]  # each by its field's decoder


def _time(walk: Walk, node: Node, path: Path) -> float | None:
    value = node.value if isinstance(node, ScalarNode) else ""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        walk.add(node, path, codes.WRONG_TYPE, f"not a time: `{value}`", "write for instance 2026-01-31T12:00:00Z")
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
