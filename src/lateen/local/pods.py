"""The life of one pod, sans I/O: `on_event(event, now)` gives the actions to take; `runner` takes them and comes back with events.

Times are seconds of the machine's monotonic clock, which survives a new daemon process but not a reboot; neither do the pods.
Source of the rules: Kubernetes, pod lifecycle. Ours, because one machine is an inner loop and not a fleet: back-off from 1 to 60 s, probes that are asked
faster until a container is first ready, and a container without any readiness or startup probe counts as ready when its declared ports listen.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

from lateen.local.isolation.seam import ProcessRef
from lateen.local.lifecycle import (
    Action,
    Check,
    Checked,
    ConfigChanged,
    ContainerState,
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
from lateen.local.podspec import Container, Pod, Probe

FIRST_BACK_OFF_S = 1.0
LAST_BACK_OFF_S = 60.0
STABLE_AFTER_S = 60.0
"""A container that ran this long starts its back-off anew."""
DRAIN_S = 1.0
"""How long a ready pod goes on after it was announced as leaving, so that its clients have stopped choosing it before its containers hear SIGTERM."""
LISTEN_WAIT_S = 30.0
"""How long declared ports are waited for; a container may declare one it never opens."""
_FIRST_PROBE_S = 0.05
_FAST_PROBE_S = 1.0


def new_state(pod: Pod, now: float) -> PodState:
    """The state of a pod that nobody has begun with."""
    names = [] if pod.is_gateway else [each.name for each in (*pod.spec.init_containers, *pod.spec.containers)]
    return PodState(pod, {name: ContainerState(name) for name in names}, created_at=now)


@dataclass
class _Asking:
    """Where the asking of one container stands."""

    next_at: float
    step_s: float = _FIRST_PROBE_S
    good: int = 0
    bad: int = 0
    is_running: bool = False


@dataclass
class PodMachine:
    """See the module. `state` changes in place; the rest is what is under way and is forgotten with the process."""

    state: PodState
    _asking: dict[tuple[str, Check], _Asking] = field(default_factory=dict)
    _starting: set[str] = field(default_factory=set)
    _hooks: dict[str, Hook] = field(default_factory=dict)
    _is_preparing: bool = False
    _is_tearing_down: bool = False

    @property
    def pod(self) -> Pod:
        """The pod as wanted."""
        return self.state.pod

    @property
    def is_ready(self) -> bool:
        """Whether the pod takes traffic."""
        state = self.state
        if not state.is_prepared or state.leaving_at is not None or state.is_over:
            return False
        return (state.is_proxy_ready or not self.pod.is_meshed) and all(self._container(each.name).is_ready for each in self._serving())

    @property
    def has_failed(self) -> bool:
        """Whether the pod is over, and not well."""
        return self.state.is_over and any(each.exit_code not in (0, None) and not self._is_helper(each.name) for each in self.state.containers.values())

    @property
    def phase(self) -> str:
        """Kubernetes: PodStatus.phase."""
        if self.state.is_over:
            return "Failed" if self.has_failed else "Succeeded"
        begun = self.state.is_prepared and all(each.status is not Status.WAITING or each.restarts for each in self._states(self.pod.spec.containers))
        return "Running" if begun else "Pending"

    def on_event(self, event: Event, now: float) -> tuple[Action, ...]:
        """Take in what happened and say what to do. `now` never goes back."""
        actions = self._taken_in(event, now)
        return (*actions, *self._due(now))

    def wake_at(self) -> float | None:
        """When a `Tick` is due. None: nothing happens by itself."""
        times = list(self._wake_times())
        return min(times) if times else None

    # taking in

    def _taken_in(self, event: Event, now: float) -> list[Action]:  # one branch per event
        state = self.state
        match event:
            case Prepared(addresses):
                self._is_preparing = False
                state.is_prepared, state.addresses, state.message, state.back_off_s = True, addresses, "", 0.0
            case PreparationFailed(message):
                self._is_preparing = False
                state.message, state.back_off_s = message, _longer(state.back_off_s)
                state.retry_at = now + state.back_off_s
            case ProxyChanged(is_ready):
                state.is_proxy_ready = is_ready
            case Started(name, process):
                self._on_started(name, process, now)
            case StartFailed(name, reason, message):
                self._starting.discard(name)
                one = self._container(name)
                one.status, one.reason, one.message, one.back_off_s = Status.WAITING, reason, message, _longer(one.back_off_s)
                one.retry_at = now + one.back_off_s
            case Ended():
                self._on_ended(event, now)
            case Checked(name, check, is_good, message):
                return self._on_checked(name, check, is_good, message, now)
            case HookEnded(name, hook, is_good, message):
                return self._on_hook_ended(name, hook, is_good, message, now)
            case StopAsked(grace_s):
                return self._on_stop_asked(grace_s, now)
            case ConfigChanged():
                for one in state.containers.values():
                    if one.status is Status.WAITING and one.reason == "CreateContainerConfigError":
                        one.retry_at = now
                state.retry_at = min(state.retry_at, now)
            case TornDown():
                self._is_tearing_down = False
                state.is_prepared, state.is_proxy_ready = False, False
                state.is_gone = state.leaving_at is not None
            case Tick():
                pass
        return []

    def _on_started(self, name: str, process: ProcessRef, now: float) -> None:
        self._starting.discard(name)
        one, container = self._container(name), self._spec(name)
        one.status, one.process, one.started_at, one.reason, one.message = Status.RUNNING, process, now, "", ""
        one.is_started, one.is_ready, one.term_at, one.kill_at = False, False, None, None
        one.has_run_post_start = container.lifecycle.post_start is None
        self._begin_asking(name, now)

    def _begin_asking(self, name: str, now: float) -> None:
        for check in Check:
            self._asking.pop((name, check), None)
        if self._is_plain_init(name):
            return
        for check, probe in self._checks(name):
            self._asking[name, check] = _Asking(now + (probe.initial_delay_seconds if probe else 0))

    def _on_ended(self, event: Ended, now: float) -> None:
        name, code = event.container, event.code
        one = self._container(name)
        ran_s = now - one.started_at
        one.status, one.process, one.exit_code, one.ended_at = Status.ENDED, None, code, now
        one.is_ready, one.is_started = False, False
        one.reason = "Completed" if code == 0 else "Error"
        how = "it ended while no node watched: its exit code is lost and counts as failed" if event.is_lost else f"it ended with {code}" if code else ""
        one.message = f"{how}; its last words: {event.said}" if how and event.said else how if event.is_lost else ""
        for check in Check:
            self._asking.pop((name, check), None)
        if not self._restarts(name, code):
            one.is_done = True
            return
        one.back_off_s = FIRST_BACK_OFF_S if ran_s >= STABLE_AFTER_S else _longer(one.back_off_s)
        one.retry_at = now + one.back_off_s

    def _on_checked(self, name: str, check: Check, is_good: bool, message: str, now: float) -> list[Action]:
        asking, one = self._asking.get((name, check)), self._container(name)
        if asking is None or one.status is not Status.RUNNING:
            return []
        asking.is_running = False
        asking.good, asking.bad = (asking.good + 1, 0) if is_good else (0, asking.bad + 1)
        probe = dict(self._checks(name)).get(check)
        period_s = float(probe.period_seconds) if probe else 0.2
        asking.next_at = now + period_s
        if check is Check.LIVENESS:
            if not is_good and probe and asking.bad >= probe.failure_threshold:
                return self._stopped_for(name, f"liveness probe failed: {message}", probe, now)
            return []
        threshold = probe.success_threshold if probe else 1
        if asking.good >= threshold:
            one.message = ""
            if check is not Check.READINESS:
                one.is_started = True
                del self._asking[name, check]
            else:
                one.is_ready = True
            return []
        if is_good:
            asking.next_at = now + min(period_s, _FAST_PROBE_S)
            return []
        one.message = f"{check.value} probe failed: {message}" if probe else message
        waited_s = now - one.started_at - (probe.initial_delay_seconds if probe else 0)
        if check is Check.STARTUP and probe and waited_s >= probe.failure_threshold * period_s:
            return self._stopped_for(name, one.message, probe, now)
        if check is Check.LISTENS and waited_s >= LISTEN_WAIT_S:
            one.is_started = True
            del self._asking[name, check]
            return []
        if check is Check.READINESS and one.is_ready:
            one.is_ready = asking.bad < (probe.failure_threshold if probe else 1)
            return []
        asking.next_at = now + min(period_s, asking.step_s)
        asking.step_s = min(_FAST_PROBE_S, asking.step_s * 2)
        return []

    def _stopped_for(self, name: str, message: str, probe: Probe, now: float) -> list[Action]:
        """A container is stopped to be started anew."""
        grace_s = probe.termination_grace_period_seconds
        return self._told_to_stop(name, message, self.pod.spec.termination_grace_period_seconds if grace_s is None else grace_s, now)

    def _told_to_stop(self, name: str, message: str, grace_s: float, now: float) -> list[Action]:
        one = self._container(name)
        if one.term_at is not None:
            return []
        one.term_at, one.kill_at, one.message = now, now + grace_s, message
        one.is_ready = False
        for check in Check:
            self._asking.pop((name, check), None)
        if self._spec(name).lifecycle.pre_stop is not None and name not in self._hooks:
            self._hooks[name] = Hook.PRE_STOP
            return [RunHook(name, Hook.PRE_STOP)]
        return [Signal(name, signal.SIGTERM)]

    def _on_hook_ended(self, name: str, hook: Hook, is_good: bool, message: str, now: float) -> list[Action]:
        self._hooks.pop(name, None)
        one = self._container(name)
        if hook is Hook.PRE_STOP:
            return [Signal(name, signal.SIGTERM)] if one.status is Status.RUNNING else []
        one.has_run_post_start = True
        if is_good or one.status is not Status.RUNNING:
            return []
        return self._told_to_stop(name, f"postStart failed: {message}", self.pod.spec.termination_grace_period_seconds, now)

    def _on_stop_asked(self, grace_s: float | None, now: float) -> list[Action]:
        state = self.state
        grace = float(self.pod.spec.termination_grace_period_seconds) if grace_s is None else grace_s
        if state.leaving_at is None:
            drains = self.is_ready and grace >= DRAIN_S
            state.leaving_at = now + (DRAIN_S if drains else 0.0)
            state.kill_at = now + grace
            return [Drain()] if drains and self.pod.is_meshed else []
        if state.kill_at is not None:
            state.kill_at = min(state.kill_at, now + grace)
        return []

    # what is due

    def _due(self, now: float) -> list[Action]:
        state = self.state
        if state.is_gone or self._is_tearing_down or self._is_preparing:
            return []
        if state.leaving_at is not None:
            return self._due_leaving(now)
        if state.is_over:
            return []
        if not state.is_prepared:
            if now < state.retry_at:
                return []
            self._is_preparing = True
            return [Prepare()]
        actions: list[Action] = []
        for name, one in state.containers.items():
            if one.status is Status.RUNNING:
                actions += self._due_running(name, one, now)
        if self._is_complete():
            return actions + self._due_complete(now)
        return actions + self._due_starts(now)

    def _due_starts(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for container in self.pod.spec.init_containers if not self.pod.is_gateway else ():
            one = self._container(container.name)
            if container.restart_policy == "Always":
                actions += self._due_start(container.name, now)
                if not one.is_started:
                    return actions
            elif one.is_done and one.exit_code == 0:
                continue
            elif one.is_done:
                return actions
            else:
                return actions + self._due_start(container.name, now)
        for container in self._serving():
            actions += self._due_start(container.name, now)
        return actions

    def _due_start(self, name: str, now: float) -> list[Action]:
        one = self._container(name)
        if one.status is Status.RUNNING or one.is_done or name in self._starting or now < one.retry_at:
            return []
        if one.status is Status.ENDED:
            one.restarts += 1
        self._starting.add(name)
        return [Start(name)]

    def _due_running(self, name: str, one: ContainerState, now: float) -> list[Action]:
        if one.kill_at is not None and now >= one.kill_at:
            one.kill_at = None
            return [Signal(name, signal.SIGKILL)]
        if one.term_at is not None:
            return []
        if not one.has_run_post_start:
            if name in self._hooks:
                return []
            self._hooks[name] = Hook.POST_START
            return [RunHook(name, Hook.POST_START)]
        has_gate = any((name, check) in self._asking for check in (Check.STARTUP, Check.LISTENS))
        if not has_gate:
            one.is_started = True
            if self._spec(name).readiness_probe is None:
                one.is_ready = True
        actions: list[Action] = []
        for check in Check:
            asking = self._asking.get((name, check))
            if asking is None or asking.is_running or now < asking.next_at:
                continue
            if check in (Check.READINESS, Check.LIVENESS) and not one.is_started:
                continue
            asking.is_running = True
            actions.append(RunCheck(name, check))
        return actions

    def _due_complete(self, now: float) -> list[Action]:
        """All that was to be done is done: what only helps is stopped, then the pod is taken down but stays known."""
        helpers = [(name, one) for name, one in self.state.containers.items() if one.status is Status.RUNNING]
        actions: list[Action] = []
        for name, _ in helpers:
            actions += self._told_to_stop(name, "", float(self.pod.spec.termination_grace_period_seconds), now)
        if helpers or self._starting:
            return actions
        self.state.is_over = True
        self._is_tearing_down = True
        return [TearDown()]

    def _due_leaving(self, now: float) -> list[Action]:
        state = self.state
        actions: list[Action] = []
        running = {name: one for name, one in state.containers.items() if one.status is Status.RUNNING}
        if state.kill_at is not None and now >= state.kill_at and running:
            state.kill_at = None
            return [Signal(name, signal.SIGKILL) for name in running]
        is_over = not running and not self._starting
        if is_over and (now >= (state.leaving_at or now) or not self.pod.is_gateway):
            self._is_tearing_down = True
            return [TearDown()]
        if state.leaving_at is not None and now < state.leaving_at:
            for name, one in running.items():
                actions += self._due_running(name, one, now)
            return actions
        left_s = max(0.0, (state.kill_at or now) - now)
        others = [name for name in running if not self._is_helper(name)]
        for name in others or list(running):
            actions += self._told_to_stop(name, "", left_s, now)
        return actions

    def _wake_times(self) -> Iterator[float]:
        state = self.state
        if state.is_gone or self._is_tearing_down or self._is_preparing:
            return
        if state.leaving_at is not None:
            yield from (time for time in (state.kill_at,) if time is not None)
            if self.pod.is_gateway or any(one.status is Status.RUNNING and one.term_at is None for one in state.containers.values()):
                yield state.leaving_at
            return
        if state.is_over:
            return
        if not state.is_prepared:
            yield state.retry_at
            return
        for name, one in state.containers.items():
            if one.status is Status.RUNNING:
                if one.kill_at is not None:
                    yield one.kill_at
            elif not one.is_done and name not in self._starting and one.retry_at:
                yield one.retry_at
        for (name, check), asking in self._asking.items():
            if not asking.is_running and (self._container(name).is_started or check in (Check.STARTUP, Check.LISTENS)):
                yield asking.next_at

    # looking up

    def _container(self, name: str) -> ContainerState:
        return self.state.containers[name]

    def _states(self, containers: tuple[Container, ...]) -> list[ContainerState]:
        return [self.state.containers[each.name] for each in containers if each.name in self.state.containers]

    def _serving(self) -> tuple[Container, ...]:
        return () if self.pod.is_gateway else self.pod.spec.containers

    def _spec(self, name: str) -> Container:
        return next(each for each in (*self.pod.spec.init_containers, *self.pod.spec.containers) if each.name == name)

    def _is_plain_init(self, name: str) -> bool:
        return any(each.name == name and each.restart_policy != "Always" for each in self.pod.spec.init_containers)

    def _is_helper(self, name: str) -> bool:
        """Kubernetes: a sidecar container, an init container that is restarted always."""
        return any(each.name == name and each.restart_policy == "Always" for each in self.pod.spec.init_containers)

    def _checks(self, name: str) -> list[tuple[Check, Probe | None]]:
        spec = self._spec(name)
        pairs = ((Check.STARTUP, spec.startup_probe), (Check.READINESS, spec.readiness_probe), (Check.LIVENESS, spec.liveness_probe))
        found: list[tuple[Check, Probe | None]] = [(check, probe) for check, probe in pairs if probe is not None]
        if spec.readiness_probe is None and spec.startup_probe is None and any(port.protocol == "TCP" for port in spec.ports):
            found.append((Check.LISTENS, None))
        return found

    def _restarts(self, name: str, code: int) -> bool:
        policy = self.pod.spec.restart_policy
        if self._is_helper(name):
            return not self._is_complete()
        if self._is_plain_init(name):
            return code != 0 and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    def _is_complete(self) -> bool:
        """Whether nothing is left to run: every container has ended for good, or an init container has failed for good."""
        if self.pod.is_gateway:
            return False
        inits = [one for one in self._states(self.pod.spec.init_containers) if not self._is_helper(one.name)]
        if any(one.is_done and one.exit_code != 0 for one in inits):
            return True
        return all(one.is_done for one in self._states(self.pod.spec.containers))


def _longer(back_off_s: float) -> float:
    return min(LAST_BACK_OFF_S, back_off_s * 2) if back_off_s else FIRST_BACK_OFF_S


def adopted(state: PodState, now: float) -> PodMachine:
    """The machine of a pod that an earlier daemon ran. Its processes are watched again by whoever calls this; those that are gone come as `Ended`."""
    machine = PodMachine(state)
    for name, one in state.containers.items():
        if one.status is Status.RUNNING:
            was_started, was_ready = one.is_started, one.is_ready
            machine._begin_asking(name, now)  # the machine's own, begun outside it only here
            if was_started:
                machine._asking.pop((name, Check.STARTUP), None)
                machine._asking.pop((name, Check.LISTENS), None)
            one.is_started, one.is_ready = was_started, was_ready
    return machine
