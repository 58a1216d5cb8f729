"""The graph that reads leave behind: computed nodes, leaves for inputs, and one key of an index. Used by `db` and `sources` of this room only."""

from collections.abc import Callable, Hashable, Iterable
from enum import Enum
from typing import Any, Protocol


class Source(Protocol):
    """What a computed node comes from: a query or an index. `function` takes the Db and the node's arguments."""

    name: str
    function: Callable[..., Any]  # Any: each query has its own signature


class State(Enum):
    """EMPTY: never computed. CLEAN: up to date as far as it is settled. QUEUED: something it read has changed. STALE: the same, but nobody needs it now."""

    EMPTY = 0
    CLEAN = 1
    QUEUED = 2
    STALE = 3
    RUNNING = 4


FEW = 24
"""Readers up to which a list is as fast as a set, at a fifth of its size."""


class Readable:
    """Something that queries read. `height` is below that of every reader. Most have one reader, many one for each view: a set is made only for more than
    a few, since with hundreds of thousands of nodes a set each is most of the memory."""

    __slots__ = ("_readers", "height")

    def __init__(self, height: int) -> None:
        self.height = height
        self._readers: Node | list[Node] | set[Node] | None = None

    @property
    def readers(self) -> Iterable["Node"]:
        """The queries that read this."""
        if self._readers is None:
            return ()
        return (self._readers,) if isinstance(self._readers, Node) else self._readers

    @property
    def has_readers(self) -> bool:
        """Some query reads it."""
        return self._readers is not None

    def add_reader(self, node: "Node") -> None:
        """`node` reads this from now on."""
        held = self._readers
        if held is None:
            self._readers = node
        elif isinstance(held, set):
            held.add(node)
        elif isinstance(held, list):
            if node not in held:
                held.append(node)
                if len(held) > FEW:
                    self._readers = set(held)
        elif held is not node:
            self._readers = [held, node]

    def drop_reader(self, node: "Node") -> None:
        """`node` reads it no more."""
        held = self._readers
        if held is node:
            self._readers = None
        elif isinstance(held, set):
            held.discard(node)
        elif isinstance(held, list) and node in held:
            held.remove(node)
        if not self._readers:
            self._readers = None


class Leaf(Readable):
    """Something that is read and not computed: an input, or the key set of a group."""

    __slots__ = ("home", "key")

    def __init__(self, home: dict[Hashable, "Leaf"], key: Hashable) -> None:
        super().__init__(0)
        self.home = home
        """The table that holds this leaf under `key`, so that an unread one can be dropped."""
        self.key = key


class KeyLeaf(Leaf):
    """One key of an index: changes only when the mapping's value at that key does."""

    __slots__ = ("parent",)

    def __init__(self, parent: "Node", key: Hashable) -> None:
        super().__init__(parent.keys, key)
        self.height = parent.height
        self.parent = parent


class Node(Readable):
    """A query with its arguments, its last value or error, and what it read."""

    __slots__ = ("args", "deps", "error", "keys", "roots", "source", "state", "value")

    def __init__(self, source: Source, args: tuple[Hashable, ...]) -> None:
        super().__init__(1)
        self.source = source
        self.args = args
        self.value: Any = None  # Any: each query has its own result
        self.error: Exception | None = None
        self.state = State.EMPTY
        self.deps: tuple[Node | Leaf, ...] = ()
        self.keys: dict[Hashable, Leaf] = _NO_KEYS
        self.roots = 0
        """How often it is held from outside."""

    @property
    def is_needed(self) -> bool:
        """Somebody reads it, or holds it."""
        return bool(self.has_readers or self.roots or self.keys)

    def __str__(self) -> str:
        return f"{self.source.name}({', '.join(str(argument) for argument in self.args)})"


_NO_KEYS: dict[Hashable, Leaf] = {}
