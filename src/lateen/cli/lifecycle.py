"""The daemons of a mesh as processes: start, adopt, watch, stop. Used by `up` and `down`.

A pid counts only together with the process's start time, so that a reused pid is never taken for ours.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lateen.base.errors import LateenError
from lateen.base.paths import MeshPaths

LEAST_ROOM_BYTES = 64 * 1024
"""With less, records of pods and certificates can't be renewed."""
POLL_S = 0.02


@dataclass(frozen=True)
class Running:
    """A process of ours: `start` is field 22 of /proc/PID/stat (clock ticks since boot)."""

    pid: int
    start: int
    argv: tuple[str, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Still this very process, and not a zombie."""
        return started(self.pid) == self.start

    def signal(self, number: int) -> None:
        """Sends a signal if it still is this process."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within the time."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.is_alive:
                return True
            return bool(select.select([handle], [], [], timeout_s)[0])
        finally:
            os.close(handle)


def started(pid: int) -> int | None:
    """When a process started, in ticks since boot; None: there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def recorded(paths: MeshPaths, daemon: str) -> Running | None:
    """The daemon (`control`, `node`) that a pid file names, if it lives."""
    return _read(paths.run / f"{daemon}.pid")


def _read(path: Path) -> Running | None:
    try:
        record = json.loads(path.read_text())
        found = Running(int(record["pid"]), int(record["start"]), tuple(record.get("argv", ())))
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return found if found.is_alive else None


def start(paths: MeshPaths, daemon: str, arguments: tuple[str, ...]) -> Running:
    """Starts a daemon in a session of its own, output to its log, and records it. OSError: it could not be, and does not run."""
    paths.logs.mkdir(parents=True, exist_ok=True)
    argv = (sys.executable, "-m", "lateen", daemon, *arguments)
    with (paths.logs / f"{daemon}.log").open("ab") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    found = Running(child.pid, started(child.pid) or 0, argv)
    try:
        _write(paths.run / f"{daemon}.pid", found)
    except OSError:
        child.kill()
        child.wait()
        raise
    return found


def _write(path: Path, record: Running) -> None:
    """By a rename; on a full disk over the old record, whose room there is."""
    temporary, data = path.with_suffix(".tmp"), json.dumps({"pid": record.pid, "start": record.start, "argv": record.argv})
    try:
        temporary.write_text(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        if not path.exists():
            raise
        with path.open("r+") as file:
            file.write(data)
            file.truncate()


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room for what the daemons write."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < LEAST_ROOM_BYTES or (found.f_files > 0 and found.f_favail == 0)


@contextlib.contextmanager
def held(paths: MeshPaths) -> Iterator[None]:
    """Holds the name of the mesh while a live `up` runs. Raises LateenError, one line, if another one does."""
    paths.run.mkdir(parents=True, exist_ok=True, mode=0o755)
    with paths.up_lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = holder(paths)
            pid = f" (pid {owner.pid})" if owner else ""
            raise LateenError(
                f"mesh `{paths.name}` is already up{pid}: edit its files, stop it with `lateen down --name {paths.name}`, or choose another --name"
            ) from None
        _write(paths.run / "up.pid", Running(os.getpid(), started(os.getpid()) or 0, tuple(sys.argv)))
        try:
            yield
        finally:
            (paths.run / "up.pid").unlink(missing_ok=True)


def holder(paths: MeshPaths) -> Running | None:
    """The living `up` of this mesh; None: there is none."""
    return _read(paths.run / "up.pid")


def stop(paths: MeshPaths, node_grace_s: float = 45.0) -> None:
    """Stops the daemons: the node first (it stops the pods with their grace), then control; what does not end is killed."""
    for daemon, grace_s in (("node", node_grace_s), ("control", 10.0)):
        process = recorded(paths, daemon)
        if process is None:
            continue
        process.signal(signal.SIGTERM)
        if not process.wait(grace_s):
            process.signal(signal.SIGKILL)
            process.wait(5.0)
        reap(process.pid)


def reap(pid: int) -> None:
    """Collects a child that has ended; not our child is fine."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def until(deadline: float) -> Iterator[None]:
    """Ticks until the monotonic deadline."""
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL_S)


def log_tail(paths: MeshPaths, daemon: str, lines: int = 5) -> str:
    """The last lines of a daemon's log, for an error message."""
    try:
        with (paths.logs / f"{daemon}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
