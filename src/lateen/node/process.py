"""A process that may not be our child: known by pid and start time, watched and signalled through a pidfd. Linux only.

Called by `node.sidecar`; a new node adopts what an earlier one started. Exit codes are known of children only.
"""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """Names one process for good: the kernel reuses pids. `started`: field 22 of /proc/PID/stat, clock ticks since boot."""

    pid: int
    started: int


def identify(pid: int) -> ProcessId | None:
    """The process that has `pid` now. None: none, or one that has ended and waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else ProcessId(pid, int(fields[19]))


class Process:
    """A living process. Close it."""

    def __init__(self, identity: ProcessId, descriptor: int) -> None:
        """Use `watch`."""
        self.identity = identity
        self._descriptor = descriptor

    async def ended(self) -> int | None:
        """Returns when it has ended: its exit code (negative: the signal), or None if it is not our child and nobody knows."""
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def readable() -> None:
            loop.remove_reader(self._descriptor)
            if not over.done():
                over.set_result(None)

        loop.add_reader(self._descriptor, readable)
        try:
            await over
        finally:
            loop.remove_reader(self._descriptor)
        return _reaped(self.identity.pid)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; does nothing to a process that has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        """Lets go of it; the process lives on."""
        os.close(self._descriptor)


def watch(pid: int, started: int | None = None) -> Process | None:
    """The living process `pid`. None: gone, or (given `started`) another one by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    identity = identify(pid)
    if identity is None or (started is not None and identity.started != started):
        os.close(descriptor)
        return None
    return Process(identity, descriptor)


def _reaped(pid: int) -> int | None:
    try:
        _, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status)
