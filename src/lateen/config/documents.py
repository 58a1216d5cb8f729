"""YAML text → node trees with positions, bounded before anything recursive sees them. JSON is YAML.

Used by `config.decode` and `config.places`. Scalars mean what Kubernetes' YAML makes of them (YAML 1.1 without base-60 numbers and without dates).
Hostile text (size, nesting, aliases) ends in a `Broken`, never in a crash or a long wait.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # a PyYAML without libyaml: slower, same results
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_SIZE_BYTES = 32 * 2**20
"""Of one text. An object in a cluster is at most 1.5 MB."""
MAX_DEPTH = 100
"""Nested collections. The deepest real document we know (a CRD) has about 40; C stacks end at some 40 000."""

MAX_REPAIRS = 100
"""Words in one text that are quoted on the reader's behalf."""

_FLOW_WORD = re.compile(r"[^\s,\[\]{}]*")
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset({"yes", "true", "on"})


@dataclass(frozen=True)
class Broken:
    """Why a text (or its rest) is no YAML. Lines and columns count from 1."""

    reason: str
    line: int
    column: int
    hint: str = ""


def documents(text: str) -> tuple[list[Node], Broken | None]:
    """The documents of a text, empty ones left out, and what broke it, if anything; documents before the breakage are kept."""
    found: list[Node] = []
    for item in stream(text):
        if isinstance(item, Broken):
            return found, item
        found.append(item)
    return found, None


def stream(text: str) -> Iterator[Node | Broken]:
    """The same one by one; what broke the text comes last. A node tree is a hundred times the size of its text: of a large file there is one at a time."""
    broken = Broken(f"larger than {MAX_SIZE_BYTES >> 20} MiB", 0, 0) if len(text) > MAX_SIZE_BYTES else _too_deep(text)
    if broken is not None:
        yield broken
        return
    given = 0
    for repairs in range(MAX_REPAIRS + 1):
        try:
            for number, node in enumerate(_composed(text)):
                if number >= given:
                    given += 1
                    yield node
            return
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a character no YAML may hold
            repaired = _with_quotes(text, error) if repairs < MAX_REPAIRS else None
            if repaired is None:
                yield _broken(error)
                return
            text = repaired  # the documents before are the same again


def _composed(text: str) -> Iterator[Node]:
    loader = Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None and not (isinstance(node, ScalarNode) and scalar(node) is None):
                yield node
    finally:
        loader.dispose()


def _with_quotes(text: str, error: Exception) -> str | None:
    """The text with quotes around a plain word in brackets that ends in a colon (`[2001:db8::]`): Kubernetes' parser takes it, libyaml does not.

    None: the error is another one.
    """
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem != "found unexpected ':'" or error.context_mark is None:
        return None
    start = error.context_mark.index
    end = start + len(_FLOW_WORD.match(text, start).group())  # type: ignore[union-attr]  # matches at least nothing
    word = text[start:end]
    return None if not word or '"' in word or "\\" in word else f'{text[:start]}"{word}"{text[end:]}'


def _too_deep(text: str) -> Broken | None:
    """Bounds nesting without recursion. Texts that cannot nest deeply (few brackets, no runs of dashes) are not looked at further."""
    if text.count("[") + text.count("{") < MAX_DEPTH and not _may_nest_in_blocks(text):
        return None
    depth = 0
    try:
        for event in yaml.parse(text, Loader=Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    mark = event.start_mark
                    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
                    return Broken(f"nested more than {MAX_DEPTH} deep", line, column)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except (yaml.YAMLError, ValueError):
        return None  # composing finds the same error again, after the documents before it
    return None


_DEEP_LINE = re.compile(r"^(?:[ \t]{50}|[ \t]*(?:[-?:][ \t]+){8})", re.MULTILINE)


def _may_nest_in_blocks(text: str) -> bool:
    """Block nesting costs at least one column a level, or a dash: so it shows at the start of some line."""
    return _DEEP_LINE.search(text) is not None


def _broken(error: Exception) -> Broken:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Broken((str(error).splitlines() or ["unreadable"])[0], 0, 0)
    mark = error.problem_mark or error.context_mark
    reason = " ".join(part for part in (error.problem, error.context) if part) or "not YAML"
    hint = "indent with spaces" if "cannot start any token" in reason and "\\t" in reason else ""
    return Broken(reason, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0, hint)


@lru_cache(maxsize=4096)
def _plain(tag: str, text: str) -> bool | int | float | str | None:
    kind = tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _TRUE
    if kind == "int" and ":" not in text:
        return _integer(text)
    if kind == "float" and ":" not in text:
        return _float(text)
    if kind == "str" and text and text[-1].isdigit() and _EXPONENT.fullmatch(text):
        return float(text)
    return text


def _integer(text: str) -> int | str:
    digits = text.replace("_", "").lower()
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits.removeprefix("+"))
    try:
        if digits.startswith("0x"):
            return sign * int(digits[2:], 16)
        if digits.startswith("0b"):
            return sign * int(digits[2:], 2)
        if digits.startswith("0") and len(digits) > 1:
            return sign * int(digits.removeprefix("0o"), 8)
        return sign * int(digits)
    except ValueError:  # 089, or more digits than Python converts
        return text


def _float(text: str) -> float | str:
    try:
        return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text


def scalar(node: ScalarNode) -> bool | int | float | str | None:
    """What a scalar means to Kubernetes: quoted text is text; plain text may be a null, a boolean or a number."""
    text: str = node.value
    return text if node.style and node.tag == _TAG + "str" else _plain(node.tag, text)


def key_text(node: Node) -> str | None:
    """A mapping's key as JSON has it, a string. None: not a scalar."""
    if not isinstance(node, ScalarNode):
        return None
    value = scalar(node)
    if isinstance(value, str):
        return value
    if value is None:
        return "null" if node.value else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else node.value


def pairs(node: MappingNode) -> Iterator[tuple[Node, Node]]:
    """Keys and values, merge keys (`<<`) resolved: merged pairs come first, so that the mapping's own win."""
    own: list[tuple[Node, Node]] = []
    for key, value in node.value:
        if key.tag != _TAG + "merge":
            own.append((key, value))
            continue
        for source in value.value if isinstance(value, SequenceNode) else (value,):
            if isinstance(source, MappingNode) and source is not node:
                taken = {key_text(other) for other, _ in node.value}
                yield from (pair for pair in source.value if key_text(pair[0]) not in taken)
    yield from own


def plain(node: Node) -> object:
    """A node as dicts, lists and scalars. Only for nodes already bounded."""
    if isinstance(node, MappingNode):
        return {key_text(key) or "": plain(value) for key, value in pairs(node)}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    assert isinstance(node, ScalarNode)
    return scalar(node)
