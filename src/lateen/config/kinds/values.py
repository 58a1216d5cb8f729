"""Value types that kinds share: durations, frozen hashable maps, opaque JSON, integers with a proto's range.

Called by every kind and by `config.decode`; knows nothing of YAML or of places.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Generic, TypeVar, overload

import msgspec

V = TypeVar("V")
D = TypeVar("D")

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""A proto's int32 (or Int32Value)."""
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
"""A proto's uint32 (or UInt32Value)."""
UInt64 = Annotated[int, msgspec.Meta(ge=0, le=2**64 - 1)]
"""A proto's uint64 (or UInt64Value)."""

_UNIT_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_MAX_NS = 2**63 - 1


class Duration(float):
    """Seconds, written as Go writes durations (`1h30m`, `250ms`). 0.0 is a duration; an absent one is None in its field.

    Source: Istio decodes durations with Go's time.ParseDuration.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """The duration that `text` spells. Raises ValueError, with the reason, if it spells none."""
        sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
        if rest == "0":
            return cls(0.0)
        total_ns, at = 0, 0
        for part in _PART.finditer(rest):
            if part.start() != at:
                break
            number, unit = part.groups()
            whole, _, fraction = number.partition(".")
            total_ns += int(whole or 0) * _UNIT_NS[unit]
            total_ns += int(fraction or 0) * _UNIT_NS[unit] // 10 ** len(fraction)
            at = part.end()
        if at == 0 or at != len(rest):
            raise ValueError("not a duration; write for instance 250ms, 10s or 1m30s")
        if total_ns > _MAX_NS:
            raise ValueError("longer than 292 years")
        return cls(sign * total_ns / 10**9)

    @property
    def nanoseconds(self) -> int:
        """The whole number of nanoseconds."""
        return round(self * 10**9)

    def __str__(self) -> str:
        total = abs(self.nanoseconds)
        sign = "-" if self < 0 else ""
        if total % 1_000_000 == 0 and 0 < total < 10**9:
            return f"{sign}{total // 1_000_000}ms"
        seconds, fraction = divmod(total, 10**9)
        return f"{sign}{seconds}" + (f".{fraction:09d}".rstrip("0") if fraction else "") + "s"


class Map(Mapping[str, V], Generic[V]):
    """A frozen, hashable, ordered mapping from strings. Order is by key, so equal maps are equal in every respect."""

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[str, V] | Iterable[tuple[str, V]] = ()) -> None:
        pairs = dict(items)
        self._items: dict[str, V] = {key: pairs[key] for key in sorted(pairs)}
        self._hash: int | None = None

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    @overload
    def get(self, key: str, /) -> V | None: ...
    @overload
    def get(self, key: str, /, default: V | D) -> V | D: ...
    def get(self, key: str, /, default: Any = None) -> Any:
        """The value at `key`, else `default`. (Any: typeshed's own overloads, above, are what callers see.)"""
        return self._items.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(tuple(self._items.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Map):
            return self._items == other._items
        return self._items == other if isinstance(other, dict) else NotImplemented

    def __repr__(self) -> str:
        return f"Map({self._items!r})"

    def __reduce__(self) -> tuple[type, tuple[dict[str, V]]]:
        return Map, (self._items,)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether every pair of this one is in `labels`, as a label selector matches. An empty selector selects everything."""
        return all(labels.get(key) == value for key, value in self._items.items())


Labels = Map[str]
"""Labels, annotations, plain selectors."""


class Json:
    """A value of free form (a Wasm plugin's configuration, an EnvoyFilter's patch), frozen and hashable; `plain()` gives it back."""

    __slots__ = ("_frozen",)

    def __init__(self, value: object = None) -> None:
        self._frozen = _freeze(value)

    def plain(self) -> Any:
        """Dicts, lists and scalars, fresh at each call. (Any: the form is the user's.)"""
        return _thaw(self._frozen)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Json) and self._frozen == other._frozen

    def __hash__(self) -> int:
        return hash(self._frozen)

    def __repr__(self) -> str:
        return f"Json({self.plain()!r})"

    def __reduce__(self) -> tuple[type, tuple[object]]:
        return Json, (self.plain(),)


def _freeze(value: object) -> object:
    """Scalars carry their type, because 1, 1.0 and True are equal to Python but not on the wire."""
    if isinstance(value, Mapping):
        return Map({str(key): _freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    return _Scalar(type(value), value)


class _Scalar(msgspec.Struct, frozen=True, array_like=True):
    kind: type
    value: object


def _thaw(value: object) -> object:
    if isinstance(value, Map):
        return {key: _thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_thaw(item) for item in value]
    assert isinstance(value, _Scalar)
    return value.value
