"""Whether the process is well, as its WorkloadGroup's probe asks. `Health` counts, without I/O; `follow` asks. Called by `process`.

Source: Istio, WorkloadGroup.probe: first after the initial delay, then at each period; what was said stays until a threshold is reached.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from lateen.config.kinds.istio.workload_entry import WorkloadProbe
from lateen.node import probes

_PERIOD_S: Final = 10.0
_TIMEOUT_S: Final = 1.0
_FAILURES: Final = 3
"""Where the probe does not say. Source: Kubernetes, core/v1 Probe."""
_LONGEST_PROBLEM: Final = 200


@dataclass(frozen=True, slots=True)
class Report:
    """What is told to control. `problem` None: well."""

    problem: str | None


class Health:
    """Answers in, reports out."""

    def __init__(self, successes: int, failures: int) -> None:
        """So many in a row change what is said; 0: one success, three failures."""
        self._successes, self._failures = successes or 1, failures or _FAILURES
        self._good = self._bad = 0
        self._said: bool | None = None

    def on_answer(self, problem: str | None) -> Report | None:
        """One answer of the process. None: nothing new is to be said."""
        is_good = problem is None
        self._good, self._bad = (self._good + 1, 0) if is_good else (0, self._bad + 1)
        if self._said is is_good or (self._good < self._successes if is_good else self._bad < self._failures):
            return None
        self._said = is_good
        return Report(problem)


async def follow(probe: WorkloadProbe, host: str, is_open: Callable[[], bool], tell: Callable[[Report], Awaitable[None]]) -> None:
    """Asks until cancelled. `host`: where the process listens, unless the probe says; a proxy that lets nobody through (`is_open`) is a failure."""
    health = Health(probe.success_threshold, probe.failure_threshold)
    await asyncio.sleep(float(probe.initial_delay_seconds))
    while True:
        problem = await answer(probe, host) if is_open() else "its proxy does not serve"
        report = health.on_answer(problem[:_LONGEST_PROBLEM] if problem else None)
        if report is not None:
            await tell(report)
        await asyncio.sleep(float(probe.period_seconds) or _PERIOD_S)


async def answer(probe: WorkloadProbe, host: str) -> str | None:
    """One question. None: well."""
    limit_s = float(probe.timeout_seconds) or _TIMEOUT_S
    if probe.http_get is not None:
        get = probe.http_get
        headers = tuple((header.name, header.value) for header in get.http_headers)
        return await asyncio.to_thread(probes.http, probes.HttpCheck(get.host or host, get.port, get.path or "/", get.scheme or "HTTP", headers), limit_s)
    if probe.tcp_socket is not None:
        return await asyncio.to_thread(probes.tcp, probe.tcp_socket.host or host, probe.tcp_socket.port, limit_s)
    if probe.grpc is not None:
        return await asyncio.to_thread(probes.grpc, host, probe.grpc.port, probe.grpc.service, limit_s)
    if probe.exec is not None:
        return await _executed(probe.exec.command, limit_s)
    return None


async def _executed(command: tuple[str, ...], limit_s: float) -> str | None:
    """Well: it ends with 0 in time. What it started ends with it."""
    nowhere = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    except OSError as error:
        return f"the command cannot be run: {error.strerror}: {command[0]}"
    try:
        async with asyncio.timeout(limit_s):
            code = await process.wait()
    except TimeoutError:
        return "the command did not end in time"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return None if code == 0 else f"the command ended with {code}"
