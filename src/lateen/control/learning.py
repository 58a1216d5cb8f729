"""Automatic scope: what a workload's proxies have asked for becomes control's fact, so that its other proxies, and the next ones, get it without asking.

Level-triggered: after each publication a workload has learned what it had learned, and what its connected proxies ask for, as far as that is published for
them. So what is no more, or may no longer be called, is forgotten after a while, and comes back with the service where a living proxy asks for it. Facts
outlive the process.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from lateen.control.events import Events
from lateen.control.pilot import Pilot
from lateen.mesh.automatic_scope import LEARNED, Workload, is_automatic, workload_of
from lateen.node.disk import write_durably
from lateen.serve.door import Connection
from lateen.serve.session import CDS
from lateen.serve.snapshot import Snapshot

REMEMBERED_S = 7 * 86400.0
"""How long a workload is remembered that has no proxy connected: a weekend at nought replicas, and not for ever."""
ABSENCE_S = 60.0
"""How long a cluster is absent before it is forgotten: proxies that were given it hold it for a grace, and it must be listed again if it returns meanwhile."""
MOST_WORKLOADS = 10_000
"""Workloads remembered at once; the one that was gone for longest is forgotten first."""
MOST_NAMES = 10_000
"""Clusters one workload may learn. A proxy still gets what it asks for beyond."""


class Learning:
    """What every workload has learned. Told by pilot, sets the inputs `LEARNED`."""

    def __init__(self, pilot: Pilot, events: Events, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """`path`: where facts outlive the process; None: nowhere. `clock`: seconds since the epoch, for what outlives a process must be told by it."""
        self._pilot, self._events, self._path, self._clock = pilot, events, path, clock
        self._learned: dict[Workload, frozenset[str]] = {}
        self._gone_since: dict[Workload, float] = {}
        """Those that no proxy is connected of."""
        self._present: dict[Workload, set[Connection]] = {}
        self._looked_at: dict[Workload, frozenset[int]] = {}
        """The serials of the snapshots that were looked at last."""
        self._absent_since: dict[Workload, dict[str, float]] = {}
        """Of what was learned: what is not there now."""
        self._writing: asyncio.Future[None] | None = None
        self._is_dirty = False
        self._log = structlog.get_logger("control.learning")
        pilot.on_connected.append(self._connected)
        pilot.on_published.append(self._published)

    @property
    def workloads(self) -> dict[Workload, frozenset[str]]:
        """Workload → names of clusters. Those that have learned nothing are left out."""
        return dict(self._learned)

    def restore(self) -> None:
        """Takes up what an earlier process kept. Call once, before anybody connects."""
        if self._path is None or not self._path.exists():
            return
        try:
            for plain in json.loads(self._path.read_bytes()):
                one = Workload(str(plain["namespace"]), str(plain["service_account"]), str(plain["workload"]))
                self._set(one, frozenset(map(str, plain["clusters"])))
                self._gone_since[one] = self._clock() if plain["gone_since"] is None else float(plain["gone_since"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._log.warning("what was learned is not readable", file=str(self._path), error=str(error))
        self._tidy()

    async def close(self) -> None:
        """Waits until what was learned is on the disk."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
            await asyncio.sleep(0)

    def _connected(self, connection: Connection, is_connected: bool) -> None:
        one = workload_of(connection.introduction.proxy)
        if is_connected:
            self._present.setdefault(one, set()).add(connection)
            self._gone_since.pop(one, None)
        elif one in self._present:
            self._present[one].discard(connection)
            if not self._present[one]:
                del self._present[one]
                self._looked_at.pop(one, None)
                self._absent_since.pop(one, None)
                if one in self._learned:
                    self._gone_since[one] = self._clock()
                    self._tidy()
                    self._keep()

    def _published(self) -> None:
        self._look_around()

    def look_again(self) -> None:
        """Time has passed: what was absent for long is forgotten."""
        self._looked_at.clear()
        self._look_around()

    def _look_around(self) -> None:
        is_changed = False
        for one, connections in self._present.items():
            snapshots = list(self._snapshots(connections))
            serials = frozenset(snapshot.serial for snapshot in snapshots)
            if snapshots and serials != self._looked_at.get(one):
                self._looked_at[one] = serials
                is_changed |= self._look(one, connections, snapshots)
        if is_changed:
            self._tidy()
            self._keep()
            self._pilot.need()

    def _snapshots(self, connections: set[Connection]) -> Iterator[Snapshot]:
        """The clusters published for a workload's views; none for one that does not learn."""
        catalog = self._pilot.catalog
        for view in {catalog.view(connection.introduction.proxy) for connection in connections}:
            found = catalog.snapshots(view) if view is not None and is_automatic(catalog.db, view) else None
            if found is not None and CDS in found:
                yield found[CDS]

    def _look(self, one: Workload, connections: set[Connection], snapshots: list[Snapshot]) -> bool:
        """Whether the workload has learned or forgotten something."""
        asked = frozenset[str]().union(*(connection.session.subscriptions[CDS].extras for connection in connections if CDS in connection.session.subscriptions))
        old = self._learned.get(one, frozenset())
        there = frozenset(name for name in old | asked if any(name in snapshot.entries for snapshot in snapshots))
        new = there | self._missed(one, old - there)
        if len(new) > MOST_NAMES:
            self._log.warning("a workload asks for too many clusters; not all are learned", namespace=one.namespace, workload=one.name, clusters=len(new))
            new = frozenset(sorted(new & old)[:MOST_NAMES])
        if new == old:
            return False
        self._set(one, new)
        for event, names in (("learned", new - old), ("forgotten", old - new)):
            for name in sorted(names):
                self._events.emit({"event": event, **workload_json(one), "cluster": name})
        return True

    def _missed(self, one: Workload, absent: frozenset[str]) -> frozenset[str]:
        """Those of what is not there that are not forgotten yet."""
        now, before = self._clock(), self._absent_since.pop(one, {})
        since = {name: at for name in absent if now - (at := before.get(name, now)) < ABSENCE_S}
        if since:
            self._absent_since[one] = since
            if since.keys() - before.keys():
                asyncio.get_running_loop().call_later(ABSENCE_S + 1, self.look_again)
        return frozenset(since)

    def _set(self, one: Workload, names: frozenset[str]) -> None:
        if names:
            self._learned[one] = names
            LEARNED.set(self._pilot.db, one, names)
        else:
            self._learned.pop(one, None)
            self._gone_since.pop(one, None)
            LEARNED.remove(self._pilot.db, one)

    def _tidy(self) -> None:
        """Forgets workloads that are gone for long, and those beyond what may be remembered."""
        now = self._clock()
        over = [one for one, since in self._gone_since.items() if now - since > REMEMBERED_S]
        if (beyond := len(self._learned) - len(over) - MOST_WORKLOADS) > 0:
            rest = sorted((since, one.namespace, one.service_account, one.name) for one, since in self._gone_since.items() if now - since <= REMEMBERED_S)
            over += [Workload(*key) for _, *key in rest[:beyond]]
        for one in over:
            self._log.info("what a workload had learned is forgotten", namespace=one.namespace, workload=one.name)
            self._set(one, frozenset())

    # On disk

    def _keep(self) -> None:
        """One write at a time, the last state last."""
        self._is_dirty = self._path is not None
        if self._is_dirty and self._writing is None:
            self._is_dirty = False
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, self._as_bytes())
            self._writing.add_done_callback(lambda _: self._written())

    def _written(self) -> None:
        self._writing = None
        if self._is_dirty:
            self._keep()

    def _as_bytes(self) -> bytes:
        plain = [{**workload_json(one), "clusters": sorted(names), "gone_since": self._gone_since.get(one)} for one, names in self._learned.items()]
        return json.dumps(plain).encode()

    def _write(self, data: bytes) -> None:
        """Blocks."""
        assert self._path is not None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._path, data, 0o600)
        except OSError as error:
            self._log.error("what was learned is not kept", file=str(self._path), error=str(error))


def workload_json(one: Workload) -> dict[str, Any]:  # Any: JSON
    """A workload, for output and disk."""
    return {"namespace": one.namespace, "service_account": one.service_account, "workload": one.name}
