"""One pod's Envoy: started, watched, restarted when it dies, drained and stopped, adopted by the next node.

Whoever runs pods says how a process is started in a pod (`Spawn`); everything else is here. The directory holds all that Envoy sees: `envoy.json`,
`ads.sock` (the
relay), `admin.sock`, `certs/`, and its output.
"""

import asyncio
import json
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import structlog

from lateen.node.admin import Admin, AdminUnreachable
from lateen.node.bootstrap import ADMIN_SOCKET, OPEN_CONNECTIONS, OWN_LISTENER, BootstrapOptions, bootstrap, listener_limit
from lateen.node.disk import make_directory, write_durably
from lateen.node.pod import PodIdentity, ProxyType
from lateen.node.process import Process, watch
from lateen.wire.binary import envoy_path

CONFIG: Final = "envoy.json"
OUTPUT: Final = "access.log"
LOG: Final = "envoy.log"
_STARTING_POLL_S: Final = 0.03
_LIVE_POLL_S: Final = 2.0
_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_STEADY_S: Final = 10.0
"""An Envoy that lived so long starts the back-off anew."""
_TERM_S: Final = 3.0
_FLUSH_MS: Final = 200
"""How often output is written to its file where nobody says: somebody reads it at the terminal."""
_DRAIN_POLL_S: Final = 0.1
_OPEN_FILTER: Final = rf"^listener\.[^a].*{re.escape(OPEN_CONNECTIONS)}$"
"""Open connections at the proxy's listeners; `admin` is not one of those."""
_log = structlog.get_logger("node.sidecar")


class Spawn(Protocol):
    """Starts a process in the pod: its network, Envoy's user, CAP_NET_ADMIN and no other right. `output` and `log` are opened for appending."""

    async def __call__(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path, log: Path) -> int:
        """The pid. Raises OSError or LateenError."""


class Phase(Enum):
    """Where an Envoy is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    LIVE = "live"
    BACKOFF = "backoff"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class SidecarOptions:
    """How this mesh runs its Envoys. `concurrency`: worker threads. `log_limit_bytes`: of each output file, and of the one before it."""

    bootstrap: BootstrapOptions = field(default_factory=BootstrapOptions)
    concurrency: int = 1
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    log_limit_bytes: int = 4_000_000
    envoy: Path | None = None
    """None: the one in the installed wheel."""


class Sidecar:
    """The Envoy of one pod. `start` or `adopt`, then `wait_ready`; `drain` and `stop` at the end."""

    def __init__(self, pod: PodIdentity, directory: Path, spawn: Spawn, options: SidecarOptions, owner: tuple[int, int] | None = None) -> None:
        """`directory`: of this pod's proxy alone. `owner`: Envoy's user and group, if not ours."""
        self._pod = pod
        self._directory = directory
        self._spawn = spawn
        self._options = options
        self._owner = owner
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._live = asyncio.Event()
        self._phase = Phase.STOPPED
        self._restarts = 0
        self._last_exit = ""
        self._started_s = 0.0
        self._problem = ""
        self._limited: set[str] = set()
        """Listeners that have their limit of connections."""
        self.admin = Admin(directory / ADMIN_SOCKET)

    async def start(self) -> None:
        """Writes what Envoy starts from, starts it and watches over it. Raises OSError, LateenError if it cannot even be started."""
        self._prepare()
        await self._launch()
        self._task = asyncio.create_task(self._watch_over(), name=f"envoy of {self._pod.namespace}/{self._pod.name}")

    async def adopt(self, state: Mapping[str, Any]) -> bool:
        """Takes over the Envoy of an earlier node from its `state()`, pid unchanged. False: it is gone, and a new one was started."""
        pid, started = state.get("pid"), state.get("startTime")
        process = watch(pid, started) if isinstance(pid, int) and isinstance(started, int) else None
        if process is None:
            self._last_exit = "while no node was watching"
            await self.start()
            return False
        self._process = process
        self._phase = Phase.STARTING
        self._restarts = int(state.get("restarts", 0))
        self._started_s = float(state.get("startedAt", time.time()))
        self._task = asyncio.create_task(self._watch_over(), name=f"envoy of {self._pod.namespace}/{self._pod.name}")
        return True

    def ready(self) -> bool:
        """Whether Envoy was seen to serve lately."""
        return self._live.is_set()

    async def wait_ready(self) -> None:
        """Returns when Envoy has its configuration and serves."""
        await self._live.wait()

    async def drain(self) -> None:
        """Asks clients to go elsewhere: responses say `connection: close`, HTTP/2 says GOAWAY; what is open and what comes is still served.

        Of a sidecar only those who come in; its application's own connections go on. Of a gateway everybody.
        """
        which = "" if self._pod.proxy_type is ProxyType.ROUTER else "&inboundonly"
        try:
            await self.admin.ask("POST", f"/drain_listeners?graceful{which}&skip_exit")
        except AdminUnreachable as error:
            _log.warning("not drained", pod=self._pod.name, reason=str(error))

    async def stop(self, grace_s: float = 0.0) -> None:
        """Ends Envoy: when its last connection is closed, at the latest after `grace_s`."""
        self._phase = Phase.STOPPING
        self._live.clear()
        if self._process is not None and grace_s > 0:
            await self._idle(grace_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._process is not None:
            await self._end(self._process)
            self._process = None
        self._phase = Phase.STOPPED

    async def release(self) -> None:
        """Stops watching and leaves Envoy running, for the next node."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._process is not None:
            self._process.close()
            self._process = None

    def state(self) -> dict[str, Any]:
        """JSON for disk and for the command line; `adopt` reads it."""
        identity = self._process.identity if self._process else None
        return {
            "phase": self._phase.value,
            "ready": self.ready(),
            "pid": identity.pid if identity else None,
            "startTime": identity.started if identity else None,
            "startedAt": self._started_s,
            "restarts": self._restarts,
            "lastExit": self._last_exit,
            "problem": self._problem,
        }

    def _prepare(self) -> None:
        make_directory(self._directory, 0o700, self._owner)
        config = json.dumps(bootstrap(self._pod, self._options.bootstrap), sort_keys=True)
        write_durably(self._directory / CONFIG, config.encode(), 0o600, self._owner)

    def _argv(self) -> list[str]:
        options = self._options
        argv = [str(options.envoy or envoy_path()), "-c", CONFIG, "--disable-hot-restart", "--drain-strategy", "immediate"]
        settings = options.bootstrap.settings
        threads = options.concurrency if settings.concurrency is None else settings.concurrency
        argv += ["--concurrency", str(threads)] if threads else []  # of itself Envoy has one per core
        argv += ["--drain-time-s", str(settings.drain_s), "--file-flush-interval-msec", str(settings.flush_interval_ms or _FLUSH_MS)]
        argv += ["--file-flush-min-size-kb", str(settings.flush_min_kb)] if settings.flush_min_kb else []
        return [*argv, "--log-level", options.log_level, "--component-log-level", options.component_log_level]

    async def _launch(self) -> None:
        pid = await self._spawn(
            self._argv(), env=self._options.bootstrap.settings.environment, cwd=self._directory, output=self._directory / OUTPUT, log=self._directory / LOG
        )
        self._started_s = time.time()
        self._limited.clear()
        self._process = watch(pid)
        self._phase = Phase.STARTING

    async def _watch_over(self) -> None:
        pause_s = 0.0
        while True:
            began = time.monotonic()
            if self._process is not None:
                await self._attend(self._process)
                self._process.close()
                self._process = None
            self._live.clear()
            pause_s = 0.0 if time.monotonic() - began > _STEADY_S else min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, pause_s * 2))
            self._phase = Phase.BACKOFF
            await asyncio.sleep(pause_s)
            try:
                self._restarts += 1
                await self._launch()
            except Exception as error:  # noqa: BLE001  # the guard of this task: whatever keeps an Envoy from starting is said, and tried again
                self._problem = str(error)
                _log.warning("Envoy does not start", pod=self._pod.name, reason=str(error))

    async def _attend(self, process: Process) -> None:
        """Until the process ends: readiness and the size of its output."""
        over = asyncio.create_task(process.ended())
        try:
            while not over.done():
                await self._look()
                await asyncio.wait({over}, timeout=_LIVE_POLL_S if self._live.is_set() else _STARTING_POLL_S)
            code = over.result()
        finally:
            over.cancel()
        self._last_exit = "unknown: an earlier node's child" if code is None else f"signal {-code}" if code < 0 else f"code {code}"
        self._problem = f"{self._last_exit}: {self._last_words()}"
        _log.warning("Envoy ended", pod=self._pod.name, how=self._last_exit, last_words=self._last_words())

    async def _look(self) -> None:
        is_ready = await self.admin.is_ready()
        if is_ready and not self._live.is_set():
            self._phase = Phase.LIVE
            self._problem = ""
            self._live.set()
        if is_ready:
            await self._limit_listeners()
        for name in (OUTPUT, LOG):
            bound(self._directory / name, self._options.log_limit_bytes)

    async def _limit_listeners(self) -> None:
        """Connections at each listener of a gateway: its limits go by names, and which there are its configuration says. A sidecar's one is known at its
        start."""
        most = self._options.bootstrap.settings.most_listener_connections
        if most is None or self._pod.proxy_type is not ProxyType.ROUTER:
            return
        try:
            told = json.loads((await self.admin.ask("GET", "/listeners?format=json")).body)
            names = {one.get("name", "") for one in told.get("listener_statuses", ())}
            for name in sorted(names - self._limited):
                if not name.startswith(OWN_LISTENER):
                    await self.admin.ask("POST", f"/runtime_modify?{quote(listener_limit(name))}={most}")
                self._limited.add(name)
        except (AdminUnreachable, ValueError) as error:
            _log.warning("listeners without their limit of connections", pod=self._pod.name, reason=str(error))

    def _last_words(self) -> str:
        """The last line Envoy wrote that says something is wrong, without its time stamp."""
        try:
            text = (self._directory / LOG).read_bytes()[-4000:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if re.search(r"\]\[(error|critical)\]", line)]
        return re.sub(r"^(\[[^]]*\])+ ?", "", lines[-1])[:400] if lines else ""

    async def _idle(self, grace_s: float) -> None:
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            try:
                answer = await self.admin.ask("GET", f"/stats?filter={_OPEN_FILTER}", 1.0)
            except AdminUnreachable:
                return
            if not re.search(rb": [1-9]", answer.body):
                return
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _end(self, process: Process) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.signal(number)
            try:
                async with asyncio.timeout(_TERM_S):
                    await process.ended()
                    break
            except TimeoutError:
                continue
        process.close()


def bound(file: Path, limit_bytes: int) -> None:
    """Keeps a file that somebody appends to below `limit_bytes`: what it holds moves to `<name>.1`, and it goes on empty.

    Lines written meanwhile may be lost.
    """
    try:
        if file.stat().st_size <= limit_bytes:
            return
        shutil.copyfile(file, file.with_name(f"{file.name}.1"))
        with file.open("r+b") as opened:
            opened.truncate(0)
    except OSError as error:
        _log.warning("output not bounded", file=str(file), reason=str(error))
