"""Files and folders of YAML, read at the start and followed from then on.

Called by `control` (follows) and `sources.check` (reads once). What text means and what stays in force is `sources.file_set`'s; here are only
the disk, the waiting until a file has come to rest, and the watching.
"""

import asyncio
import contextlib
import os
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import awatch

from lateen.config.defaults import with_defaults
from lateen.sources.changes import Change
from lateen.sources.file_set import FileSet, Unreadable

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
IMAGE_MAP = "image-map.yaml"
"""In a folder of objects a file of this name says how images run here; it holds no objects."""
REST_S = 0.02
"""A file is taken when its size and time have been the same for so long: editors write in pieces."""
RESCAN_S = 5.0
"""Everything is looked at so often whatever the kernel reports: queues overflow, network file systems report nothing."""
GONE_REST_S = 0.1
"""A file is gone when it has been missing for so long: editors replace files in two steps."""
TIMER_S = 0.001
"""How exactly the loop's timers go off: so much later, a file that was due is."""
WATCH_STEP_MS = 2
"""How often changes that the kernel has reported are picked up: an edit waits for two of them; idle, each ms less costs a processor's percent."""
MAX_WAIT_S = 2.0
"""A file that never rests is taken after so long, as it is."""
Stamp = tuple[int, int, int]
"""Size, modification time in ns, inode."""


@dataclass
class Resting:
    """Which files have come to rest; sans-I/O. `seen` gets each file's stamp whenever it is looked at."""

    rest_s: float = REST_S
    taken: dict[str, Stamp | None] = field(default_factory=dict)
    """Stamps of what was taken. None: it could not be read."""
    _moving: dict[str, tuple[Stamp | None, float, float]] = field(default_factory=dict)
    _missing: dict[str, float] = field(default_factory=dict)

    def seen(self, stamps: dict[str, Stamp | None], now: float, wall_ns: int = 0) -> tuple[list[str], list[str]]:
        """Files to take now, and files that are gone. `now`: of one clock, in seconds. `wall_ns`: the clock of files' times. A file has rested since it was
        written, which is a few ms before it is seen; 0, or a time that is not of just now (another machine's clock may be off): since it was seen."""
        ready: list[str] = []
        for name, stamp in stamps.items():
            if name in self.taken and self.taken[name] == stamp:
                self._moving.pop(name, None)
                continue
            before = self._moving.get(name)
            if before is None or before[0] != stamp:
                since = now - self._age_s(stamp, wall_ns)
                self._moving[name] = (stamp, since, before[2] if before else since)
                before = self._moving[name]
            if now - before[1] >= self.rest_s or now - before[2] >= MAX_WAIT_S:
                ready.append(name)
                self.taken[name] = stamp
                del self._moving[name]
        self._missing = {name: self._missing.get(name, now) for name in self.taken if name not in stamps}
        gone = [name for name, since in self._missing.items() if now - since >= GONE_REST_S]
        for name in gone:
            del self.taken[name], self._missing[name]
        self._moving = {name: state for name, state in self._moving.items() if name in stamps}
        return ready, gone

    def _age_s(self, stamp: Stamp | None, wall_ns: int) -> float:
        """How long ago the file was written, where that is less than a rest; else 0."""
        age_s = (wall_ns - stamp[1]) / 1e9 if stamp is not None else 0.0
        return age_s if 0.0 < age_s < self.rest_s else 0.0

    @property
    def due(self) -> float | None:
        """When to look again: a file will have rested, or is given up, if nothing happens to it; None: at rest and complete. Files that come to rest soon
        after one another are looked at together: they were saved together, and are one change."""
        rests = [min(since + self.rest_s, first + MAX_WAIT_S) for _, since, first in self._moving.values()]
        rests += [since + GONE_REST_S for since in self._missing.values()]
        return max((one for one in rests if one <= min(rests) + self.rest_s / 2), default=None)


class FileSource:
    """Files, folders (searched whole, hidden entries left out) and `-` for standard input, in the order given.

    `exclude`: files in those folders that are something else (an image map).
    """

    def __init__(self, paths: Iterable[str | Path], exclude: Iterable[str | Path] = ()) -> None:
        self._paths = tuple(str(path) for path in paths)
        self._exclude = frozenset(os.path.realpath(path) for path in exclude)
        self._rank: dict[str, tuple[int, str]] = {}
        self._set = FileSet(lambda name: self._rank.get(name, (len(self._paths), name)), with_defaults)
        self._resting = Resting()

    def load(self) -> Change:
        """Everything, once, as it is now. Blocks."""
        stamps = self._stamps()
        for name, stamp in stamps.items():
            self._set.put(name, _content(name))
            self._resting.taken[name] = stamp
        for index, path in enumerate(self._paths):
            if path == STDIN:
                self._rank[STDIN] = (index, STDIN)
                self._set.put(STDIN, sys.stdin.buffer.read())
        return self._set.take()

    async def changes(self) -> AsyncIterator[Change]:
        """Changes after `load`, for as long as they are asked for. Reading and decoding happen in a thread."""
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()
        # No TaskGroup: a generator may be closed from another task than the one that opened the group.
        watchers = [asyncio.create_task(_watch(folders, wake, recursive)) for folders, recursive in self._watched()]
        try:
            while True:
                due = self._resting.due
                timeout_s = RESCAN_S if due is None else max(TIMER_S, due - loop.time() + TIMER_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await wake.wait()
                wake.clear()
                ready, gone = self._resting.seen(self._stamps(), loop.time(), time.time_ns())
                if ready or gone:
                    yield await asyncio.to_thread(self._taken, ready, gone)
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)

    def _taken(self, ready: list[str], gone: list[str]) -> Change:
        for name in gone:
            self._set.remove(name)
        for name in ready:
            self._set.put(name, _content(name))
        return self._set.take()

    def _stamps(self) -> dict[str, Stamp | None]:
        """Every file there is now, with its stamp, in the order given. A path named by the user that never was there counts as unreadable."""
        found: dict[str, Stamp | None] = {}
        for index, path in enumerate(self._paths):
            if path == STDIN:
                continue
            names = _under(path) if Path(path).is_dir() else (path,)
            for name in names:
                if os.path.realpath(name) in self._exclude or name in found:
                    continue
                stamp = _stamp(name)
                if stamp is None and self._resting.taken.get(name) is not None:
                    continue
                found[name] = stamp
                self._rank[name] = (index, name)
        return found

    def _watched(self) -> list[tuple[tuple[str, ...], bool]]:
        """Folders to watch: whole ones, and those that merely hold a named file (an editor replaces the file, so the file itself cannot be watched)."""
        named = [path for path in self._paths if path != STDIN]
        whole = tuple(sorted({path for path in named if Path(path).is_dir()}))
        holding = tuple(sorted({str(Path(path).parent) for path in named if not Path(path).is_dir()}))
        return [(folders, recursive) for folders, recursive in ((whole, True), (holding, False)) if folders]


def _under(folder: str) -> list[str]:
    found: list[str] = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [str(Path(base, name)) for name in names if name.endswith(SUFFIXES) and not name.startswith((".", "#")) and name != IMAGE_MAP]
    return sorted(found)


def _stamp(name: str) -> Stamp | None:
    try:
        status = Path(name).stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def _content(name: str) -> bytes | Unreadable:
    path = Path(name)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Unreadable("not a regular file")
        return path.read_bytes()
    except OSError as error:
        return Unreadable((error.strerror or str(error)).lower())


def _folders(names: Iterable[str]) -> list[str]:
    return [name for name in names if Path(name).is_dir()]


async def _watch(folders: tuple[str, ...], wake: asyncio.Event, recursive: bool) -> None:
    """Sets `wake` when the kernel reports anything in the folders. Where it cannot watch (a missing folder, no inotify watches left), the rescan does."""
    while True:
        present = _folders(folders)
        try:
            if present:
                async for _ in awatch(*present, watch_filter=None, debounce=50, step=WATCH_STEP_MS, recursive=recursive, ignore_permission_denied=True):
                    wake.set()
        except (OSError, RuntimeError):
            pass
        await asyncio.sleep(RESCAN_S)
