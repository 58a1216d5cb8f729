"""The constraints that Envoy's own descriptors carry (`validate.rules`), as functions. Called by `xds.check`.

What is looked at is compiled once for each message type, when the first message of it comes, from the descriptors that the messages were generated from: a
newer Envoy brings its own. Source: protoc-gen-validate, validate.proto; Envoy applies it to every resource, and to every packed configuration in it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, cast

import re2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from lateen.wire.pb import pool
from lateen.wire.pb.google.protobuf import descriptor_pb2
from lateen.wire.pb.validate import validate_pb2

Test = Callable[[Any], str]
"""Of one value of a message (Any: of a number, a text, a message …): what is wrong with it, after where within it; empty: nothing."""
Rules = Any  # one message of validate_pb2; each reader knows which.
Extra = Mapping[str, Test]
"""Full name of a message type → what else must be true of it."""

_BARE = frozenset({"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Empty", "google.protobuf.Timestamp"})
"""Types that carry data and nothing to check."""
_WRAPPER = "google.protobuf."
_PACKED = "google.protobuf.Any"
_FEW = 9
_REMEMBERED = 1024
"""Packed configurations whose verdict is remembered: those of listeners and clusters are few and equal."""
_FIRST_PARTS, _MOSTLY, _MOST_PARTS, _NEVER = 24, 6, 256, -1
"""Different parts of one field after which it shows whether they are mostly known; how many times as often; the most that are remembered; not at all."""
_HEADER_NAME = re.compile(r":?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0A-\x1F\x7F]*")
_ANY_HEADER = re.compile(r"[^\x00\x0A\x0D]*")
"""Of whole texts; fixed and simple, so that Python's own, ten times as fast as RE2 when called from here, does."""


class Constraints:
    """The compiled constraints. `extra`: rules beside those of the descriptors."""

    def __init__(self, extra: Extra) -> None:
        self._extra = extra
        self._compiled: dict[str, Test] = {}
        self._is_bare = cache(self._no_rules_below)
        self._packed = lru_cache(_REMEMBERED)(self._unpacked)

    def problem(self, message: Message) -> str:
        """The first thing that Envoy would refuse, with its place: `routes[0].match: why`. Empty: nothing."""
        return self._of(_type_of(message))(message).lstrip(".: ")

    def _of(self, type_: Descriptor) -> Test:
        found = self._compiled.get(type_.full_name)
        if found is None:
            found = self._compiled[type_.full_name] = self._compile(type_)
        return found

    def _compile(self, type_: Descriptor) -> Test:
        extra = self._extra.get(type_.full_name)
        if _is_unchecked(type_):
            return extra or _nothing
        always: list[tuple[str, Test]] = []
        full: dict[int, tuple[str, Test]] = {}
        set_: dict[int, tuple[str, Test]] = {}
        required: list[str] = []
        for field in type_.fields:
            rules = _rules(field)
            if _is_required(rules) and field.containing_oneof is None:
                required.append(field.name)
            test = self._field(field, rules)
            if test is None:
                continue
            if field.has_presence:
                set_[field.number] = (field.name, test)
            else:
                if test(getattr(GetMessageClass(type_)(), field.name)):
                    always.append((field.name, test))
                else:
                    full[field.number] = (field.name, test)
        choices = [one.name for one in type_.oneofs if _is_choice(one)]
        return _walk(_Fields(always, full, set_), required, choices, extra)

    def _field(self, field: FieldDescriptor, rules: Rules) -> Test | None:
        """None: nothing is to be looked at."""
        kind = rules.WhichOneof("type")
        if is_repeated(field):
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                return self._map(field, rules.map)
            return self._list(field, rules.repeated)
        return self._one(field, rules if kind else None, rules.message.skip)

    def _one(self, field: FieldDescriptor, rules: Rules | None, is_skipped: bool = False) -> Test | None:
        kind = rules.WhichOneof("type") if rules is not None else None
        own = _scalar(kind, getattr(rules, kind), field) if kind and kind not in ("message", "repeated", "map") else None
        inner = field.message_type
        if inner is None:
            return own
        name = inner.full_name
        if name.startswith(_WRAPPER) and name.endswith("Value") and name not in _BARE:
            return (lambda value: own(value.value)) if own is not None else None
        if is_skipped:
            return None
        if name == _PACKED:
            return _both(own, lambda value: self._packed(value.type_url, value.value))
        if self._is_bare(inner):
            return own
        return _both(own, self._nested(inner))

    def _nested(self, type_: Descriptor) -> Test:
        """Compiled when the first one comes: types contain themselves. Most parts of a configuration are equal in every resource that has them: their
        verdicts are remembered by their bytes, for as long as the next one is mostly known."""
        inner: Test | None = None
        verdicts: dict[bytes, str] = {}
        known = 0

        def test(value: Any) -> str:
            nonlocal inner, known
            if inner is None:
                inner = self._of(type_)
                if inner is self._extra.get(type_.full_name):
                    known = _NEVER
            if known <= _NEVER:
                return inner(value)
            body = value.SerializeToString()
            why = verdicts.get(body)
            if why is not None:
                known += 1
                return why
            if len(verdicts) >= _FIRST_PARTS and known < _MOSTLY * len(verdicts):
                known = _NEVER
                verdicts.clear()
            elif len(verdicts) < _MOST_PARTS:
                verdicts[body] = inner(value)
                return verdicts[body]
            return inner(value)

        return test

    def _list(self, field: FieldDescriptor, rules: Rules) -> Test | None:
        has_items = rules.HasField("items")
        each = self._one(field, rules.items if has_items else None, has_items and rules.items.message.skip)
        least, most, is_unique = rules.min_items, rules.max_items or None, rules.unique
        if each is None and not least and most is None and not is_unique:
            return None

        def test(values: Any) -> str:
            count = len(values)
            if count < least and not (rules.ignore_empty and not count):
                return f": {count} of at least {least}"
            if most is not None and count > most:
                return f": {count} of at most {most}"
            if is_unique and len({one.SerializeToString(deterministic=True) if isinstance(one, Message) else one for one in values}) < count:
                return ": the same twice"
            if each is not None:
                for index, value in enumerate(values):
                    if why := each(value):
                        return f"[{index}]{why}"
            return ""

        return test

    def _map(self, field: FieldDescriptor, rules: Rules) -> Test | None:
        entry = field.message_type
        assert entry is not None  # a map's type is its entry
        key = self._one(entry.fields_by_name["key"], rules.keys if rules.HasField("keys") else None)
        value = self._one(entry.fields_by_name["value"], rules.values if rules.HasField("values") else None)
        least, most = rules.min_pairs, rules.max_pairs or None
        if key is None and value is None and not least and most is None:
            return None

        def test(pairs: Any) -> str:
            if len(pairs) < least or (most is not None and len(pairs) > most):
                return f": {len(pairs)} entries"
            for name in pairs:
                if why := (key(name) if key is not None else "") or (value(pairs[name]) if value is not None else ""):
                    return f"[{name!r}]{why}"
            return ""

        return test

    def _unpacked(self, url: str, body: bytes) -> str:
        """A packed configuration. One of a type that no descriptor here knows is left to Envoy."""
        try:
            message = GetMessageClass(pool.Default().FindMessageTypeByName(url.rpartition("/")[2])).FromString(body)
        except KeyError:
            return ""
        except DecodeError:
            return ": not a message of its type"
        return self._of(_type_of(message))(message)

    def _no_rules_below(self, type_: Descriptor) -> bool:
        """Whether nothing in a type, however deep, is to be looked at."""
        seen, left = {type_.full_name}, [type_]
        while left:
            one = left.pop()
            if one.full_name in _BARE:
                continue
            if one.full_name in self._extra or one.full_name == _PACKED or any(_is_choice(item) for item in one.oneofs):
                return False
            for field in one.fields:
                if _rules(field).ByteSize():
                    return False
                if field.message_type is not None and field.message_type.full_name not in seen:
                    seen.add(field.message_type.full_name)
                    left.append(field.message_type)
        return True


def _rules(field: FieldDescriptor) -> Rules:
    """The rules of a field. Options are of the public messages, which don't know our extensions: they are read again as ours."""
    return descriptor_pb2.FieldOptions.FromString(field.GetOptions().SerializeToString()).Extensions[validate_pb2.rules]


def _is_choice(oneof: OneofDescriptor) -> bool:
    """Whether one of them must be set."""
    return bool(descriptor_pb2.OneofOptions.FromString(oneof.GetOptions().SerializeToString()).Extensions[validate_pb2.required])


def _is_unchecked(type_: Descriptor) -> bool:
    options = descriptor_pb2.MessageOptions.FromString(type_.GetOptions().SerializeToString())
    return bool(options.Extensions[validate_pb2.disabled] or options.Extensions[validate_pb2.ignored])


def _type_of(message: Message) -> Descriptor:
    return cast(Descriptor, message.DESCRIPTOR)


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether a field is a list or a map."""
    return bool(field.is_repeated)


def _nothing(_: Any) -> str:
    return ""


@dataclass(frozen=True)
class _Fields:
    """The tests of a message's fields, by number. `always`: of those that have to say something; `full`: of numbers, texts and lists that may be empty; `set`:
    of those that count only where they are."""

    always: list[tuple[str, Test]]
    full: dict[int, tuple[str, Test]]
    set: dict[int, tuple[str, Test]]


def _walk(fields: _Fields, required: list[str], choices: list[str], extra: Test | None) -> Test:
    """The test of one message type."""
    if not (fields.always or fields.full or fields.set or required or choices):
        return extra or _nothing
    look = _look_at_each(fields) if len(fields.full) + len(fields.set) <= _FEW else _look_at_set(fields)
    if not (required or choices or extra):
        return look

    def test(message: Any) -> str:
        for name in required:
            if not message.HasField(name):
                return f".{name}: missing"
        for name in choices:
            if message.WhichOneof(name) is None:
                return f".{name}: missing"
        why = look(message)
        return extra(message) if extra is not None and not why else why

    return test


def _look_at_each(fields: _Fields) -> Test:
    """Asks for each field: where few count, faster than asking which are set."""
    always, full, present = tuple(fields.always), tuple(fields.full.values()), tuple(fields.set.values())

    def test(message: Any) -> str:
        for name, one in always:
            if why := one(getattr(message, name)):
                return f".{name}{why}"
        for name, one in full:
            if (value := getattr(message, name)) and (why := one(value)):
                return f".{name}{why}"
        for name, one in present:
            if message.HasField(name) and (why := one(getattr(message, name))):
                return f".{name}{why}"
        return ""

    return test


def _look_at_set(fields: _Fields) -> Test:
    always, set_ = tuple(fields.always), fields.full | fields.set

    def test(message: Any) -> str:
        for name, one in always:
            if why := one(getattr(message, name)):
                return f".{name}{why}"
        for field, value in message.ListFields():
            found = set_.get(field.number)
            if found is not None and (why := found[1](value)):
                return f".{found[0]}{why}"
        return ""

    return test


def _both(first: Test | None, second: Test) -> Test:
    if first is None:
        return second
    return lambda value: first(value) or second(value)


def _is_required(rules: Rules) -> bool:
    kind = rules.WhichOneof("type")
    return bool(rules.message.required or (kind in ("any", "duration", "timestamp") and getattr(rules, kind).required))


def _scalar(kind: str, rules: Rules, field: FieldDescriptor) -> Test | None:
    match kind:
        case "string" | "bytes":
            tests = list(_text(rules, is_text=kind == "string"))
        case "enum":
            known = frozenset(one.number for one in field.enum_type.values) if field.enum_type is not None and rules.defined_only else None
            tests = [_refuses(lambda value: value not in known, "no such value")] if known is not None else []
            tests += _listed(rules)
        case "bool":
            tests = [_refuses(lambda value: value != rules.const, f"must be {rules.const}")] if rules.HasField("const") else []
        case "duration":
            tests = _compared(rules, _nanoseconds) + _listed(rules, _nanoseconds)
        case "any":
            allowed, banned = frozenset(getattr(rules, "in")), frozenset(rules.not_in)
            tests = [_refuses(lambda value: value.type_url not in allowed, "no such type")] if allowed else []
            tests += [_refuses(lambda value: value.type_url in banned, "no such type")] if banned else []
        case "timestamp":
            tests = []
        case _:
            tests = _compared(rules) + _listed(rules)
    if not tests:
        return None
    together = tests[0] if len(tests) == 1 else lambda value: next((why for one in tests if (why := one(value))), "")
    return (lambda value: together(value) if value else "") if getattr(rules, "ignore_empty", False) else together


def _refuses(is_bad: Callable[[Any], bool], why: str) -> Test:
    text = f": {why}"
    return lambda value: text if is_bad(value) else ""


def _same(value: Any) -> Any:
    return value


def _nanoseconds(value: Any) -> int:
    return int(value.seconds) * 10**9 + int(value.nanos)


def _compared(rules: Rules, number: Callable[[Any], Any] = _same) -> list[Test]:
    """Bounds. Where the upper one is below the lower one, what lies between is refused."""
    lower = next(((number(getattr(rules, name)), name == "gt") for name in ("gt", "gte") if rules.HasField(name)), None)
    upper = next(((number(getattr(rules, name)), name == "lt") for name in ("lt", "lte") if rules.HasField(name)), None)
    tests = []
    if rules.HasField("const"):
        only = number(rules.const)
        tests.append(_refuses(lambda value: number(value) != only, f"must be {only}"))

    def is_low(value: Any) -> bool:
        return lower is not None and (value <= lower[0] if lower[1] else value < lower[0])

    def is_high(value: Any) -> bool:
        return upper is not None and (value >= upper[0] if upper[1] else value > upper[0])

    if lower is not None and upper is not None and upper[0] < lower[0]:
        tests.append(_refuses(lambda value: is_low(number(value)) and is_high(number(value)), "out of range"))
    elif lower is not None or upper is not None:
        least = f" {'above' if lower[1] else 'at least'} {lower[0]}" if lower is not None else ""
        most = f" {'below' if upper[1] else 'at most'} {upper[0]}" if upper is not None else ""
        tests.append(_refuses(lambda value: is_low(number(value)) or is_high(number(value)), f"must be{' and'.join(one for one in (least, most) if one)}"))
    return tests


def _listed(rules: Rules, number: Callable[[Any], Any] = _same) -> list[Test]:
    allowed, banned = frozenset(map(number, getattr(rules, "in"))), frozenset(map(number, rules.not_in))
    tests = [_refuses(lambda value: number(value) not in allowed, "no such value")] if allowed else []
    return tests + ([_refuses(lambda value: number(value) in banned, "no such value")] if banned else [])


def _text(rules: Rules, *, is_text: bool) -> Iterable[Test]:
    """Of a text or of bytes."""
    if rules.HasField("const"):
        yield _refuses(lambda value: value != rules.const, f"must be {rules.const!r}")
    least, most = rules.min_len, rules.max_len or None
    if rules.len:
        least = most = rules.len
    if least or most is not None:
        yield _refuses(lambda value: len(value) < least or (most is not None and len(value) > most), f"its length must be {least} to {most or 'any'}")
    if is_text:
        low, high = (rules.len_bytes, rules.len_bytes) if rules.len_bytes else (rules.min_bytes, rules.max_bytes or None)
        if low or high is not None:
            yield _refuses(lambda value: not low <= len(value.encode()) <= (high or 1 << 62), f"its size must be {low} to {high or 'any'} bytes")
        form = _well_known(rules)
        if form is not None:
            yield _refuses(lambda value: form.fullmatch(value) is None, "characters that may not be in it")
        if rules.not_contains:
            yield _refuses(lambda value: rules.not_contains in value, f"must not hold {rules.not_contains!r}")
    if rules.pattern:
        compiled = re2.compile(rules.pattern)
        yield _refuses(lambda value: compiled.search(value) is None, "characters that may not be in it")
    if rules.prefix:
        yield _refuses(lambda value: not value.startswith(rules.prefix), f"must begin with {rules.prefix!r}")
    if rules.suffix:
        yield _refuses(lambda value: not value.endswith(rules.suffix), f"must end with {rules.suffix!r}")
    if rules.contains:
        yield _refuses(lambda value: rules.contains not in value, f"must hold {rules.contains!r}")
    yield from _listed(rules)


def _well_known(rules: Rules) -> re.Pattern[str] | None:
    """The form of a header's name or value. (Of `ip`, `hostname` and the like Envoy's descriptors have none.)"""
    if rules.well_known_regex == validate_pb2.UNKNOWN:
        return None
    if rules.HasField("strict") and not rules.strict:
        return _ANY_HEADER
    return _HEADER_NAME if rules.well_known_regex == validate_pb2.HTTP_HEADER_NAME else _HEADER_VALUE
