"""The last known good of every proxy of this node, on disk: what each has accepted, byte for byte, so that an Envoy can start while control is away.

One SQLite file. Equal bytes are kept once, however many proxies hold them. Written in batches by a thread of its own, so that the relay never waits
for the disk;
when the disk is full the batch stays in memory and is tried again. Called by `node.relay`; `wire.relay` reads through `Record`.
"""

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from lateen.node.disk import make_directory, open_tables
from lateen.wire.relay import Keep, Known, Record

FILE: Final = "known-good.db"
_GATHER_S: Final = 0.1
"""Changes of so long go to disk together: what a `kill -9` of the node may lose of a change that Envoy has."""
_RETRY_S: Final = 2.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS body (digest BLOB PRIMARY KEY, fragment BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (pod TEXT, type TEXT, name TEXT, version TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (pod, type, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS known_digest ON known (digest);
"""
_SWEEP: Final = "DELETE FROM body WHERE NOT EXISTS (SELECT 1 FROM known WHERE known.digest = body.digest)"
_SWEEP_S: Final = 60.0
"""Bodies that nobody holds any more stay at most so long: looking for them costs as much as there are bodies."""
_Key = tuple[str, str, str]
_log = structlog.get_logger("node.known")


class KnownGood:
    """The record of all proxies. Its methods belong to the event loop's thread."""

    def __init__(self, directory: Path) -> None:
        """Opens the file in `directory` (0700: it may hold users' keys). A damaged one is put aside: control will say everything again."""
        make_directory(directory)
        self._path = directory / FILE
        try:
            self._reader = self._open()
        except sqlite3.DatabaseError as error:
            _log.warning("the record is damaged and put aside", path=str(self._path), error=str(error))
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            self._reader = self._open()
        self._thread = ThreadPoolExecutor(1, "known-good")
        self._waiting: dict[_Key, Known | None] = {}
        self._writing: dict[_Key, Known | None] = {}
        self._wake = asyncio.Event()
        self._sweep_at = time.monotonic() + _SWEEP_S
        self.is_behind = False
        """Whether the last attempt to write failed."""

    def of(self, pod: str) -> Record:
        """The record of one proxy, for its relay session. `pod`: any stable name."""
        return _OnePod(self, pod)

    def keep(self, pod: str, change: Keep) -> None:
        """Takes note; the disk follows."""
        for name, known in change.kept.items():
            self._waiting[pod, change.type_url, name] = known
        for name in change.gone:
            self._waiting[pod, change.type_url, name] = None
        self._wake.set()

    def known(self, pod: str, type_url: str) -> Mapping[str, Known]:
        """What the proxy has accepted of one type, the changes that wait for the disk included."""
        rows = self._reader.execute("SELECT name, version, fragment FROM known JOIN body USING (digest) WHERE pod = ? AND type = ?", (pod, type_url))
        found = {name: Known(version, fragment) for name, version, fragment in rows}
        for changes in (self._writing, self._waiting):
            for (owner, kind, name), known in changes.items():
                if (owner, kind) == (pod, type_url):
                    if known is None:
                        found.pop(name, None)
                    else:
                        found[name] = known
        return found

    async def run(self) -> None:
        """Writes until cancelled; then writes what is left, once."""
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(_RETRY_S if self.is_behind else _GATHER_S)
                await self._flush()
        finally:
            await asyncio.shield(self._flush())

    async def forget(self, pod: str) -> None:
        """The pod is gone for good: so is its record, and every body that nobody holds any more."""
        for changes in (self._waiting, self._writing):
            for key in [key for key in changes if key[0] == pod]:
                del changes[key]
        await asyncio.get_running_loop().run_in_executor(self._thread, self._delete, pod)

    def close(self) -> None:
        """Lets go of the file. Call it after `run` has ended."""
        self._thread.shutdown()
        self._reader.close()

    async def _flush(self) -> None:
        self._writing = self._writing | self._waiting
        self._waiting = {}
        self._wake.clear()
        if not self._writing:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, dict(self._writing))
        except sqlite3.Error as error:
            self._wake.set()
            if not self.is_behind:
                _log.warning("the last known good cannot be written; it stays in memory", path=str(self._path), error=str(error))
            self.is_behind = True
            return
        self._writing = {}
        self.is_behind = False

    def _open(self) -> sqlite3.Connection:
        return open_tables(self._path, _SCHEMA, 5.0)

    def _write(self, changes: dict[_Key, Known | None]) -> None:
        """In the thread. Raises sqlite3.Error; then nothing of `changes` is written."""
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for (pod, kind, name), known in changes.items():
                if known is None:
                    connection.execute("DELETE FROM known WHERE pod = ? AND type = ? AND name = ?", (pod, kind, name))
                    continue
                digest = hashlib.sha256(known.fragment).digest()
                connection.execute("INSERT OR IGNORE INTO body VALUES (?, ?)", (digest, known.fragment))
                connection.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", (pod, kind, name, known.version, digest))
            if time.monotonic() >= self._sweep_at:
                connection.execute(_SWEEP)
                self._sweep_at = time.monotonic() + _SWEEP_S
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _delete(self, pod: str) -> None:
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM known WHERE pod = ?", (pod,))
            connection.execute(_SWEEP)
            connection.execute("COMMIT")
        finally:
            connection.close()


class _OnePod:
    """One proxy's view of the record."""

    def __init__(self, all_pods: KnownGood, pod: str) -> None:
        self._all = all_pods
        self._pod = pod

    def known(self, type_url: str) -> Mapping[str, Known]:
        """Source: `wire.relay.Record`."""
        return self._all.known(self._pod, type_url)
