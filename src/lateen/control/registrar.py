"""Who has come to join a WorkloadGroup, and how they are: connected proxies become WorkloadEntries of the layer `REGISTERED`.

Level-triggered: entries are recomputed from who is there and from the groups in force, so a group written after its members came takes them then.
Registrations outlive the process: proxies need seconds to come back to a new control, and their clients should not notice.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import structlog

from lateen.config import store
from lateen.config.kinds.istio.workload_entry import WorkloadGroup
from lateen.control.pilot import REGISTERED, Pilot
from lateen.node.disk import write_durably
from lateen.serve.door import Connection
from lateen.sources.registration import NODE_GROUP, Registrant, refusal, registered_entries

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
        self._pilot, self._path, self._clock = pilot, path, clock
        self._health: dict[Registrant, bool | None] = {}
        """Everyone who counts, with the last report."""
        self._present: Counter[Registrant] = Counter()
        self._until: dict[Registrant, float] = {}
        """When those who are gone stop counting."""
        self._groups: tuple[WorkloadGroup, ...] = ()
        self._refused: dict[Registrant, str] = {}
        self._log = structlog.get_logger("control.registrar")
        pilot.on_connected.append(self.connected)
        pilot.on_health.append(self.reported)
        pilot.on_published.append(self._regroup)

    def restore(self) -> None:
        """Takes up what an earlier process kept. Call once, before anybody connects."""
        if self._path is None or not self._path.exists():
            return
        try:
            for plain in json.loads(self._path.read_bytes()):
                labels = tuple((key, value) for key, value in plain.pop("labels"))
                health = plain.pop("health")
                one = Registrant(**plain, labels=labels)
                self._health[one] = health
                self._leave(one, RETURN_S)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._log.warning("registrations are not readable", file=str(self._path), error=str(error))
        self._submit()

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
        self._health[one] = problem is None
        self._log.info("a workload is well" if problem is None else "a workload is not well", entry=str(one.entry), problem=problem or "")
        self._submit(is_to_keep=True)

    def _join(self, one: Registrant) -> None:
        if one not in self._health and len(self._health) >= MOST:
            self._log.error("too many registrations; one is not taken", entry=str(one.entry))
            return
        for other in [other for other in self._until if other.entry == one.entry and other != one]:  # the same workload, described anew
            self._health.setdefault(one, self._health.pop(other))
            del self._until[other]
        self._present[one] += 1
        self._until.pop(one, None)
        if one not in self._health:
            self._health[one] = None
        self._submit(is_to_keep=True)

    def _leave(self, one: Registrant, grace_s: float) -> None:
        if one in self._health:
            self._until[one] = self._clock() + grace_s
            asyncio.get_running_loop().call_later(grace_s + 0.01, self._expire)

    def _expire(self) -> None:
        now = self._clock()
        over = [one for one, until in self._until.items() if until <= now]
        for one in over:
            del self._until[one], self._health[one]
            self._log.info("a workload has left", entry=str(one.entry))
        if over:
            self._submit(is_to_keep=True)

    def _regroup(self) -> None:
        """The groups in force may be others."""
        objects, db = store.OBJECTS, self._pilot.db
        found = (objects.at(db, key) for key in sorted(objects.keys(db, (WorkloadGroup.__name__,))))
        groups = tuple(item for item in found if isinstance(item, WorkloadGroup))
        if groups != self._groups:
            self._groups = groups
            self._submit()

    def _submit(self, *, is_to_keep: bool = False) -> None:
        entries = registered_entries(self._health, self._groups)
        self._pilot.submit(REGISTERED, entries, is_full=True)
        self._tell()
        if is_to_keep and self._path is not None:
            plain = [
                {
                    "namespace": one.namespace,
                    "group": one.group,
                    "address": one.address,
                    "network": one.network,
                    "service_account": one.service_account,
                    "labels": one.labels,
                    "locality": one.locality,
                    "health": health,
                }
                for one, health in self._health.items()
            ]
            try:
                write_durably(self._path, json.dumps(plain).encode(), 0o600)
            except OSError as error:
                self._log.error("registrations are not kept", file=str(self._path), error=str(error))

    def _tell(self) -> None:
        by_name = {(group.namespace, group.name): group for group in self._groups}
        refused = {one: why for one in self._health if (why := refusal(one, by_name.get((one.namespace, one.group))))}
        for one, why in refused.items():
            if self._refused.get(one) != why:
                self._log.warning("a workload is not registered", address=one.address, reason=why)
        self._refused = refused


def registrant_of(connection: Connection) -> Registrant | None:
    """What a proxy wants to join; None: nothing, or it says no address."""
    proxy = connection.introduction.proxy
    group = dict(proxy.metadata).get(NODE_GROUP)
    if not group or not proxy.addresses:
        return None
    locality = "/".join((proxy.locality.region, proxy.locality.zone, proxy.locality.subzone)).rstrip("/")
    return Registrant(proxy.namespace, group, proxy.addresses[0], proxy.network, proxy.service_account, proxy.labels, locality)
