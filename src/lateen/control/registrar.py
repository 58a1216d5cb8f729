"""Who has come to join a WorkloadGroup, and how they are: connected proxies become WorkloadEntries of the layer `REGISTERED`.

Level-triggered: an entry follows from who is there and from the group in force, so a group written after its members came takes them then; who comes,
goes or reports costs one entry. Registrations outlive the process: proxies need seconds to come back to a new control, and clients should not notice.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from lateen.base.names import ObjectRef
from lateen.config import store
from lateen.config.kinds.istio.workload_entry import WorkloadEntry, WorkloadGroup
from lateen.control.pilot import REGISTERED, Pilot
from lateen.control.registrations import Registrations
from lateen.serve.door import Connection
from lateen.sources.registration import NODE_GROUP, Registrant, member_entry, refusal

GRACE_S = 10.0
"""How long an entry stays when its proxy is gone: a restarted Envoy is back by then. Source: Istio, PILOT_WORKLOAD_ENTRY_GRACE_PERIOD."""
RETURN_S = 60.0
"""The same after a restart of control: Envoy's back-off is up to 30 s."""
MOST = 100_000
"""Registrations kept at once."""


class Registrar:
    """The registrations. Tells pilot, is told by it."""

    def __init__(self, pilot: Pilot, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`path`: where registrations outlive the process; None: nowhere."""
        self._pilot, self._clock = pilot, clock
        self._disk = Registrations(path) if path is not None else None
        self._health: dict[Registrant, bool | None] = {}
        """Everyone who counts, with the last report."""
        self._alike: dict[ObjectRef, set[Registrant]] = {}
        """The same by the entry they are, or would be."""
        self._present: Counter[Registrant] = Counter()
        self._until: dict[Registrant, float] = {}
        """When those who are gone stop counting."""
        self._groups: dict[tuple[str, str], WorkloadGroup] = {}
        self._refused: dict[Registrant, str] = {}
        self._log = structlog.get_logger("control.registrar")
        pilot.on_connected.append(self.connected)
        pilot.on_health.append(self.reported)
        pilot.on_published.append(self._regroup)

    def restore(self) -> None:
        """Takes up what an earlier process kept. Call once, before anybody connects."""
        for one, health in self._disk.kept() if self._disk is not None else ():
            self._count(one, health)
            self._leave(one, RETURN_S)

    def connected(self, connection: Connection, is_connected: bool) -> None:
        """A proxy has come or gone."""
        one = registrant_of(connection)
        if one is None:
            return
        if is_connected:
            self._join(one)
        elif one in self._present:
            self._present[one] -= 1
            if not self._present[one]:
                del self._present[one]
                self._leave(one, GRACE_S)

    def reported(self, connection: Connection, problem: str | None) -> None:
        """A workload says how it is. `problem` None: well."""
        one = registrant_of(connection)
        if one is None or one not in self._health or self._health[one] is (problem is None):
            return
        self._log.info("a workload is well" if problem is None else "a workload is not well", entry=str(one.entry), problem=problem or "")
        self._keep(one, problem is None)
        self._submit((one.entry,))

    def left(self, namespace: str, service_account: str, name: str) -> bool:
        """The workload of an entry says it goes, and counts no more from now on. False: there is none of this name and service account."""
        ref = ObjectRef(WorkloadEntry.__name__, namespace, name)
        going = [one for one in self._alike.get(ref, ()) if one.service_account == service_account]
        for one in going:
            self._drop(one)
        return bool(going)

    def _join(self, one: Registrant) -> None:
        if one not in self._health and len(self._health) >= MOST:
            self._log.error("too many registrations; one is not taken", entry=str(one.entry))
            return
        health = self._health.get(one)
        for other in [other for other in self._alike.get(one.entry, ()) if other in self._until and other != one]:  # the same workload, described anew
            health = self._health[other] if health is None else health
            self._forget(other)
        self._present[one] += 1
        self._until.pop(one, None)
        self._keep(one, health)
        self._submit((one.entry,))

    def _leave(self, one: Registrant, grace_s: float) -> None:
        if one in self._health:
            self._until[one] = self._clock() + grace_s
            asyncio.get_running_loop().call_later(grace_s + 0.01, self._expire, one)

    def _expire(self, one: Registrant) -> None:
        if self._until.get(one, float("inf")) <= self._clock():
            self._drop(one)

    def _drop(self, one: Registrant) -> None:
        self._forget(one)
        self._log.info("a workload has left", entry=str(one.entry))
        self._submit((one.entry,))

    def _keep(self, one: Registrant, health: bool | None) -> None:
        is_new = one not in self._health or self._health[one] is not health
        self._count(one, health)
        if is_new and self._disk is not None:
            self._disk.keep(one, health)

    def _count(self, one: Registrant, health: bool | None) -> None:
        self._health[one] = health
        self._alike.setdefault(one.entry, set()).add(one)

    def _forget(self, one: Registrant) -> None:
        del self._health[one]
        self._until.pop(one, None)
        self._refused.pop(one, None)
        alike = self._alike[one.entry]
        alike.discard(one)
        if not alike:
            del self._alike[one.entry]
        if self._disk is not None:
            self._disk.drop(one)

    def _regroup(self) -> None:
        """The groups in force may be others: their members are looked at again."""
        objects, db = store.OBJECTS, self._pilot.db
        found = (objects.at(db, key) for key in sorted(objects.keys(db, (WorkloadGroup.__name__,))))
        groups = {(item.namespace, item.name): item for item in found if isinstance(item, WorkloadGroup)}
        changed = {key for key in groups.keys() | self._groups.keys() if groups.get(key) != self._groups.get(key)}
        self._groups = groups
        if changed:
            self._submit(ref for ref, alike in self._alike.items() if any((one.namespace, one.group) in changed for one in alike))

    def _submit(self, refs: Iterable[ObjectRef]) -> None:
        """Brings these entries up to date."""
        entries: list[WorkloadEntry] = []
        removed: list[ObjectRef] = []
        for ref in refs:
            alike = {one: self._health[one] for one in self._alike.get(ref, ())}
            entry = member_entry(alike, self._groups)
            if entry is None:
                removed.append(ref)
            else:
                entries.append(entry)
            for one in alike:
                self._tell(one)
        if entries or removed:
            self._pilot.submit(REGISTERED, entries, removed)

    def _tell(self, one: Registrant) -> None:
        why = refusal(one, self._groups.get((one.namespace, one.group)))
        if why and self._refused.get(one) != why:
            self._log.warning("a workload is not registered", address=one.address, reason=why)
        self._refused[one] = why


def registrant_of(connection: Connection) -> Registrant | None:
    """What a proxy wants to join; None: nothing, or it says no address."""
    proxy = connection.introduction.proxy
    group = dict(proxy.metadata).get(NODE_GROUP)
    if not group or not proxy.addresses:
        return None
    locality = "/".join((proxy.locality.region, proxy.locality.zone, proxy.locality.subzone)).rstrip("/")
    return Registrant(proxy.namespace, group, proxy.addresses[0], proxy.network, proxy.service_account, proxy.labels, locality)
