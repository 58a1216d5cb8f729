"""From the engine to snapshots: keeps held exactly the queries that connected proxies need, and turns each publication into new snapshots.

Called by `control` (refresh, publish) and by the gRPC door (join, leave, want). Cost follows what changed: a publication touches the views and
names that changed and nothing else.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from lateen.incremental import Db, Query, Root, query
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, View
from lateen.serve.snapshot import Entries, Snapshot
from lateen.xds.resource import Resource, ResourceType
from lateen.xds.resources import resource, resource_names

Names = Query[[View, ResourceType], frozenset[str]]
Resources = Query[[View, ResourceType, str], Resource | None]

TYPE_OF = {type_.value: type_ for type_ in ResourceType}


_FOLLOWERS = {ResourceType.CLUSTER: (ResourceType.ENDPOINT,)}
"""What will be asked for next, under the same name: computed in the same turn, so that a request which waits for its cluster waits for one turn."""


def _with_followers(url: str, names: Iterable[str]) -> Iterator[tuple[ResourceType, str]]:
    """Names of a type, each with those that follow it. None of a type that nobody emits."""
    type_ = TYPE_OF.get(url)
    if type_ is not None:
        yield from ((one, name) for name in names for one in (type_, *_FOLLOWERS.get(type_, ())))


@query
def proxy_view(db: Db, proxy: Proxy) -> View:
    """The view of a connected proxy, kept up to date: labels and services may change under it."""
    return view_of(db, proxy)


@dataclass(frozen=True)
class Withheld:
    """A resource that Envoy would refuse: what its view had before stays."""

    view: View
    resource: Resource


@dataclass(frozen=True)
class Published:
    """One revision, as the door needs it. `views`: those with a new snapshot. `moved`: proxies whose view is another one. `failed`: held
    queries that raised, whose last good result stays. `withheld`: resources with a problem that are new."""

    revision: int
    views: frozenset[View]
    moved: frozenset[Proxy]
    failed: tuple[tuple[Root, Exception], ...]
    withheld: tuple[Withheld, ...] = ()


@dataclass
class _Shelf:
    """What is kept for one view."""

    view: View
    proxies: int = 0
    listed: dict[ResourceType, frozenset[str]] = field(default_factory=lambda: dict.fromkeys(ResourceType, frozenset()))
    extras: dict[ResourceType, Counter[str]] = field(default_factory=lambda: {type_: Counter() for type_ in ResourceType})
    """Names beyond those listed that sessions asked for, and how many did."""
    stirred: dict[ResourceType, set[str]] = field(default_factory=dict)
    """Names that came, went or changed since the last publication."""
    snapshots: Mapping[str, Snapshot] | None = None
    withheld: dict[tuple[ResourceType, str], Resource] = field(default_factory=dict)
    """What has a problem in the revision that is published."""


class Catalog:
    """The held queries and the published snapshots of every view in use."""

    def __init__(self, db: Db, names: Names = resource_names, resources: Resources = resource, view: Query[[Proxy], View] = proxy_view) -> None:
        self.db = db
        self._names, self._resources, self._view = names, resources, view
        self._entries = Entries()
        self._shelves: dict[View, _Shelf] = {}
        self._proxies: Counter[Proxy] = Counter()
        self._view_of: dict[Proxy, View] = {}
        """As published. A proxy that has just joined is not in it."""
        self._next_view_of: dict[Proxy, View] = {}
        self._placed: set[Proxy] = set()
        """Proxies whose view was computed since the last publication."""

    # Who looks

    def join(self, proxy: Proxy) -> None:
        """A proxy has connected: its view is computed with the next refresh."""
        self._proxies[proxy] += 1
        if self._proxies[proxy] == 1:
            self.db.hold(self._view, proxy)

    def leave(self, proxy: Proxy) -> None:
        """It has gone."""
        self._proxies[proxy] -= 1
        if self._proxies[proxy]:
            return
        del self._proxies[proxy]
        self.db.release(self._view, proxy)
        self._placed.discard(proxy)
        old, view = self._view_of.pop(proxy, None), self._next_view_of.pop(proxy, None)
        if old is not None and old is not view:  # on its way to another view, which is not published yet: it stands in both
            self._detach(old)
        if view is not None:
            self._detach(view)

    def view(self, proxy: Proxy) -> View | None:
        """The proxy's published view; None: not published yet."""
        return self._view_of.get(proxy)

    def snapshots(self, view: View) -> Mapping[str, Snapshot] | None:
        """What a view has, by type URL; None: nothing was published for it yet."""
        shelf = self._shelves.get(view)
        return shelf.snapshots if shelf else None

    @property
    def resource_query(self) -> Resources:
        """The query of one resource: view, type, name."""
        return self._resources

    @property
    def views(self) -> tuple[View, ...]:
        """All views in use."""
        return tuple(self._shelves)

    @property
    def withheld(self) -> tuple[Withheld, ...]:
        """All that is published and not sent, for what Envoy would refuse in it."""
        return tuple(Withheld(shelf.view, one) for shelf in self._shelves.values() for one in shelf.withheld.values())

    def want(self, view: View, url: str, names: Iterable[str]) -> None:
        """A session asked for names that its view does not list."""
        shelf = self._shelves.get(view)
        if shelf is None:
            return
        for type_, name in _with_followers(url, names):
            shelf.extras[type_][name] += 1
            if shelf.extras[type_][name] == 1:
                self.db.hold(self._resources, view, type_, name)
            self._stir(shelf, type_, (name,))

    def unwant(self, view: View, url: str, names: Iterable[str]) -> None:
        """The reverse of `want`."""
        shelf = self._shelves.get(view)
        if shelf is None:
            return
        for type_, name in _with_followers(url, names):
            if not shelf.extras[type_][name]:
                continue
            shelf.extras[type_][name] -= 1
            if not shelf.extras[type_][name]:
                del shelf.extras[type_][name]
                self.db.release(self._resources, view, type_, name)
            self._stir(shelf, type_, (name,))

    # Refresh and publish

    def refresh(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Computes what changed, and what that makes needed. False: stopped early; call again. Nothing is visible before `publish`."""
        while True:
            if not self.db.refresh(should_stop):
                return False
            if not self._expand():
                return True

    def publish(self) -> Published:
        """Makes what was refreshed visible as new snapshots."""
        publication = self.db.publish()
        for source, args in publication.changed:
            if source is self._resources:
                view, type_, name = cast(tuple[View, ResourceType, str], args)
                shelf = self._shelves.get(view)
                if shelf is not None:
                    self._stir(shelf, type_, (name,))
        views = frozenset(view for view, shelf in self._shelves.items() if shelf.stirred or shelf.snapshots is None)
        withheld = [Withheld(view, one) for view in views for one in self._snapshot(self._shelves[view])]
        moved = frozenset(proxy for proxy in self._placed if self._view_of.get(proxy) is not self._next_view_of.get(proxy))
        self._placed.clear()
        for proxy in moved:
            old, self._view_of[proxy] = self._view_of.get(proxy), self._next_view_of[proxy]
            if old is not None:
                self._detach(old)
        return Published(publication.revision, views, moved, publication.failed, tuple(withheld))

    def _expand(self) -> bool:
        """Holds what the refreshed results make needed. True: something new is to be computed."""
        has_new = False
        for source, args in self.db.touched():
            if source is self._view:
                has_new |= self._place(cast(tuple[Proxy], args)[0])
            elif source is self._names:
                view, type_ = cast(tuple[View, ResourceType], args)
                shelf = self._shelves.get(view)
                has_new |= shelf is not None and self._list(shelf, type_)
        return has_new

    def _place(self, proxy: Proxy) -> bool:
        node = self.db.read(self._view, (proxy,))
        if node.error is not None:
            return False
        self._placed.add(proxy)
        view: View = node.value
        shelf = self._shelves.get(view)
        is_new = shelf is None
        if shelf is None:
            shelf = self._shelves[view] = _Shelf(view)
            for type_ in ResourceType:
                self.db.hold(self._names, view, type_)
        planned, shown = self._next_view_of.get(proxy), self._view_of.get(proxy)
        if planned is not shelf.view:
            if shelf.view is not shown:  # back where it is shown: it stands there already
                shelf.proxies += 1
            self._next_view_of[proxy] = shelf.view
            if planned is not None and planned is not shown:
                self._detach(planned)
        return is_new

    def _list(self, shelf: _Shelf, type_: ResourceType) -> bool:
        node = self.db.read(self._names, (shelf.view, type_))
        if node.error is not None:
            return False
        old, new = shelf.listed[type_], node.value
        if old == new:
            return False
        shelf.listed[type_] = new
        added, removed = new - old, old - new
        for name in added:
            self.db.hold(self._resources, shelf.view, type_, name)
        for name in removed:
            self.db.release(self._resources, shelf.view, type_, name)
        self._stir(shelf, type_, (*added, *removed))
        return bool(added)

    def _detach(self, view: View) -> None:
        shelf = self._shelves.get(view)
        if shelf is None:
            return
        shelf.proxies -= 1
        if shelf.proxies > 0:
            return
        del self._shelves[view]
        for type_ in ResourceType:
            self.db.release(self._names, view, type_)
            for name in (*shelf.listed[type_], *shelf.extras[type_]):
                self.db.release(self._resources, view, type_, name)

    @staticmethod
    def _stir(shelf: _Shelf, type_: ResourceType, names: Iterable[str]) -> None:
        shelf.stirred.setdefault(type_, set()).update(names)

    def _snapshot(self, shelf: _Shelf) -> list[Resource]:
        """Makes a shelf's new snapshots; the resources with a problem that are new."""
        withheld = []
        snapshots = dict(shelf.snapshots or {})
        for type_ in ResourceType:
            old = snapshots.get(type_.value)
            names = shelf.stirred.get(type_)
            if old is not None and names is None:
                continue
            entries = dict(old.entries) if old else {}
            listed, extras = shelf.listed[type_], shelf.extras[type_]
            for name in names or ():
                found = self._resources.published(self.db, shelf.view, type_, name) if name in listed or name in extras else None
                known = shelf.withheld.pop((type_, name), None)
                if found is None:
                    entries.pop(name, None)
                elif found.problem:
                    shelf.withheld[type_, name] = found
                    withheld += [found] if found != known else []
                else:
                    entries[name] = self._entries.entry(found)
            absent = frozenset(name for name in extras if name not in entries)
            changed = frozenset(names or ())
            snapshots[type_.value] = Snapshot(entries, listed, absent, changed, old.serial if old else 0)
        shelf.stirred = {}
        shelf.snapshots = snapshots
        return withheld
