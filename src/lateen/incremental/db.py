"""The engine: what has changed is pushed up the recorded reads, lowest first, and stops where a result comes out equal.

Every node has a height above all that it reads. A change queues the readers of what changed; the queue is emptied by height, so a query runs at
most once per change, sees only settled values, and nothing is visited that read nothing changed. New queries are computed where they are read.
A running query that comes to read something not settled yet is put back behind it (a restart). Cost of a change: the queries that run, and no more.

Held queries (`hold`) are the results that the outside wants kept up to date. `refresh` brings them up to date, in slices if told so; `publish`
makes the new results visible all at once, reports which held queries changed, and forgets what nobody needs.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Any

from lateen.incremental.node import KeyLeaf, Leaf, Node, Source, State

MAX_RESTARTS = 10_000
"""Restarts in one refresh before everything is computed anew: only reads that turn around between revisions come near it."""

Root = tuple[Source, tuple[Hashable, ...]]
"""A held query and its arguments."""


class Cycle(Exception):
    """A query reads itself. `chain`: the nodes from the first to the repeated one, as text."""

    def __init__(self, chain: tuple[str, ...]) -> None:
        super().__init__(" → ".join(chain))
        self.chain = chain


class _Restart(BaseException):
    """The running query read something that may still change. Not an Exception: no query may catch it."""

    def __init__(self, height: int) -> None:
        super().__init__(height)
        self.height = height


class _Tangle(BaseException):
    """Reads have turned around since the last revision: heights cannot order them, everything is computed anew."""


@dataclass(frozen=True)
class Publication:
    """What one `publish` made visible. `failed`: held queries that raised; their last good value stays visible."""

    revision: int
    changed: tuple[Root, ...]
    failed: tuple[tuple[Root, Exception], ...]


def _never() -> bool:
    return False


class Db:
    """One set of inputs and the memoised queries over it. Not thread-safe."""

    def __init__(self) -> None:
        self.revision = 0
        """Grows with every change of an input."""
        self.published_revision = 0
        self.runs: dict[str, int] = {}
        """How often each query ran, by name; a test clears it and asserts what re-ran."""
        self.restarts = 0
        self.resets = 0
        """How often everything was computed anew because reads turned around, or a cycle stood."""
        self.tables: dict[Hashable, dict[Any, Any]] = {}
        """Values of inputs, by input. Any: each input has its own types. Written by `Input` alone."""
        self.groups: dict[Hashable, dict[Hashable, dict[Any, None]]] = {}
        """Key sets of inputs, by input and group. Written by `Input` alone."""
        self._leaves: dict[Hashable, dict[Hashable, Leaf]] = {}
        self._memos: dict[Source, dict[tuple[Hashable, ...], Node]] = {}
        self._reads: dict[Node | Leaf, None] | None = None
        self._stack: list[Node] = []
        self._heap: list[tuple[int, int, Node]] = []
        self._sequence = count()
        self._pending: list[Node] = []
        self._touched: set[Node] = set()
        self._released: set[Root] = set()
        self._loose: set[Node | Leaf] = set()
        self._published: dict[Root, Any] = {}
        self._has_cycle = False

    # Reading

    def read(self, source: Source, args: tuple[Hashable, ...]) -> Node:
        """The up-to-date node of a query or index; not recorded. Raises Cycle."""
        if self._reads is None and self._heap:
            self._settle(_never)
        table = self._memos.get(source)
        if table is None:
            table = self._memos[source] = {}
        node = table.get(args)
        if node is None:
            node = table[args] = Node(source, args)
            self._loose.add(node)
        if node.state is State.CLEAN:
            if self._heap and self._heap[0][0] < node.height:
                raise _Restart(node.height)
        elif node.state is State.QUEUED:
            raise _Restart(node.height)
        elif node.state is State.RUNNING:
            self._has_cycle = True
            start = self._stack.index(node)
            raise Cycle((*(str(running) for running in self._stack[start:]), str(node)))
        else:
            self._run(node)
        return node

    def record(self, node: Node) -> None:
        """Notes that the running query, if one runs, reads all of `node`."""
        if self._reads is not None:
            self._reads[node] = None

    def record_leaf(self, source: Hashable, key: Hashable) -> None:
        """Notes a read of an input (`source`) at `key`."""
        if self._reads is None:
            return
        leaves = self._leaves.setdefault(source, {})
        leaf = leaves.get(key)
        if leaf is None:
            leaf = leaves[key] = Leaf(leaves, key)
            self._loose.add(leaf)
        self._reads[leaf] = None

    def record_key(self, node: Node, key: Hashable) -> None:
        """Notes a read of one key of an index."""
        if self._reads is None:
            return
        leaf = node.keys.get(key)
        if leaf is None:
            if not node.keys:
                node.keys = {}
            leaf = node.keys[key] = KeyLeaf(node, key)
            self._loose.add(leaf)
        self._reads[leaf] = None

    def touch_leaf(self, source: Hashable, key: Hashable) -> None:
        """An input has changed at `key`: queues what read it."""
        leaves = self._leaves.get(source)
        leaf = leaves.get(key) if leaves else None
        if leaf is not None:
            self._queue(leaf.readers)

    # Holding, refreshing, publishing

    def hold(self, source: Source, *args: Hashable) -> None:
        """Keeps a query up to date from the next refresh on. Held twice, it must be released twice."""
        node = self._memos.setdefault(source, {}).get(args)
        if node is None:
            node = self._memos[source][args] = Node(source, args)
        node.roots += 1
        if node.roots == 1:
            if node.state in (State.EMPTY, State.STALE):
                self._pending.append(node)
            else:
                self._touched.add(node)

    def release(self, source: Source, *args: Hashable) -> None:
        """Undoes one `hold`. What it published stays readable until the next publish."""
        node = self._memos[source][args]
        node.roots -= 1
        if not node.roots:
            self._released.add((source, args))
            self._loose.add(node)

    def refresh(self, should_stop: Callable[[], bool] = _never) -> bool:
        """Brings all held queries up to date. False: stopped early because `should_stop` said so; call again. Readers of `published` see nothing yet."""
        if not self._settle(should_stop):
            return False
        while self._pending:
            node = self._pending.pop()
            if node.roots and node.state in (State.EMPTY, State.STALE):
                self._run(node)
                if should_stop():
                    return not self._pending and not self._heap
        return True

    def publish(self) -> Publication:
        """Makes what `refresh` computed visible, and forgets what nobody needs. Call it when `refresh` has returned True."""
        changed: list[Root] = []
        failed: list[tuple[Root, Exception]] = []
        for root in self._released:
            node = self._memos.get(root[0], {}).get(root[1])
            if node is None or not node.roots:
                self._published.pop(root, None)
        self._released.clear()
        for node in self._touched:
            if not node.roots:
                continue
            root = (node.source, node.args)
            if node.error is not None:
                failed.append((root, node.error))
            elif root not in self._published or self._published[root] != node.value:
                self._published[root] = node.value
                changed.append(root)
        self._touched.clear()
        self._evict()
        self.published_revision = self.revision
        return Publication(self.revision, tuple(changed), tuple(failed))

    def published(self, source: Source, *args: Hashable) -> Any:
        """The visible result of a held query; None: none yet. Any: `Query.published` gives it its type back."""
        return self._published.get((source, args))

    @property
    def size(self) -> int:
        """Nodes in memory."""
        return sum(len(table) for table in self._memos.values())

    # From scratch

    def from_scratch(self) -> "Db":
        """A second Db with the same inputs and nothing computed."""
        other = Db()
        other.revision = self.revision
        other.tables = {source: dict(table) for source, table in self.tables.items()}
        other.groups = {source: {group: dict(keys) for group, keys in groups.items()} for source, groups in self.groups.items()}
        return other

    def discrepancies(self, roots: tuple[Root, ...] | None = None) -> tuple[Root, ...]:
        """The held queries (all, or those given) whose result is not what it would be from scratch: the oracle. Empty: all is well. Costs a cold build."""
        self._settle(_never)
        other = self.from_scratch()
        wrong = []
        for source, args in self.roots() if roots is None else roots:
            mine, theirs = self.read(source, args), other.read(source, args)
            if mine.value != theirs.value or not _is_same_error(mine.error, theirs.error):
                wrong.append((source, args))
        return tuple(wrong)

    def touched(self) -> tuple[Root, ...]:
        """The held queries that ran since the last publish: their results may be new. Costs what ran."""
        return tuple((node.source, node.args) for node in self._touched if node.roots)

    def roots(self) -> tuple[Root, ...]:
        """All held queries."""
        return tuple((source, args) for source, table in self._memos.items() for args, node in table.items() if node.roots)

    # The engine

    def _settle(self, should_stop: Callable[[], bool]) -> bool:
        if self._has_cycle and self._heap:
            self._reset()
        restarts = 0
        while self._heap:
            height, _, node = heappop(self._heap)
            if node.state is not State.QUEUED:
                continue
            if node.height > height:
                self._push(node)
                continue
            if not node.is_needed:
                node.state = State.STALE
                self._loose.add(node)
                continue
            try:
                self._run(node)
            except _Restart as restart:
                restarts += 1
                self.restarts += 1
                node.height = restart.height + 1
                self._push(node)
                if restarts > MAX_RESTARTS or not self._raise_readers(node):
                    self._reset()
            except _Tangle:
                self._reset()
            if should_stop():
                return not self._heap
        return True

    def _run(self, node: Node) -> None:
        """Computes a node, links what it read, queues its readers if its result changed. Raises _Restart, _Tangle."""
        before, outer = node.state, self._reads
        reads: dict[Node | Leaf, None] = {}
        value: Any = None
        error: Exception | None = None
        node.state = State.RUNNING
        self._stack.append(node)
        self._reads = reads
        try:
            value = node.source.function(self, *node.args)
        except Exception as raised:  # noqa: BLE001  a query that fails must not stop the others: its error is its result until what it read changes
            error = raised
        except BaseException:
            node.state = before
            raise
        finally:
            self._stack.pop()
            self._reads = outer
        name = node.source.name
        self.runs[name] = self.runs.get(name, 0) + 1
        old_value, old_error = node.value, node.error
        node.value, node.error, node.state = value, error, State.CLEAN
        self._link(node, reads)
        if node.roots:
            self._touched.add(node)
        if before is not State.EMPTY:
            self._propagate(node, old_value, old_error)

    def _propagate(self, node: Node, old_value: Any, old_error: Exception | None) -> None:
        if node.keys:
            if node.error is not None or old_error is not None:
                for leaf in node.keys.values():
                    self._queue(leaf.readers)
            elif old_value is not node.value:
                old, new = old_value.get, node.value.get
                for key, leaf in node.keys.items():
                    was, now = old(key), new(key)
                    if was is not now and was != now:
                        self._queue(leaf.readers)
        if node.has_readers and (not _is_same_error(old_error, node.error) or old_value != node.value):
            self._queue(node.readers)

    def _link(self, node: Node, reads: dict[Node | Leaf, None]) -> None:
        deps = tuple(reads)
        if deps != node.deps:
            for dep in node.deps:
                if dep not in reads:
                    dep.drop_reader(node)
                    if not dep.has_readers:
                        self._loose.add(dep)
            for dep in deps:
                dep.add_reader(node)
            node.deps = deps
        height = max((dep.height for dep in deps), default=0) + 1
        if height > node.height:
            node.height = height
            if not self._raise_readers(node):
                raise _Tangle

    def _raise_readers(self, node: Node) -> bool:
        """Lifts all that read `node` above it. False: it reads itself by now."""
        todo = [node]
        while todo:
            lifted = todo.pop()
            above = [lifted.readers]
            for leaf in lifted.keys.values():
                leaf.height = lifted.height
                above.append(leaf.readers)
            for readers in above:
                for reader in readers:
                    if reader.height <= lifted.height:
                        if reader is node:
                            return False
                        reader.height = lifted.height + 1
                        todo.append(reader)
        return True

    def _queue(self, readers: Iterable[Node]) -> None:
        for reader in readers:
            if reader.state is State.CLEAN:
                reader.state = State.QUEUED
                self._push(reader)

    def _push(self, node: Node) -> None:
        heappush(self._heap, (node.height, next(self._sequence), node))

    def _reset(self) -> None:
        """Forgets everything computed; held queries are pending again, what is published stays."""
        self.resets += 1
        held = {root: self._memos[root[0]][root[1]].roots for root in self.roots()}
        self._memos, self._leaves, self._heap, self._pending = {}, {}, [], []
        self._touched, self._loose, self._has_cycle = set(), set(), False
        for (source, args), times in held.items():
            node = self._memos.setdefault(source, {})[args] = Node(source, args)
            node.roots = times
            self._pending.append(node)

    def _evict(self) -> None:
        todo = list(self._loose)
        self._loose.clear()
        while todo:
            item = todo.pop()
            if isinstance(item, Leaf):
                if item.has_readers:
                    continue
                item.home.pop(item.key, None)
                if isinstance(item, KeyLeaf) and not item.parent.is_needed:
                    todo.append(item.parent)
                continue
            table = self._memos.get(item.source, {})
            if item.is_needed or table.get(item.args) is not item:
                continue
            del table[item.args]
            item.state = State.STALE
            for dep in item.deps:
                dep.drop_reader(item)
                if not dep.has_readers:
                    todo.append(dep)
            item.deps = ()


def _is_same_error(one: Exception | None, other: Exception | None) -> bool:
    return type(one) is type(other) and (one is None or other is None or one.args == other.args)
