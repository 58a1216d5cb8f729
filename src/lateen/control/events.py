"""What a living `up` prints, as JSON events: fan-out to every listener, with a bound each. Called by the wiring files; read by the interface."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lateen.base.findings import Finding

LONGEST_QUEUE = 1000
"""Events that wait for a slow terminal; the oldest are dropped."""

Event = dict[str, Any]
"""JSON; `event` names its kind (docs/json.md)."""


class Events:
    """Broadcasts events; what is remembered greets a new listener."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event]] = set()
        self._findings: dict[Finding, Event] = {}
        self._is_ready = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong now."""
        return tuple(self._findings)

    def emit(self, event: Event) -> None:
        """Tells every listener."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def ready(self) -> None:
        """Everything runs; told once, and to each later listener at once."""
        if not self._is_ready:
            self._is_ready = True
            self.emit({"event": "ready"})

    def found(self, findings: tuple[Finding, ...]) -> None:
        """The findings as they are now: new ones and resolved ones are told."""
        now = dict.fromkeys(findings)
        for finding in [finding for finding in self._findings if finding not in now]:
            self.emit({**self._findings.pop(finding), "event": "resolved"})
        for finding in now:
            if finding not in self._findings:
                event = self._findings[finding] = {**finding_json(finding), "event": "finding"}
                self.emit(event)

    async def follow(self) -> AsyncIterator[Event]:
        """All events from now on, preceded by what stands."""
        queue: asyncio.Queue[Event] = asyncio.Queue(LONGEST_QUEUE)
        for event in list(self._findings.values())[: LONGEST_QUEUE // 2]:
            queue.put_nowait(event)
        if self._is_ready:
            queue.put_nowait({"event": "ready"})
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)


def finding_json(finding: Finding) -> Event:
    """A finding with the field names of docs/json.md."""
    named, place = finding.object, finding.place
    return {
        "code": finding.code,
        "severity": finding.severity.name.lower(),
        "message": finding.message,
        "object": {"kind": named.kind, "namespace": named.namespace, "name": named.name} if named else None,
        "field": finding.field,
        "hint": finding.hint,
        "file": place.source if place else "",
        "line": place.line if place else 0,
        "column": place.column if place else 0,
    }
