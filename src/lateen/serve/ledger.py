"""Who has acknowledged what: "live on 7/7 proxies in 11 ms". Without I/O; times are arguments.

A publication opens an entry with the objects that it came from; the door adds each proxy that the publication changes anything for; the entry is
complete when all of them have answered everything published. Removals in grace don't count, a proxy that has gone doesn't either.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lateen.base.names import ObjectRef

KEPT = 256
"""Entries remembered: enough to look back at the last edits, bounded in a flood."""
LATE_S = 5.0
"""After this an incomplete entry is reported as it is; once more when it completes."""


@dataclass(frozen=True)
class Change:
    """An object's change. `generation`: 0 where files have none; `began`: when control saw it, the clock of the caller."""

    object: ObjectRef
    generation: int
    began: float


@dataclass(frozen=True)
class Report:
    """What to tell the user of one publication. `of` 0: no proxy needs it. `refused`: proxies that answered with a refusal."""

    changes: tuple[Change, ...]
    revision: int
    live: int
    of: int
    refused: int
    took_s: float
    is_final: bool


@dataclass
class _Entry:
    revision: int
    changes: tuple[Change, ...]
    waiting: set[int] = field(default_factory=set)
    live: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    is_sealed: bool = False
    is_reported_late: bool = False
    took_s: float = 0.0

    def report(self, now: float, *, is_final: bool) -> Report:
        began = min((change.began for change in self.changes), default=now)
        of = len(self.waiting) + len(self.live) + len(self.refused)
        return Report(self.changes, self.revision, len(self.live), of, len(self.refused), max(0.0, now - began), is_final)


class Ledger:
    """The publications of late, and the proxies each of them waits for. Proxies are numbers that the door gives."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._open: dict[int, _Entry] = {}

    def begin(self, revision: int, changes: Iterable[Change]) -> None:
        """A publication is about to be sent. One of a revision that is open already adds to it: nothing that proxies still owe is forgotten."""
        changes = tuple(changes)
        if (standing := self._open.get(revision)) is not None:
            standing.changes = (*standing.changes, *changes)
            return
        if revision in self._entries and not changes:
            return
        entry = _Entry(revision, changes)
        self._entries[revision] = self._open[revision] = entry
        while len(self._entries) > KEPT:
            old, _ = self._entries.popitem(last=False)
            self._open.pop(old, None)

    def concerns(self, revision: int, proxy: int) -> None:
        """The publication changes something for this proxy."""
        if (entry := self._open.get(revision)) is not None:
            entry.waiting.add(proxy)

    def seal(self, revision: int, now: float) -> tuple[Report, ...]:
        """All that it concerns have been added."""
        entry = self._open.get(revision)
        if entry is None:
            return ()
        entry.is_sealed = True
        return self._completed(now)

    def settled(self, proxy: int, revision: int, now: float) -> tuple[Report, ...]:
        """A proxy has answered everything up to `revision`."""
        for entry in self._open.values():
            if entry.revision <= revision and proxy in entry.waiting:
                entry.waiting.discard(proxy)
                entry.live.add(proxy)
        return self._completed(now)

    def refused(self, proxy: int, now: float) -> tuple[Report, ...]:
        """A proxy refused something of what is open."""
        for entry in self._open.values():
            if proxy in entry.waiting:
                entry.waiting.discard(proxy)
                entry.refused.add(proxy)
        return self._completed(now)

    def gone(self, proxy: int, now: float) -> tuple[Report, ...]:
        """A proxy has disconnected: nobody waits for it."""
        for entry in self._open.values():
            entry.waiting.discard(proxy)
        return self._completed(now)

    def late(self, now: float) -> tuple[Report, ...]:
        """Entries that have been open for too long and were not reported yet."""
        found = []
        for entry in self._open.values():
            if entry.is_sealed and entry.changes and not entry.is_reported_late and entry.report(now, is_final=False).took_s >= LATE_S:
                entry.is_reported_late = True
                found.append(entry.report(now, is_final=False))
        return tuple(found)

    def recent(self, now: float) -> tuple[Report, ...]:
        """What is remembered, oldest first."""
        return tuple(entry.report(now, is_final=revision not in self._open) for revision, entry in self._entries.items() if entry.changes)

    def _completed(self, now: float) -> tuple[Report, ...]:
        done = [revision for revision, entry in self._open.items() if entry.is_sealed and not entry.waiting]
        return tuple(self._open.pop(revision).report(now, is_final=True) for revision in done)
