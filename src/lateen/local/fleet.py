"""All pods of this machine: what is wanted, what runs, and the steps between. Called by `daemon`; one `PodRunner` per pod does the work.

What is wanted comes whole or in parts (`apply`), and stays on disk, so that a node that starts while control is away goes on as before.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from lateen.base.paths import MeshPaths
from lateen.local import logs, placement, processes, report, workloads
from lateen.local.environment import Surroundings
from lateen.local.images import ImageMap
from lateen.local.isolation import records
from lateen.local.isolation.nat import Forward
from lateen.local.isolation.seam import Isolation
from lateen.local.lifecycle import ConfigChanged, StopAsked
from lateen.local.pods import PodMachine, adopted, new_state
from lateen.local.podspec import Json, Pod, without_nulls
from lateen.local.runner import Ground, MakeMeshSide, PodRunner, recorded
from lateen.local.services import forwards
from lateen.local.users import User
from lateen.local.workloads import BadWorkload, Existing, Workload

_SETTLE_S = 0.02
"""Changes of pods that come together are answered by one step."""
_TIDY_S = 5.0
_CONFIG_KINDS = ("ConfigMap", "Secret")
_log = structlog.get_logger("local.fleet")


class Wanted(msgspec.Struct):
    """What control wants here: `Kind/namespace/name` → object. `restarts`: workload → when a restart was last asked for."""

    objects: dict[str, Json] = {}
    restarts: dict[str, str] = {}
    boot: str = ""


@dataclass(frozen=True)
class FleetSettings:
    """What the fleet is given once. `node_name`: this machine, where no Node object is written."""

    paths: MeshPaths
    isolation: Isolation
    images: ImageMap
    caller: User
    mesh_side: MakeMeshSide
    node_name: str
    path: str
    host_address: str = ""


@dataclass
class Fleet:
    """See the module. `changed` is told the runner of each pod that changed, also when it is gone."""

    settings: FleetSettings
    changed: Callable[[PodRunner], None] = lambda _: None
    runners: dict[str, PodRunner] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """`Kind/namespace/name` → why no pod can be made of it."""
    wanted: Wanted = field(default_factory=Wanted)
    is_known: bool = False
    """Whether what is wanted was said, by control or by the disk; before that, nothing is stopped."""
    is_closing: bool = False
    adopted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when what an earlier daemon ran is known, and what is wanted too."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: asyncio.TaskGroup | None = None
    _addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _forwards: tuple[Forward, ...] = ()

    async def run(self) -> None:
        """Keep what runs as wanted, until `close`d and nothing runs any more."""
        ground = self._ground()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._adopt(ground)
            if self.is_known:
                self.adopted.set()
            tidying = tasks.create_task(self._tidy())
            while not (self.is_closing and not self.runners):
                self._wake.clear()  # before looking: what changes meanwhile is looked at again
                self._step(ground)
                await self._forward()
                await self._wake.wait()
                await asyncio.sleep(_SETTLE_S)
            tidying.cancel()

    def apply(self, objects: Iterable[Json], removed: Iterable[str], is_full: bool) -> None:
        """Take in what control wants. `is_full`: it is all there is."""
        fresh = {_name(item): without_nulls(item) for item in objects}
        gone = {key if key.count("/") > 1 else key.replace("/", "//") for key in removed}
        before = self.wanted.objects
        kept = {} if is_full else {key: item for key, item in before.items() if key not in gone}
        self.wanted.objects = kept | fresh
        self.is_known = True
        self.adopted.set()
        touched = {key for key in before.keys() | self.wanted.objects.keys() if before.get(key) != self.wanted.objects.get(key)}
        for key in sorted(touched & fresh.keys()):
            if key.startswith("CronJob/"):
                _log.warning("not in force yet on one machine: nothing runs for it", object=key)
        if not touched:
            return
        self._record_wanted()
        if any(key.startswith(_CONFIG_KINDS) for key in touched):
            self._config_changed()
        self._wake.set()

    def restart(self, namespace: str, kind: str, name: str) -> bool:
        """Replace the pods of a workload as an update would. False: there is no such workload."""
        key = f"{kind}/{namespace}/{name}"
        if key not in self.wanted.objects:
            return False
        self.wanted.restarts[key] = str(time.time())
        self._record_wanted()
        self._wake.set()
        return True

    def close(self) -> None:
        """Stop every pod, with its grace, and let `run` return when all are gone."""
        self.is_closing = True
        for runner in self.runners.values():
            runner.post(StopAsked())
        self._wake.set()

    def rows(self) -> list[Json]:
        """Every pod as `lateen ps` shows it, by namespace and name."""
        now = time.monotonic()
        return [report.row(self.runners[key].machine, now) for key in sorted(self.runners)]

    def pod_objects(self) -> list[Json]:
        """Every pod as control knows it."""
        offset_s = time.time() - time.monotonic()
        return [report.pod_object(runner.machine, offset_s, self.settings.host_address) for runner in self.runners.values()]

    def set_names(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """The mesh's names and their addresses have changed."""
        self._addresses = addresses
        self._wake.set()

    def services(self) -> dict[str, Json]:
        """The Services wanted, by `Service/namespace/name`."""
        return {key: item for key, item in self.wanted.objects.items() if key.startswith("Service/")}

    # steps

    def _ground(self) -> Ground:
        given = self.settings
        return Ground(
            given.paths, given.isolation, given.images, given.caller, given.mesh_side, self._surroundings, self._on_change, lambda: self._forwards, given.path
        )

    def _adopt(self, ground: Ground) -> None:
        """Go on with what an earlier daemon ran, and take away what it left half made."""
        folder = self.settings.paths.pods
        earlier = records.read(self._wanted_path(), Wanted)
        if earlier is not None and earlier.boot == processes.boot_id():
            self.wanted, self.is_known = earlier, True
        found = set()
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            state = recorded(path)
            if state is not None and not state.is_gone:
                found.add(state.pod.key)
                self._begin(PodRunner(ground, adopted(state, time.monotonic())))
        for key in set(self.settings.isolation.pods()) - found:
            self.settings.isolation.remove(key)

    def _begin(self, runner: PodRunner) -> None:
        if self._tasks is None:
            raise RuntimeError("the fleet does not run")
        self.runners[runner.machine.pod.key] = runner
        self._tasks.create_task(self._lived(runner))

    async def _lived(self, runner: PodRunner) -> None:
        await runner.run()
        self.runners.pop(runner.machine.pod.key, None)
        self.changed(runner)
        self._wake.set()

    def _on_change(self, runner: PodRunner) -> None:
        self.changed(runner)
        self._wake.set()

    def _step(self, ground: Ground) -> None:
        if self.is_closing or not self.is_known:
            return
        sources, problems = self._workloads()
        existing: dict[str, list[Existing]] = {}
        for runner in self.runners.values():
            existing.setdefault(runner.machine.pod.workload, []).append(_existing(runner.machine))
        for key in existing.keys() - sources.keys():
            if key not in problems:  # a workload that went wrong keeps the pods it has
                self._stop(each.pod for each in existing[key] if not each.is_leaving)
        for key, source in sources.items():
            try:
                step = workloads.step(source, existing.get(key, ()), self._namespace_labels(source.namespace))
            except BadWorkload as error:
                problems[key] = str(error)
                continue
            self._stop(step.stop)
            for pod in step.start:
                if pod.key not in self.runners:
                    self._begin(PodRunner(ground, PodMachine(new_state(self._placed(pod), time.monotonic()))))
        for key in problems.keys() - self.problems.keys():
            _log.error("no pod can be made of this", object=key, problem=problems[key])
        self.problems = problems

    async def _forward(self) -> None:
        """Renew in every pod what connections to Services become."""
        machines = [runner.machine for runner in self.runners.values()]
        wanted = forwards(self.services().values(), machines, self._addresses)
        if wanted == self._forwards or not self._addresses:
            return
        self._forwards = wanted
        for runner in list(self.runners.values()):
            if runner.network is not None:
                try:
                    await asyncio.to_thread(self.settings.isolation.forward, runner.network, wanted)
                except OSError as error:
                    _log.warning("Services' addresses are not forwarded", pod=runner.machine.pod.key, reason=str(error))

    def _workloads(self) -> tuple[dict[str, Workload], dict[str, str]]:
        sources, problems = {}, {}
        for key, item in self.wanted.objects.items():
            try:
                source = workloads.workload(_restarted(item, self.wanted.restarts.get(key)))
            except (BadWorkload, ValueError, TypeError) as error:
                problems[key] = str(error)
                continue
            if source is not None:
                sources[source.key] = source
        return sources, problems

    def _stop(self, leaving: Iterable[Pod]) -> None:
        for pod in leaving:
            runner = self.runners.get(pod.key)
            if runner is not None:
                runner.post(StopAsked())

    def _placed(self, pod: Pod) -> Pod:
        nodes = {key.split("/")[-1]: item.get("metadata", {}).get("labels") or {} for key, item in self.wanted.objects.items() if key.startswith("Node/")}
        tail = pod.metadata.name.rpartition("-")[2]
        where = placement.place(pod.spec, pod.metadata.labels, int(tail) if tail.isdigit() else 0, nodes, self.settings.node_name)
        return msgspec.structs.replace(pod, place=where)

    def _namespace_labels(self, namespace: str) -> Mapping[str, str]:
        item = self.wanted.objects.get(f"Namespace//{namespace}") or self.wanted.objects.get(f"Namespace/{namespace}") or {}
        return item.get("metadata", {}).get("labels") or {}

    def _surroundings(self, pod: Pod, addresses: tuple[str, ...]) -> Surroundings:
        namespace = pod.metadata.namespace

        def named(kind: str) -> dict[str, Json]:
            prefix = f"{kind}/{namespace}/"
            return {key.removeprefix(prefix): item for key, item in self.wanted.objects.items() if key.startswith(prefix)}

        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Surroundings(addresses, self.settings.host_address, pod.place.node, named("ConfigMap"), named("Secret"), os.cpu_count() or 1, memory_bytes)

    def _config_changed(self) -> None:
        for runner in self.runners.values():
            try:
                runner.renew_volumes()
            except OSError as error:
                _log.error("cannot renew the pod's files", pod=runner.machine.pod.key, error=str(error))
            runner.post(ConfigChanged())

    async def _tidy(self) -> None:
        """Keep what applications write within bounds."""
        while True:
            await asyncio.sleep(_TIDY_S)
            for runner in list(self.runners.values()):
                for name in runner.machine.state.containers:
                    try:
                        await asyncio.to_thread(logs.bound, runner.log_path(name))
                    except OSError as error:
                        _log.warning("cannot bound a log", pod=runner.machine.pod.key, error=str(error))

    def _wanted_path(self) -> Path:
        return self.settings.paths.run / "wanted.json"

    def _record_wanted(self) -> None:
        self.wanted.boot = processes.boot_id()
        try:
            records.write(self._wanted_path(), self.wanted)
        except OSError as error:
            _log.error("cannot record what is wanted", error=str(error))


def _name(item: Json) -> str:
    metadata = item.get("metadata") or {}
    return f"{item.get('kind', '')}/{metadata.get('namespace') or ''}/{metadata.get('name', '')}"


def _existing(machine: PodMachine) -> Existing:
    state = machine.state
    return Existing(machine.pod, machine.is_ready, state.is_over, machine.has_failed, state.leaving_at is not None)


def _restarted(item: Json, when: str | None) -> Json:
    """The object with the annotation by which a restart replaces its pods."""
    spec = item.get("spec") or {}
    template = spec.get("template") if item.get("kind") != "Pod" else None
    if when is None or (template is None and item.get("kind") != "Pod"):
        return item
    holder = item if template is None else template
    metadata = holder.get("metadata") or {}
    marked = holder | {"metadata": metadata | {"annotations": (metadata.get("annotations") or {}) | {workloads.RESTARTED_AT: when}}}
    return marked if template is None else item | {"spec": spec | {"template": marked}}
