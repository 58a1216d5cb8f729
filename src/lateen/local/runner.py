"""Does what a pod's life asks for: starts, watches, asks, signals. One `PodRunner` per pod; the rules are in `pods`.

Called by `daemon`. Everything that a later daemon needs to go on is on disk before the next event is taken.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from lateen.base.errors import LateenError
from lateen.base.paths import MeshPaths
from lateen.local import pods, probes, processes, users, volumes
from lateen.local.environment import Surroundings, Unresolved, environment, expanded, resolv_conf
from lateen.local.images import ImageMap
from lateen.local.isolation import records
from lateen.local.isolation.nat import Forward
from lateen.local.isolation.seam import Isolation, Launch, Mount, PodNetwork, ProcessRef, SpawnFailed
from lateen.local.lifecycle import (
    Action,
    Check,
    Checked,
    Drain,
    Ended,
    Event,
    Hook,
    HookEnded,
    PodState,
    PreparationFailed,
    Prepare,
    Prepared,
    ProxyChanged,
    RunCheck,
    RunHook,
    Signal,
    Start,
    Started,
    StartFailed,
    Status,
    StopAsked,
    TearDown,
    Tick,
    TornDown,
)
from lateen.local.podspec import Container, Handler, Pod
from lateen.local.users import User
from lateen.node.grpc_bootstrap import BOOTSTRAP, FOLDER, VARIABLE

_HOOK_LIMIT_S = 3600.0
"""A hook that never ends is ended by the pod's grace, or else after this."""
_IPV4_FIRST = "precedence ::1/128 50\nprecedence ::/0 40\nprecedence ::ffff:0:0/96 35\nprecedence fc00::/7 3\n"
"""IPv4 before the machine's private IPv6, for names that have both: many applications listen on 0.0.0.0 only. Source: RFC 6724, 2.1."""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_log = structlog.get_logger("local.runner")


class MeshSide(Protocol):
    """What the mesh puts beside one pod: proxy, redirection, names."""

    async def start(self) -> None:
        """Bring all of it up, or take over what an earlier daemon brought up; the proxy's readiness comes through the callback given at the making."""

    async def drain(self) -> None:
        """Have the proxy ask its clients to go elsewhere, and go on serving."""

    async def stop(self) -> None:
        """Take all of it down, the proxy after draining."""

    def state(self) -> dict[str, Any]:
        """What the command line shows of it (JSON)."""


MakeMeshSide = Callable[[Pod, PodNetwork, Path, Callable[[bool], None]], MeshSide]


@dataclass(frozen=True)
class Ground:
    """What every runner stands on.

    `surroundings`: what a pod's references are resolved against; `changed`: told after each change of a pod; `forwards`: what connections
    to Services' addresses become."""

    paths: MeshPaths
    isolation: Isolation
    images: ImageMap
    caller: User
    mesh_side: MakeMeshSide
    surroundings: Callable[[Pod, tuple[str, ...]], Surroundings]
    changed: Callable[["PodRunner"], None]
    forwards: Callable[[], tuple[Forward, ...]] = lambda: ()
    path: str = _DEFAULT_PATH


class PodRunner:
    """One pod. `post` gives it an event; `run` lives as long as the pod."""

    def __init__(self, ground: Ground, machine: pods.PodMachine) -> None:
        self.machine = machine
        self.network: PodNetwork | None = None
        self.mesh_side: MeshSide | None = None
        self.folder = ground.paths.pods / machine.pod.key
        self._ground = ground
        self._events: asyncio.Queue[Event] = asyncio.Queue(1024)  # a pod has some tens of things under way at most
        self._tasks: asyncio.TaskGroup | None = None
        self._launches: dict[str, Launch] = {}
        self._preparing: asyncio.Task[None] | None = None
        self._earlier: dict[str, Any] = records.read(self.folder / "state.json", dict) or {}

    def post(self, event: Event) -> None:
        """Give the pod an event. Never waits."""
        self._events.put_nowait(event)

    def log_path(self, container: str) -> Path:
        """Where a container's output is."""
        return self.folder / "logs" / f"{container}.log"

    async def run(self) -> None:
        """Live the pod's life; returns when it is gone for good, and nothing of it is left."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._resume(tasks)
            self.post(Tick())
            while not self.machine.state.is_gone:
                event = await self._next_event()
                actions = self.machine.on_event(event, time.monotonic())
                self.record()
                if isinstance(event, StopAsked) and self._preparing is not None:
                    self._preparing.cancel()  # it may wait for a control that is not there
                for action in actions:
                    task = tasks.create_task(self._guarded(action))
                    if isinstance(action, Prepare):
                        self._preparing = task
                self._ground.changed(self)
        await asyncio.to_thread(shutil.rmtree, self.folder, True)

    async def _next_event(self) -> Event:
        wake_at = self.machine.wake_at()
        if wake_at is None:
            return await self._events.get()
        try:
            async with asyncio.timeout(max(0.0, wake_at - time.monotonic())):
                return await self._events.get()
        except TimeoutError:
            return Tick()

    def _resume(self, tasks: asyncio.TaskGroup) -> None:
        """Watch again what an earlier daemon started, and what belongs to the mesh beside it."""
        state = self.machine.state
        for name, one in state.containers.items():
            if one.status is Status.RUNNING and one.process is not None:
                tasks.create_task(self._watch(name, one.process))
        if state.is_prepared:
            tasks.create_task(self._take_over())

    async def _take_over(self) -> None:
        running = [name for name, one in self.machine.state.containers.items() if one.status is Status.RUNNING]
        try:
            self.network = await asyncio.to_thread(self._ground.isolation.create, self.machine.pod.key)
            self.mesh_side = self._ground.mesh_side(self.machine.pod, self.network, self.folder, self._on_proxy)
            await self.mesh_side.start()
            for name in running:
                self._launches[name] = await asyncio.to_thread(self._launch, name)
            self.record()
        except (LateenError, Unresolved, OSError) as error:
            _log.error("could not take over the pod's mesh side", pod=self.machine.pod.key, error=str(error))

    def record(self) -> None:
        """Write down how the pod is, for the next daemon (`record.json`) and for the command line (`state.json`)."""
        try:
            records.write(self.folder / "record.json", self.machine.state)
            records.write(self.folder / "state.json", self.shown())
        except OSError as error:
            _log.error("cannot record the pod", pod=self.machine.pod.key, error=str(error))

    def shown(self) -> dict[str, Any]:
        """`state.json`: what the command line reads, with both daemons dead as well."""
        state, meta = self.machine.state, self.machine.pod.metadata
        containers = []
        for name, one in state.containers.items():
            launch, process = self._launches.get(name), one.process
            earlier: dict[str, Any] = next((each for each in self._earlier.get("containers", ()) if each["name"] == name), {})
            containers.append(
                {
                    "name": name,
                    "pid": process.pid if process else 0,
                    "start": process.start_ticks if process else 0,
                    "log": str(self.log_path(name)),
                    "restarts": one.restarts,
                    "status": one.status.value,
                    "reason": one.reason,
                    "message": one.message,
                    "uid": launch.uid if launch else earlier.get("uid", 0),
                    "gid": launch.gid if launch else earlier.get("gid", 0),
                    "groups": list(launch.groups) if launch else earlier.get("groups", []),
                    "env": launch.env if launch else earlier.get("env", {}),
                    "cwd": launch.cwd if launch else earlier.get("cwd", "/"),
                }
            )
        return {
            "namespace": meta.namespace,
            "name": meta.name,
            "workload": self.machine.pod.workload.replace(f"/{meta.namespace}/", "/", 1),
            "ip": state.addresses[0] if state.addresses else "",
            "ips": list(state.addresses),
            "netns": str(self.network.netns) if self.network else self._earlier.get("netns", ""),
            "hostname": self.machine.pod.spec.hostname or meta.name,
            "containers": containers,
            "envoy": (self.mesh_side.state() if self.mesh_side else {}) or self._earlier.get("envoy", {}),
        }

    def _on_proxy(self, is_ready: bool) -> None:
        self.post(ProxyChanged(is_ready))

    # actions

    async def _guarded(self, action: Action) -> None:
        """Do one action; what goes wrong becomes the event that says so."""
        try:
            await self._do(action)
        except (LateenError, Unresolved, OSError) as error:
            _log.warning("an action failed", pod=self.machine.pod.key, action=type(action).__name__, error=str(error))
            self.post(_failure(action, error))
        except asyncio.CancelledError:
            if not isinstance(action, Prepare):
                raise
            self.post(PreparationFailed("stopped"))

    async def _do(self, action: Action) -> None:
        match action:
            case Prepare():
                await self._prepare()
            case Start(container):
                await self._start(container)
            case RunCheck(container, check):
                message = await self._checked(container, check)
                self.post(Checked(container, check, message is None, message or ""))
            case RunHook(container, hook):
                lifecycle = self._spec(container).lifecycle
                handler = lifecycle.post_start if hook is Hook.POST_START else lifecycle.pre_stop
                message = await self._handled(container, handler or Handler(), _HOOK_LIMIT_S)
                self.post(HookEnded(container, hook, message is None, message or ""))
            case Signal(container, number):
                process = self.machine.state.containers[container].process
                if process is not None and number is signal.SIGKILL:
                    await asyncio.to_thread(processes.kill_session, process)
                elif process is not None:
                    processes.send(process, number)
            case Drain():
                if self.mesh_side is not None:
                    await self.mesh_side.drain()
            case TearDown():
                await self._tear_down()
                self.post(TornDown())

    async def _prepare(self) -> None:
        pod, ground = self.machine.pod, self._ground
        self.folder.mkdir(parents=True, exist_ok=True)
        network = await asyncio.to_thread(ground.isolation.create, pod.key)
        self.network = network
        await asyncio.to_thread(self._write_names, network)
        if forwards := ground.forwards():
            await asyncio.to_thread(ground.isolation.forward, network, forwards)
        if self.mesh_side is None:
            self.mesh_side = ground.mesh_side(pod, network, self.folder, self._on_proxy)
        await self.mesh_side.start()
        self.post(Prepared(network.addresses))

    def _write_names(self, network: PodNetwork) -> None:
        """`/etc/hosts`, `/etc/resolv.conf` and `/etc/gai.conf` of the pod, as they are before anyone adds the mesh's names."""
        pod, etc = self.machine.pod, self.folder / "etc"
        etc.mkdir(exist_ok=True)
        spec, meta = pod.spec, pod.metadata
        hostname = spec.hostname or meta.name
        domain = f"{meta.namespace}.svc.cluster.local"
        full = f"{hostname}.{spec.subdomain}.{domain} " if spec.subdomain else ""
        lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        lines += [f"{address}\t{full}{hostname}" for address in network.addresses]
        lines += [f"{alias.ip}\t{' '.join(alias.hostnames)}" for alias in spec.host_aliases]
        (etc / "hosts.own").write_text("\n".join(lines) + "\n")
        if not (etc / "hosts").exists():
            (etc / "hosts").write_text("\n".join(lines) + "\n")
        (etc / "resolv.conf").write_text(resolv_conf(spec, meta.namespace))
        (etc / "gai.conf").write_text(_IPV4_FIRST)

    async def _tear_down(self) -> None:
        if self.mesh_side is not None:
            await self.mesh_side.stop()
            self.mesh_side = None
        await asyncio.to_thread(self._ground.isolation.remove, self.machine.pod.key)
        self.network = None

    async def _start(self, name: str) -> None:
        try:
            launch = await asyncio.to_thread(self._launch, name)
        except Unresolved as error:
            self.post(StartFailed(name, "CreateContainerConfigError", str(error)))
            return
        except LateenError as error:
            self.post(StartFailed(name, "ErrImageNeverPull", str(error)))
            return
        self._launches[name] = launch
        try:
            process = await asyncio.to_thread(self._ground.isolation.spawn, self._placed(), launch)
        except SpawnFailed as error:
            self.post(StartFailed(name, "RunContainerError" if error.is_user else "CreateContainerError", str(error)))
            return
        self.post(Started(name, process))
        if self._tasks is not None:
            self._tasks.create_task(self._watch(name, process))

    async def _watch(self, name: str, process: ProcessRef) -> None:
        code = await processes.ended(process)
        await asyncio.to_thread(processes.kill_session, process)  # what a container leaves behind ends with it, as on a cluster
        said = await asyncio.to_thread(_last_line, self.log_path(name)) if code else ""
        self.post(Ended(name, code, is_lost=code == processes.EXIT_UNKNOWN, said=said))

    def _placed(self) -> PodNetwork:
        if self.network is None:
            raise LateenError("the pod has no network")
        return self.network

    def _spec(self, name: str) -> Container:
        spec = self.machine.pod.spec
        return next(each for each in (*spec.init_containers, *spec.containers) if each.name == name)

    def _launch(self, name: str) -> Launch:
        """Everything about the process of a container. Raises Unresolved, LateenError, OSError."""
        pod, container, ground = self.machine.pod, self._spec(name), self._ground
        user = users.of_container(pod, container, ground.caller)
        mapped = ground.images.run(container.image)
        around = ground.surroundings(pod, self._placed().addresses)
        hostname = pod.spec.hostname or pod.metadata.name
        own = environment(pod, container, around)
        ours = {"PATH": ground.path, "HOME": user.home, "HOSTNAME": hostname}
        if pod.is_proxyless:
            ours[VARIABLE] = f"{FOLDER}/{BOOTSTRAP}"
        env = ours | (mapped.env if mapped else {}) | own
        command = mapped.command if mapped and mapped.command else tuple(expanded(word, own) for word in container.command)
        if not command:
            raise LateenError(f"image {container.image or '(none)'} is not in the image map and container {name} has no command; add it with --image-map")
        plans = {plan.name: plan for plan in volumes.plans(pod, around)}
        group = pod.spec.security_context.fs_group
        for plan in plans.values():
            if not plan.host:
                volumes.write(plan, self._place(plan), user.uid if plan.files is None else 0, group or 0)
        mounts = (
            Mount("/etc/lateen/pod", self.folder / "etc", read_only=True),
            Mount("/etc/hosts", link="lateen/pod/hosts"),
            Mount("/etc/resolv.conf", link="lateen/pod/resolv.conf"),
            Mount("/etc/gai.conf", link="lateen/pod/gai.conf"),
            *((Mount(FOLDER, self.folder / "proxy", read_only=True),) if pod.is_proxyless else ()),
            *volumes.mounts(container, plans, self._place, env),
            *(mapped.mounts if mapped else ()),
        )
        return Launch(
            argv=(*command, *(expanded(word, own) for word in container.args)),
            env=env,
            log=self.log_path(name),
            uid=user.uid,
            gid=user.gid,
            cwd=(mapped.working_dir if mapped else "") or container.working_dir or "/",
            groups=user.groups,
            hostname=hostname,
            mounts=mounts,
            read_only_root=container.security_context.read_only_root_filesystem,
        )

    def _place(self, plan: volumes.VolumePlan) -> Path:
        """The folder of a volume; that of a claim outlives the pod."""
        if plan.host:
            return Path(plan.host)
        namespace = self.machine.pod.metadata.namespace
        return self._ground.paths.state / "claims" / f"{namespace}.{plan.claim}" if plan.claim else self.folder / "volumes" / plan.name

    def renew_volumes(self) -> None:
        """Bring ConfigMaps and Secrets that changed into the running pod's files; what cannot be resolved stays as it was. OSError."""
        pod = self.machine.pod
        if self.network is None:
            return
        with contextlib.suppress(Unresolved):
            for plan in volumes.plans(pod, self._ground.surroundings(pod, self.network.addresses)):
                folder = self.folder / "volumes" / plan.name
                if plan.files is not None and folder.is_dir():
                    volumes.write(plan, folder, 0, pod.spec.security_context.fs_group or 0)

    # asking

    async def _checked(self, name: str, check: Check) -> str | None:
        container = self._spec(name)
        if check is Check.LISTENS:
            process = self.machine.state.containers[name].process
            return await asyncio.to_thread(probes.listens, container, process.pid) if process else "it does not run"
        named = {Check.STARTUP: container.startup_probe, Check.READINESS: container.readiness_probe, Check.LIVENESS: container.liveness_probe}
        probe = named[check]
        return None if probe is None else await self._handled(name, probe, float(probe.timeout_seconds))

    async def _handled(self, name: str, handler: Handler, limit_s: float) -> str | None:
        """Ask or run what a probe or hook says. None: well."""
        container, network = self._spec(name), self._placed()
        address = network.ipv4
        inside = self._ground.isolation.within
        if handler.exec is not None:
            return await self._executed(name, handler.exec.command, limit_s)
        if handler.http_get is not None:
            action = handler.http_get
            return await asyncio.to_thread(inside, network, lambda: probes.http(container, action, address, limit_s))
        if handler.tcp_socket is not None:
            socket = handler.tcp_socket
            return await asyncio.to_thread(inside, network, lambda: probes.tcp(container, socket, address, limit_s))
        if handler.grpc is not None:
            call = handler.grpc
            return await asyncio.to_thread(inside, network, lambda: probes.grpc(call, address, limit_s))
        if handler.sleep is not None:
            await asyncio.sleep(handler.sleep.seconds)
        return None

    async def _executed(self, name: str, command: tuple[str, ...], limit_s: float) -> str | None:
        """Run a command in a container. None: it ended with 0 in time."""
        process, launch = self.machine.state.containers[name].process, self._launches.get(name)
        if process is None:
            return "the container does not run"
        if launch is None:
            launch = await asyncio.to_thread(self._launch, name)  # adopted: made anew from the same pod
        output = self.folder / "logs" / f".{name}.{os.urandom(4).hex()}"
        hook = Launch(command, launch.env, output, launch.uid, launch.gid, launch.cwd, launch.groups, launch.hostname, join_mounts=process.pid)
        try:
            started = await asyncio.to_thread(self._ground.isolation.spawn, self._placed(), hook)
            try:
                async with asyncio.timeout(limit_s):
                    code = await processes.ended(started)
            except TimeoutError:
                await asyncio.to_thread(processes.kill_session, started)
                await processes.ended(started)
                return f"the command did not end in {limit_s:g} s: {command[0]}"
            return None if code == 0 else f"the command ended with {code}: {_last_line(output) or command[0]}"
        finally:
            output.unlink(missing_ok=True)


def _last_line(path: Path) -> str:
    """The last line that something was written to, at most 200 characters. Empty: none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode(errors="replace").strip().splitlines()[-1:]
    except OSError:
        return ""
    return lines[0][:200] if lines else ""


def _failure(action: Action, error: Exception) -> Event:
    """The event that says that an action could not be done."""
    match action:
        case Prepare():
            return PreparationFailed(str(error))
        case Start(container):
            return StartFailed(container, "CreateContainerError", str(error))
        case RunCheck(container, check):
            return Checked(container, check, False, str(error))
        case RunHook(container, hook):
            return HookEnded(container, hook, False, str(error))
        case TearDown():
            return TornDown()
    return Tick()


def recorded(folder: Path) -> PodState | None:
    """The state an earlier daemon left in a pod's folder. None: none that can be used."""
    return records.read(folder / "record.json", PodState)
