"""Who is to blame when a resource is no good: the object behind it is quarantined.

A resource that `xds.check` finds a problem in is withheld: no proxy sees it. One that a proxy refuses all the same is an untrusted claim, which a
scratch Envoy reproduces, or else only that proxy is marked. Then the objects that the resource comes from are tried one by one in their earlier form, the
latest change first, and after them what else has changed, until the result is there and good (if none does that: until it is gone): that object's last good
form stays in force, and a finding says why. Called by `control.daemon`; pilot tells.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from lateen.base.names import ObjectRef
from lateen.config import store
from lateen.config.kinds.objects import Object
from lateen.control.pilot import Pilot
from lateen.incremental import Db
from lateen.insight.scratch import Scratch, ScratchFailed, Suspect
from lateen.mesh.view import View
from lateen.serve.catalog import TYPE_OF, Withheld
from lateen.serve.door import Connection
from lateen.serve.session import Rejected
from lateen.wire.delta import decode_response
from lateen.xds.resource import Resource, ResourceType

LONGEST_QUEUE = 64
"""Refusals that wait to be looked into; more are dropped: the same resource comes again from other proxies."""
REMEMBERED = 1024
"""Verdicts kept, so that a thousand proxies that refuse one resource cost one question."""
MOST_SUSPECTS = 2000
"""Resources of one response that are looked into."""

Wanted = tuple[View, ResourceType, str]
"""Whose resource, of which type and name."""


@dataclass(frozen=True)
class Case:
    """One refusal with the bytes it was about."""

    proxy: str
    view: View
    message: str
    suspects: tuple[Suspect, ...]
    versions: tuple[str, ...]


class Attribution:
    """Looks into refusals, one after the other."""

    def __init__(self, pilot: Pilot, scratch: Scratch) -> None:
        self._pilot, self._scratch = pilot, scratch
        self._queue: asyncio.Queue[Case | Withheld] = asyncio.Queue(LONGEST_QUEUE)
        self._verdicts: OrderedDict[tuple[str, str, str], str | None] = OrderedDict()
        self._log = structlog.get_logger("control.attribution")
        pilot.on_rejected.append(self.claim)
        pilot.on_withheld.append(self.withheld)

    def claim(self, connection: Connection, rejected: Rejected) -> None:
        """A proxy refuses a response."""
        view = connection.view
        snapshot = (self._pilot.catalog.snapshots(view) or {}).get(rejected.type_url) if view is not None else None
        if view is None or snapshot is None or view.is_proxyless:  # what gRPC refuses no Envoy can judge: only this client is marked
            return
        entries = [snapshot.entries[name] for name, version in rejected.resources if snapshot.version(name) == version]
        named = [entry for entry in entries if entry.name in rejected.message] or entries
        suspects = tuple(Suspect(rejected.type_url, entry.name, decode_response(b"".join(entry.fragment)).resources[0].body) for entry in named[:MOST_SUSPECTS])
        if suspects and not self._queue.full():
            self._queue.put_nowait(Case(connection.introduction.proxy.id, view, rejected.message, suspects, tuple(entry.version for entry in named)))

    def withheld(self, one: Withheld) -> None:
        """A resource was not sent."""
        if not self._queue.full():
            self._queue.put_nowait(one)

    async def run(self) -> None:
        """For ever."""
        while True:
            case = await self._queue.get()
            try:
                if isinstance(case, Withheld):
                    await self._look_into_withheld(case)
                else:
                    await self._look_into(case)
            except (ScratchFailed, OSError) as error:
                self._log.error("a refusal could not be looked into", error=str(error))

    async def _look_into_withheld(self, case: Withheld) -> None:
        one = case.resource
        if case not in self._pilot.catalog.withheld:  # an object was quarantined or mended meanwhile
            return

        async def is_good(found: Resource) -> bool:
            return not found.problem

        await self._blame(one.origins, (case.view, one.type, one.name), one.problem, is_good)

    async def _look_into(self, case: Case) -> None:
        known = {suspect: (suspect.type_url, suspect.name, version) for suspect, version in zip(case.suspects, case.versions, strict=False)}
        fresh = [suspect for suspect, key in known.items() if key not in self._verdicts]
        culprits = await self._scratch.culprits(fresh) if fresh else {}
        for suspect in fresh:
            self._verdicts[known[suspect]] = culprits.get(suspect)
        while len(self._verdicts) > REMEMBERED:
            self._verdicts.popitem(last=False)
        if not culprits:
            if not any(self._verdicts.get(key) for key in known.values()):
                self._log.warning("a refusal was not reproduced: only this proxy is marked", proxy=case.proxy, message=case.message)
            return
        for suspect, reason in culprits.items():
            snapshot = (self._pilot.catalog.snapshots(case.view) or {}).get(suspect.type_url)
            entry = snapshot.entries.get(suspect.name) if snapshot is not None else None
            origins = entry.origins if entry is not None else frozenset()
            await self._blame(origins, (case.view, TYPE_OF[suspect.type_url], suspect.name), reason, self._is_taken)

    async def _is_taken(self, found: Resource) -> bool:
        return await self._scratch.refusal([Suspect(found.type.value, found.name, found.body)]) is None

    async def _blame(self, origins: frozenset[ObjectRef], args: Wanted, reason: str, is_good: Callable[[Resource], Awaitable[bool]]) -> None:
        pilot, name = self._pilot, args[2]
        named = pilot.candidates(origins)
        candidates = tuple(dict.fromkeys((*named, *pilot.candidates(()))))
        seen, db = {ref: (pilot.overlay.written(ref), pilot.before(ref)) for ref in candidates}, pilot.db.from_scratch()  # of one moment: pilot goes on below
        now: Resource | None = (await asyncio.to_thread(db.read, pilot.catalog.resource_query, args)).value
        if now is None or await is_good(now):  # what was wrong was an object that is quarantined or mended since: it is only not published yet
            return
        culprit = None
        for ref in candidates:
            found = await asyncio.to_thread(_without, db, pilot, ref, seen[ref][1], args)
            if found is not None and await is_good(found):
                culprit = ref
                break
            if (
                found is None and culprit is None and ref in named
            ):  # without a good object, too, there is nothing to be wrong: it is to blame only if no other is
                culprit = ref
        if culprit is None:
            looked_at = [str(ref) for ref in candidates]
            self._log.error("Envoy refuses a resource, and no object alone is to blame", resource=name, reason=reason, looked_at=looked_at)
        elif culprit not in pilot.facts.quarantined and seen[culprit] == (pilot.overlay.written(culprit), pilot.before(culprit)):  # else: mended meanwhile
            self._log.error("an object is quarantined", object=str(culprit), resource=name, reason=reason)
            pilot.quarantine(culprit, f"{name}: {reason}")


def _without(db: Db, pilot: Pilot, ref: ObjectRef, before: Object | None, args: Wanted) -> Resource | None:
    """The resource if the object still had its earlier form; None: it would not be there."""
    now = store.OBJECTS.written(db, ref)
    try:
        store.OBJECTS.remove(db, ref) if before is None else store.OBJECTS.set(db, ref, before)
        node = db.read(pilot.catalog.resource_query, args)
        found: Resource | None = node.value
        return found
    finally:
        store.OBJECTS.remove(db, ref) if now is None else store.OBJECTS.set(db, ref, now)
