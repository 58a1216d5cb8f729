"""The living `up`: starts or adopts the daemons, restarts the dead, prints what happens, stops everything on Ctrl-C."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click

from lateen.base.errors import LateenError
from lateen.base.paths import MeshPaths
from lateen.cli import lifecycle
from lateen.cli.events import EventPrinter, print_ready, tell
from lateen.cli.lifecycle import Running
from lateen.cli.rpc import Json

RESTART_DELAY_S = 0.1
"""A dead daemon is back within a second; its own start takes the rest."""
CRASHES, CRASH_WINDOW_S = 5, 20.0
"""So many deaths in such a time: restarting does not help; stop and say why."""
ROOM_CHECK_S = 1.0
"""How often the disks' room is looked at."""
TROUBLE_TIMEOUT_S = 10.0
"""After this, `up` says what is not ready if a pod is in trouble of its own making; the rest runs meanwhile."""
READY_TIMEOUT_S = 120.0
"""After this, `up` says what is not ready and goes on."""


@dataclass(frozen=True)
class Plan:
    """What to run. `sources`: absolute paths; `publish`: PORT=HOSTPORT pairs."""

    paths: MeshPaths
    sources: tuple[str, ...]
    publish: tuple[str, ...] = ()
    image_map: Path | None = None
    listen: str | None = None
    scope: str = "complete"

    def arguments(self, daemon: str) -> tuple[str, ...]:
        """The command line of a daemon."""
        publish = tuple(part for pair in self.publish for part in ("--publish", pair))
        if daemon == "control":
            listen = ("--listen", self.listen) if self.listen else ()
            return (*self.sources, "--name", self.paths.name, "--local", *publish, *listen, "--scope", self.scope)
        return ("--name", self.paths.name, *publish, *(("--image-map", str(self.image_map)) if self.image_map else ()))


def detached(plan: Plan) -> int:
    """Starts `up` in the background and returns once the mesh is ready. 1: it did not get ready."""
    if lifecycle.holder(plan.paths):
        with lifecycle.held(plan.paths):  # says who holds it
            pass
    plan.paths.logs.mkdir(parents=True, exist_ok=True)
    image_map = ("--image-map", str(plan.image_map)) if plan.image_map else ()
    publish = tuple(part for pair in plan.publish for part in ("--publish", pair))
    listen = ("--listen", plan.listen) if plan.listen else ()
    argv = (sys.executable, "-m", "lateen", "up", *plan.sources, "--name", plan.paths.name, *image_map, *publish, *listen, "--scope", plan.scope)
    log_path = plan.paths.logs / "up.log"
    with log_path.open("wb") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/")
    for _ in lifecycle.until(time.monotonic() + READY_TIMEOUT_S):
        text = log_path.read_text(errors="replace")
        if "\nready in " in text or "\nnot ready: " in text or child.poll() is not None:
            break
    click.echo(log_path.read_text(errors="replace"), nl=False)
    return 0 if child.poll() is None else child.returncode or 1


def supervise(plan: Plan) -> int:
    """Runs until a signal. 0: stopped as asked; 1: the daemons can't be kept alive."""
    with lifecycle.held(plan.paths):
        return asyncio.run(_Up(plan).run())


class _Up:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.paths = plan, plan.paths
        self.stopping = asyncio.Event()
        self.failed = ""
        self.is_told_ready = self.has_trouble = False
        self.began = time.monotonic()
        self.tasks: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)
        self.tasks = [asyncio.create_task(self._keep(daemon)) for daemon in ("control", "node")]
        self.tasks += [asyncio.create_task(self._follow()), asyncio.create_task(self._remind()), asyncio.create_task(self._watch_room())]
        await self.stopping.wait()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        tell(f"stopping {self.paths.name} …", err=True)
        await asyncio.to_thread(tear_down, self.paths)
        tell(self.failed or "stopped; nothing is left", err=True)
        return 1 if self.failed else 0

    def _signalled(self) -> None:
        if self.stopping.is_set():  # the second Ctrl-C: no grace
            for daemon in ("node", "control"):
                process = lifecycle.recorded(self.paths, daemon)
                if process:
                    process.signal(signal.SIGKILL)
        self.stopping.set()

    async def _keep(self, daemon: str) -> None:
        """Keeps one daemon alive; adopts the one that runs if it runs what we want."""
        deaths: deque[float] = deque(maxlen=CRASHES)
        process = lifecycle.recorded(self.paths, daemon)
        if process and process.argv[3:] != (daemon, *self.plan.arguments(daemon)):
            await asyncio.to_thread(self._replace, process)  # other files or options: a new one adopts the pods
            process = None
        elif process:
            tell(f"adopted {daemon} (pid {process.pid})", err=True)
        while True:
            if process is None:
                process = await self._started(daemon)
            await _ended(process)
            lifecycle.reap(process.pid)
            if lifecycle.is_full(self.paths.run):
                deaths.clear()  # it is not the daemon's fault, and stopping what runs helps nobody
            deaths.append(time.monotonic())
            if len(deaths) == CRASHES and deaths[-1] - deaths[0] < CRASH_WINDOW_S:
                self.failed = f"{daemon} keeps dying; the end of its log:\n{lifecycle.log_tail(self.paths, daemon)}"
                self.stopping.set()
                return
            tell(f"{daemon} died; starting it again" + (f": {tail}" if (tail := lifecycle.log_tail(self.paths, daemon, 1)) else ""), err=True)
            process = None
            await asyncio.sleep(RESTART_DELAY_S)

    async def _started(self, daemon: str) -> Running:
        """A daemon that runs; tried again for as long as the machine refuses."""
        told = ""
        while True:
            try:
                return await asyncio.to_thread(lifecycle.start, self.paths, daemon, self.plan.arguments(daemon))
            except OSError as error:
                if str(error) != told:
                    told = str(error)
                    tell(f"{daemon} can't be started, trying again: {error}", err=True)
            await asyncio.sleep(ROOM_CHECK_S)

    async def _watch_room(self) -> None:
        """Says when the disk is full, and when it is not any more."""
        full: set[int] = set()
        while True:
            disks = {folder.stat().st_dev: folder for folder in (self.paths.state, self.paths.run) if folder.is_dir()}
            for disk, folder in disks.items():
                is_full = lifecycle.is_full(folder)
                if is_full and disk not in full:
                    tell(f"no room on the disk of {folder}: state and logs can't be written; what runs goes on, make room there", err=True)
                elif not is_full and disk in full:
                    tell(f"there is room again on the disk of {folder}", err=True)
                full = full | {disk} if is_full else full - {disk}
            await asyncio.sleep(ROOM_CHECK_S)

    @staticmethod
    def _replace(process: Running) -> None:
        process.signal(signal.SIGKILL)
        process.wait(5.0)

    async def _follow(self) -> None:
        """Prints control's events, through restarts of control."""
        printer = EventPrinter()
        while True:
            try:
                async for event in _events(self.paths):
                    self.has_trouble |= event["event"] == "pod" and bool(event.get("message"))
                    if event["event"] == "ready" and not self.is_told_ready:
                        self.is_told_ready = True
                        await asyncio.to_thread(print_ready, self.paths, time.monotonic() - self.began)
                    printer.show(event)
            except (LateenError, OSError):
                pass
            await asyncio.sleep(RESTART_DELAY_S)

    async def _remind(self) -> None:
        """Says once what is not ready, when waiting on makes no sense."""
        while not self.is_told_ready:
            waited_s = time.monotonic() - self.began
            if waited_s > READY_TIMEOUT_S or (self.has_trouble and waited_s > TROUBLE_TIMEOUT_S):
                await asyncio.to_thread(print_ready, self.paths, None)
                return
            await asyncio.sleep(RESTART_DELAY_S)


async def _events(paths: MeshPaths) -> AsyncIterator[Json]:
    import grpc

    if not paths.control_socket.exists():
        return
    async with grpc.aio.insecure_channel(f"unix:{paths.control_socket}") as channel:
        try:
            async for message in channel.unary_stream("/lateen.v1.Control/Events")(b"{}"):
                yield json.loads(message)
        except grpc.aio.AioRpcError:
            return


async def _ended(process: Running) -> None:
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, done.set)
    try:
        if process.is_alive:
            await done.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def tear_down(paths: MeshPaths) -> None:
    """Stops the daemons and removes what they made, whatever state they are in."""
    from lateen.local.cleanup import remove_all

    lifecycle.stop(paths)
    remove_all(paths)
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if line.split()[1].startswith(f"{paths.run}/")]
    if mounted:
        raise LateenError(f"still mounted: {', '.join(mounted)}")
    shutil.rmtree(paths.run, ignore_errors=True)
