"""The query engine: inputs, queries, recorded reads, early cutoff.

A query is a pure function `f(db, *args)` of hashable arguments with a frozen result. Calling it reads it: the read is recorded as a dependency of the query that runs, and the
result is kept until something it read has changed. An index is a query whose result is a mapping and which is read a key at a time (`f.at(db, key)`): only that key is the dependency.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
V = TypeVar("V")
K = TypeVar("K", bound=Hashable)

Node = tuple[Hashable, ...]
"""(query or input, arguments or key)."""


class Cycle(Exception):
    """A query reads itself. `chain`: the nodes from the first to the repeated one."""

    def __init__(self, chain: tuple[Node, ...]) -> None:
        super().__init__(" → ".join(str(node[0]) for node in chain))
        self.chain = chain


@dataclass
class _Memo:
    value: Any = None
    reads: dict[Node, None] = field(default_factory=dict)
    verified: int = -1
    changed: int = -1
    key_changed: dict[Hashable, int] = field(default_factory=dict)


class Db:
    """One set of inputs and the memoised queries over it. Not thread-safe."""

    def __init__(self) -> None:
        self.revision = 0
        self.runs: dict[str, int] = {}
        """How often each query ran, by name; a test clears it and asserts what re-ran."""
        self._inputs: dict[Node, tuple[Any, int]] = {}
        self._groups: dict[Node, dict[Hashable, None]] = {}
        self._group_changed: dict[Node, int] = {}
        self._memos: dict[Node, _Memo] = {}
        self._stack: list[tuple[Node, dict[Node, None]]] = []

    def record(self, node: Node) -> None:
        """Notes that the running query reads `node`."""
        if self._stack:
            self._stack[-1][1][node] = None

    def pull(self, node: Node) -> _Memo:
        """The up-to-date memo of a query node. Raises Cycle."""
        memo = self._memos.get(node)
        if memo is None:
            memo = self._memos[node] = _Memo()
        if memo.verified == self.revision and memo.changed >= 0:
            return memo
        if any(node == running for running, _ in self._stack):
            raise Cycle((*(running for running, _ in self._stack), node))
        if memo.changed < 0 or any(self._changed(read) > memo.verified for read in list(memo.reads)):
            self._run(node, memo)
        memo.verified = self.revision
        return memo

    def _changed(self, node: Node) -> int:
        source = node[0]
        if isinstance(source, Input):
            return self._inputs.get(node, (None, self._group_changed.get(node, 0)))[1]
        if isinstance(source, Index) and node[1] == "at":
            memo = self.pull((source, "all", node[2]))
            return memo.key_changed.get(node[3], 0)
        return self.pull(node).changed

    def _run(self, node: Node, memo: _Memo) -> None:
        reads: dict[Node, None] = {}
        self._stack.append((node, reads))
        try:
            source: Any = node[0]
            value = source.function(self, *node[2])  # type: ignore[misc]
        finally:
            self._stack.pop()
        self.runs[source.name] = self.runs.get(source.name, 0) + 1
        memo.reads = reads
        if isinstance(source, Index):
            old = memo.value or {}
            for key in old.keys() | value.keys():
                if old.get(key) != value.get(key):
                    memo.key_changed[key] = self.revision
        if memo.changed < 0 or memo.value != value:
            memo.value, memo.changed = value, self.revision


class Input(Generic[K, V]):
    """A table of inputs. `groups(key)`: the groups whose key sets `keys` can be asked for."""

    def __init__(self, name: str, groups: Callable[[K], Iterable[Hashable]] = lambda _: ((),)) -> None:
        self.name = name
        self.groups = groups

    def __str__(self) -> str:
        return self.name

    def set(self, db: Db, key: K, value: V) -> None:
        """Sets one input. An equal value changes nothing."""
        node: Node = (self, "at", key)
        old = db._inputs.get(node)
        if old is not None and old[0] is not None and old[0] == value:
            return
        db.revision += 1
        if old is None or old[0] is None:
            self._regroup(db, key, True)
        db._inputs[node] = (value, db.revision)

    def remove(self, db: Db, key: K) -> None:
        """Removes one input; none there is fine."""
        node: Node = (self, "at", key)
        old = db._inputs.get(node)
        if old is None or old[0] is None:
            return
        db.revision += 1
        self._regroup(db, key, False)
        db._inputs[node] = (None, db.revision)

    def _regroup(self, db: Db, key: K, is_in: bool) -> None:
        for group in self.groups(key):
            node: Node = (self, "keys", group)
            members = db._groups.setdefault(node, {})
            if is_in:
                members[key] = None
            else:
                members.pop(key, None)
            db._group_changed[node] = db.revision

    def at(self, db: Db, key: K) -> V | None:
        """The input's value; None: not set. Recorded."""
        node: Node = (self, "at", key)
        db.record(node)
        value: V | None = db._inputs.get(node, (None, 0))[0]
        return value

    def keys(self, db: Db, group: Hashable = ()) -> tuple[K, ...]:
        """The keys that are set in a group, in order of arrival. Recorded."""
        node: Node = (self, "keys", group)
        db.record(node)
        return tuple(db._groups.get(node, {}))  # type: ignore[arg-type]


class Query(Generic[P, V]):
    """A memoised pure function; call it to read it."""

    def __init__(self, function: Callable[Concatenate[Db, P], V]) -> None:
        self.function = function
        self.name = f"{function.__module__.removeprefix('lateen.')}.{function.__qualname__}"
        self.__doc__ = function.__doc__

    def __str__(self) -> str:
        return self.name

    def __call__(self, db: Db, *args: P.args, **_: P.kwargs) -> V:
        node: Node = (self, "all", args)
        db.record(node)
        value: V = db.pull(node).value
        return value


class Index(Generic[P, K, V]):
    """A query whose result is a mapping, read a key at a time, so that only that key is the dependency."""

    def __init__(self, function: Callable[Concatenate[Db, P], Mapping[K, V]]) -> None:
        self.function = function
        self.name = f"{function.__module__.removeprefix('lateen.')}.{function.__qualname__}"
        self.__doc__ = function.__doc__

    def __str__(self) -> str:
        return self.name

    def at(self, db: Db, key: K, *args: P.args, **_: P.kwargs) -> V | None:
        """The value at one key of the mapping for `args`; None: no such key. Recorded, that key alone."""
        db.record((self, "at", args, key))
        value: V | None = db.pull((self, "all", args)).value.get(key)
        return value

    def whole(self, db: Db, *args: P.args, **_: P.kwargs) -> Mapping[K, V]:
        """The whole mapping. Recorded as a read of all of it."""
        node: Node = (self, "all", args)
        db.record(node)
        value: Mapping[K, V] = db.pull(node).value
        return value


def query(function: Callable[Concatenate[Db, P], V]) -> Query[P, V]:
    """Makes a pure function `f(db, *args)` a query. Arguments are positional and hashable; the result is frozen and comparable."""
    return Query(function)


def index(function: Callable[Concatenate[Db, P], Mapping[K, V]]) -> Index[P, K, V]:
    """Makes a pure function `f(db, *args)` that returns a mapping an index."""
    return Index(function)
