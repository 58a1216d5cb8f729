"""Processes by pid and start time: is it still the same one, wait for its end, end it. Called by `runner`, `cleanup` and `enter`.

Nothing here goes by a process's name. Waiting uses pidfds, so that a daemon that did not start a process can still wait for it.
"""

import asyncio
import contextlib
import os
import signal
from functools import cache
from pathlib import Path

from lateen.local.isolation.seam import ProcessRef

EXIT_UNKNOWN = -1
"""The exit code of a process whose parent is gone: nobody can read it any more, so it counts as failed."""


@cache
def boot_id() -> str:
    """Names the current boot of the machine: pids of another boot mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (field 3). Empty: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def reference(pid: int) -> ProcessRef:
    """A lasting reference to a process that runs now. ProcessLookupError."""
    fields = _fields(pid)
    if not fields:
        raise ProcessLookupError(pid)
    return ProcessRef(pid, int(fields[19]))


def is_alive(process: ProcessRef) -> bool:
    """Whether this very process still runs; a zombie does not."""
    fields = _fields(process.pid)
    return bool(fields) and fields[0] not in "ZX" and int(fields[19]) == process.start_ticks


def send(process: ProcessRef, number: signal.Signals) -> bool:
    """Send a signal to this very process. False: it is gone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def all_pids() -> tuple[int, ...]:
    """Every process of this machine."""
    return tuple(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def session_members(pid: int) -> tuple[int, ...]:
    """The processes of the session that `pid` leads or led."""
    members = []
    for other in all_pids():
        if (fields := _fields(other)) and int(fields[3]) == pid and fields[0] not in "ZX":
            members.append(other)
    return tuple(members)


def kill_session(process: ProcessRef) -> None:
    """SIGKILL to the process and to what is left of its session."""
    for pid in session_members(process.pid):
        with contextlib.suppress(OSError):
            member = reference(pid)
            if member.start_ticks >= process.start_ticks:
                send(member, signal.SIGKILL)


async def ended(process: ProcessRef) -> int:
    """Wait for the end of a process: its exit code as a shell says it (128 + signal), EXIT_UNKNOWN if it was not our child."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return _reaped(process.pid)
    try:
        if is_alive(process):
            loop = asyncio.get_running_loop()
            done: asyncio.Future[None] = loop.create_future()

            def on_end() -> None:
                if not done.done():
                    done.set_result(None)

            loop.add_reader(descriptor, on_end)
            try:
                await done
            finally:
                loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)
    return _reaped(process.pid)


def _reaped(pid: int) -> int:
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return EXIT_UNKNOWN
    if done == 0:
        return EXIT_UNKNOWN
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
