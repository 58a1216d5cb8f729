"""Galley: the user's files, followed; what is wrong with them is told, what is good of them goes to pilot.

On one machine with a node, Pods in files are wanted and not there: they go to the node, and come back as what runs.
"""

import asyncio
from collections.abc import Callable

from lateen.base.findings import Finding
from lateen.base.names import ObjectRef
from lateen.config.decode import ref_of
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.objects import Object
from lateen.config.places import Places
from lateen.control.events import Events
from lateen.control.pilot import FILES, Pilot
from lateen.sources.changes import Change
from lateen.sources.files import FileSource


class Galley:
    """The files of the mesh. `written`: every good object of them, Pods included."""

    def __init__(self, source: FileSource, pilot: Pilot, events: Events, *, has_node: bool) -> None:
        self.written: dict[ObjectRef, Object] = {}
        self.places = Places()
        self.listeners: list[Callable[[], None]] = []
        """Told after each change of `written`."""
        self._source, self._pilot, self._events, self._has_node = source, pilot, events, has_node
        self._of_files: tuple[Finding, ...] = ()
        self._of_mesh: tuple[Finding, ...] = ()
        self._has_settled = False
        self._raw: tuple[Finding, ...] = ()
        pilot.on_published.append(self.analysed)

    async def load(self) -> None:
        """Reads everything once."""
        self._take(await asyncio.to_thread(self._source.load))

    async def run(self) -> None:
        """Follows the files for ever."""
        async for change in self._source.changes():
            self._take(change)

    def settle(self) -> None:
        """What starts has started: from now on, what the objects together have wrong is told. Before, half of it is only not there yet."""
        self._has_settled = True
        self.analysed()

    def analysed(self) -> None:
        """Pilot has published: what the objects together have wrong may be another."""
        raw = self._pilot.findings if self._has_settled else ()
        if raw != self._raw:
            self._raw = raw
            self._of_mesh = self.places.all_resolved(raw)
            self._tell()

    def _take(self, change: Change) -> None:
        for item in change.upserts:
            self.written[ref_of(item)] = item
        for ref in change.removed:
            self.written.pop(ref, None)
        self.places = change.places
        self._of_files = change.findings
        self._tell()
        if change.is_empty:
            return
        upserts = [item for item in change.upserts if not (self._has_node and isinstance(item, Pod))]
        removed = [ref for ref in change.removed if not (self._has_node and ref.kind == Pod.__name__)]
        self._pilot.submit(FILES, upserts, removed)
        for listener in self.listeners:
            listener()

    def _tell(self) -> None:
        self._events.found((*self._of_files, *self._of_mesh))
