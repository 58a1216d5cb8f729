"""What rooms write: inputs, queries and indexes.

A query is a pure function `f(db, *args)` of hashable arguments with a frozen result. Calling it reads it: the read is recorded as a dependency
of the query that runs, and the result is kept until something it read has changed. An index is a query whose result is a mapping and which is
read a key at a time (`f.at(db, key)`): only that key is the dependency.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Concatenate, Generic, ParamSpec, TypeVar

from lateen.incremental.db import Db

P = ParamSpec("P")
V = TypeVar("V")
K = TypeVar("K", bound=Hashable)


class Input(Generic[K, V]):
    """A table of inputs. `groups(key)`: the groups whose key sets `keys` can be asked for."""

    def __init__(self, name: str, groups: Callable[[K], Iterable[Hashable]] = lambda _: ((),)) -> None:
        self.name = name
        self.groups = groups

    def __str__(self) -> str:
        return self.name

    def set(self, db: Db, key: K, value: V) -> None:
        """Sets one input. An equal value changes nothing."""
        table = db.tables.setdefault(self, {})
        old = table.get(key)
        if old is not None and (old is value or old == value):
            return
        db.revision += 1
        table[key] = value
        if old is None:
            self._regroup(db, key, True)
        db.touch_leaf(self, ("at", key))

    def remove(self, db: Db, key: K) -> None:
        """Removes one input; none there is fine."""
        if db.tables.get(self, {}).pop(key, None) is None:
            return
        db.revision += 1
        self._regroup(db, key, False)
        db.touch_leaf(self, ("at", key))

    def _regroup(self, db: Db, key: K, is_in: bool) -> None:
        groups = db.groups.setdefault(self, {})
        for group in self.groups(key):
            members = groups.setdefault(group, {})
            if is_in:
                members[key] = None
            else:
                members.pop(key, None)
                if not members:
                    del groups[group]
            db.touch_leaf(self, ("keys", group))

    def at(self, db: Db, key: K) -> V | None:
        """The input's value; None: not set. Recorded."""
        db.record_leaf(self, ("at", key))
        table = db.tables.get(self)
        value: V | None = table.get(key) if table is not None else None
        return value

    def keys(self, db: Db, group: Hashable = ()) -> tuple[K, ...]:
        """The keys that are set in a group, in order of arrival. Recorded."""
        db.record_leaf(self, ("keys", group))
        return tuple(db.groups.get(self, {}).get(group, ()))


class Query(Generic[P, V]):
    """A memoised pure function; call it to read it."""

    def __init__(self, function: Callable[Concatenate[Db, P], V]) -> None:
        self.function = function
        self.name = f"{function.__module__.removeprefix('lateen.')}.{function.__qualname__}"
        self.__doc__ = function.__doc__

    def __str__(self) -> str:
        return self.name

    def __call__(self, db: Db, *args: P.args, **_: P.kwargs) -> V:
        node = db.read(self, args)
        db.record(node)
        if node.error is not None:
            raise node.error
        value: V = node.value
        return value

    def published(self, db: Db, *args: P.args, **_: P.kwargs) -> V | None:
        """The last published result, if the query is held; None: not held, or none yet. Not a read: for the shell, even while a refresh is
        under way."""
        value: V | None = db.published(self, *args)
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
        node = db.read(self, args)
        db.record_key(node, key)
        if node.error is not None:
            raise node.error
        mapping: Mapping[K, V] = node.value
        return mapping.get(key)

    def whole(self, db: Db, *args: P.args, **_: P.kwargs) -> Mapping[K, V]:
        """The whole mapping. Recorded as a read of all of it."""
        node = db.read(self, args)
        db.record(node)
        if node.error is not None:
            raise node.error
        value: Mapping[K, V] = node.value
        return value


def query(function: Callable[Concatenate[Db, P], V]) -> Query[P, V]:
    """Makes a pure function `f(db, *args)` a query. Arguments are positional and hashable; the result is frozen and comparable."""
    return Query(function)


def index(function: Callable[Concatenate[Db, P], Mapping[K, V]]) -> Index[P, K, V]:
    """Makes a pure function `f(db, *args)` that returns a mapping an index."""
    return Index(function)
