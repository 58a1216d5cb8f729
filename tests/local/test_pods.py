"""The life of a pod as a playbook: events in, actions out, no process and no clock."""

import signal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lateen.local.isolation.seam import ProcessRef
from lateen.local.lifecycle import (
    Check,
    Checked,
    ConfigChanged,
    Drain,
    Ended,
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
from lateen.local.pods import DRAIN_S, PodMachine, adopted, new_state
from lateen.local.podspec import Pod, PodMeta, decoded


def machine(is_meshed=False, is_gateway=False, **spec):
    spec.setdefault("containers", [{"name": "app"}])
    pod = Pod(metadata=PodMeta(name="p", namespace="n"), spec=decoded(spec), is_meshed=is_meshed, is_gateway=is_gateway)
    return PodMachine(new_state(pod, 0.0))


def ready(machine, *names):
    assert machine.on_event(Tick(), 0.0) == (Prepare(),)
    actions = machine.on_event(Prepared(("10.0.0.2",)), 0.0)
    for name in names:
        assert Start(name) in actions
        actions = (*actions, *machine.on_event(Started(name, ProcessRef(7, 7)), 0.0))
    return actions


def test_a_crashing_container_is_started_again_ever_later():
    pod = machine()
    ready(pod, "app")
    assert pod.is_ready and pod.phase == "Running"
    now, waits = 0.0, []
    for _ in range(9):
        assert Start("app") not in pod.on_event(Ended("app", 1), now)
        assert not pod.is_ready
        waits.append(pod.wake_at() - now)
        assert pod.on_event(Tick(), pod.wake_at() - 0.01) == ()
        now = pod.wake_at()
        assert pod.on_event(Tick(), now) == (Start("app"),)
        pod.on_event(Started("app", ProcessRef(8, 8)), now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pod.state.containers["app"].restarts == 9
    pod.on_event(Ended("app", 0), now + 61)
    assert pod.wake_at() == now + 62


def test_init_containers_run_one_after_the_other_before_the_application():
    pod = machine(initContainers=[{"name": "a"}, {"name": "b"}], containers=[{"name": "x"}, {"name": "y"}])
    assert ready(pod, "a") == (Start("a"),)
    assert pod.phase == "Pending" and not pod.is_ready
    assert pod.on_event(Ended("a", 0), 1) == (Start("b"),)
    pod.on_event(Started("b", ProcessRef(2, 2)), 1)
    assert pod.on_event(Ended("b", 3), 2) == ()
    assert pod.on_event(Tick(), 3) == (Start("b"),)
    pod.on_event(Started("b", ProcessRef(3, 3)), 3)
    assert pod.on_event(Ended("b", 0), 4) == (Start("x"), Start("y"))


def test_a_helper_runs_beside_and_stops_last():
    pod = machine(initContainers=[{"name": "helper", "restartPolicy": "Always"}, {"name": "init"}], restartPolicy="Never")
    assert ready(pod, "helper")[-1] == Start("init")
    pod.on_event(Started("init", ProcessRef(2, 2)), 1)
    assert pod.on_event(Ended("init", 0), 1) == (Start("app"),)
    pod.on_event(Started("app", ProcessRef(3, 3)), 1)
    assert pod.is_ready
    assert pod.on_event(Ended("app", 0), 2) == (Signal("helper", signal.SIGTERM),)
    assert pod.on_event(Ended("helper", 143), 2) == (TearDown(),)
    pod.on_event(TornDown(), 2)
    assert pod.phase == "Succeeded" and not pod.has_failed and not pod.state.is_gone


def test_a_failed_init_container_that_is_not_restarted_fails_the_pod():
    pod = machine(initContainers=[{"name": "a"}], restartPolicy="Never")
    ready(pod, "a")
    assert pod.on_event(Ended("a", 3), 1) == (TearDown(),)
    assert pod.phase == "Failed"


def test_readiness_is_asked_fast_at_first_then_at_its_period():
    pod = machine(containers=[{"name": "app", "readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 10, "failureThreshold": 2}}])
    assert ready(pod, "app")[-1] == RunCheck("app", Check.READINESS)
    pod.on_event(Checked("app", Check.READINESS, False, "no"), 0.1)
    assert not pod.is_ready and pod.wake_at() < 0.2
    assert pod.on_event(Tick(), 0.2) == (RunCheck("app", Check.READINESS),)
    pod.on_event(Checked("app", Check.READINESS, True), 0.3)
    assert pod.is_ready and pod.wake_at() == 10.3
    for now in (10.3, 20.4):
        assert pod.is_ready
        assert pod.on_event(Tick(), now) == (RunCheck("app", Check.READINESS),)
        pod.on_event(Checked("app", Check.READINESS, False, "no"), now)
    assert not pod.is_ready and "no" in pod.state.containers["app"].message


def test_startup_holds_the_other_probes_back_and_fails_by_its_own_measure():
    probe = {"exec": {"command": ["x"]}}
    spec = {"name": "app", "startupProbe": probe | {"periodSeconds": 2, "failureThreshold": 3}, "readinessProbe": probe, "livenessProbe": probe}
    pod = machine(containers=[spec])
    assert ready(pod, "app")[-1] == RunCheck("app", Check.STARTUP)
    pod.on_event(Checked("app", Check.STARTUP, False, "slow"), 1)
    pod.on_event(Tick(), 5.9)
    assert pod.on_event(Checked("app", Check.STARTUP, False, "slow"), 5.9) == ()
    pod.on_event(Tick(), 6.9)
    assert set(pod.on_event(Checked("app", Check.STARTUP, True), 6.9)) == {RunCheck("app", Check.READINESS), RunCheck("app", Check.LIVENESS)}
    other = machine(containers=[spec])
    ready(other, "app")
    assert other.on_event(Checked("app", Check.STARTUP, False, "slow"), 6.1) == (Signal("app", signal.SIGTERM),)


def test_failed_liveness_restarts_with_grace():
    pod = machine(containers=[{"name": "app", "livenessProbe": {"tcpSocket": {"port": 1}, "failureThreshold": 2, "terminationGracePeriodSeconds": 5}}])
    ready(pod, "app")
    pod.on_event(Checked("app", Check.LIVENESS, False, "dead"), 1)
    pod.on_event(Tick(), 11)
    assert pod.on_event(Checked("app", Check.LIVENESS, False, "dead"), 11) == (Signal("app", signal.SIGTERM),)
    assert not pod.is_ready and pod.wake_at() == 16
    assert pod.on_event(Tick(), 16) == (Signal("app", signal.SIGKILL),)
    pod.on_event(Ended("app", 137), 16)
    assert pod.on_event(Tick(), 17) == (Start("app"),)


def test_declared_ports_must_listen_when_no_probe_says_more():
    pod = machine(containers=[{"name": "app", "ports": [{"containerPort": 9080}]}])
    assert ready(pod, "app")[-1] == RunCheck("app", Check.LISTENS)
    pod.on_event(Checked("app", Check.LISTENS, False, "port 9080 does not listen"), 0.1)
    assert not pod.is_ready
    pod.on_event(Tick(), 1)
    pod.on_event(Checked("app", Check.LISTENS, True), 1)
    assert pod.is_ready and pod.wake_at() is None


def test_a_meshed_pod_waits_for_its_proxy():
    pod = machine(is_meshed=True)
    ready(pod, "app")
    assert not pod.is_ready
    pod.on_event(ProxyChanged(True), 1)
    assert pod.is_ready


def test_leaving_drains_then_runs_the_hook_then_terminates_then_kills():
    pod = machine(is_meshed=True, terminationGracePeriodSeconds=10, containers=[{"name": "app", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}])
    ready(pod, "app")
    pod.on_event(ProxyChanged(True), 0)
    assert pod.on_event(StopAsked(), 100) == (Drain(),)
    assert not pod.is_ready and pod.wake_at() == 100 + DRAIN_S
    assert pod.on_event(Tick(), 100 + DRAIN_S) == (RunHook("app", Hook.PRE_STOP),)
    assert pod.on_event(HookEnded("app", Hook.PRE_STOP, True), 103) == (Signal("app", signal.SIGTERM),)
    assert pod.wake_at() == 110
    assert pod.on_event(Tick(), 110) == (Signal("app", signal.SIGKILL),)
    assert pod.on_event(Ended("app", 137), 110) == (TearDown(),)
    pod.on_event(TornDown(), 111)
    assert pod.state.is_gone and pod.wake_at() is None


def test_a_pod_without_a_proxy_is_left_in_time_too():
    pod = machine(terminationGracePeriodSeconds=10, containers=[{"name": "app"}])
    ready(pod, "app")
    assert pod.is_ready
    assert pod.on_event(StopAsked(), 100) == ()
    assert not pod.is_ready and pod.wake_at() == 100 + DRAIN_S
    assert pod.on_event(Tick(), 100 + DRAIN_S) == (Signal("app", signal.SIGTERM),)


def test_a_gateway_is_left_in_time_too():
    pod = machine(is_meshed=True, is_gateway=True)
    pod.on_event(Tick(), 0)
    pod.on_event(Prepared(("10.0.0.1",)), 0)
    pod.on_event(ProxyChanged(True), 0)
    assert pod.is_ready
    assert pod.on_event(StopAsked(), 100) == (Drain(),)
    assert not pod.is_ready and pod.wake_at() == 100 + DRAIN_S
    assert pod.on_event(Tick(), 100 + DRAIN_S) == (TearDown(),)
    pod.on_event(TornDown(), 102)
    assert pod.state.is_gone


def test_a_hook_after_the_start_holds_readiness_and_its_failure_restarts():
    pod = machine(containers=[{"name": "app", "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}])
    assert ready(pod, "app")[-1] == RunHook("app", Hook.POST_START)
    assert not pod.is_ready
    assert pod.on_event(HookEnded("app", Hook.POST_START, False, "oops"), 1) == (Signal("app", signal.SIGTERM),)
    assert "oops" in pod.state.containers["app"].message


def test_missing_configuration_is_tried_again_at_once_when_it_comes():
    pod = machine()
    ready(pod)
    pod.on_event(StartFailed("app", "CreateContainerConfigError", "ConfigMap not found: x"), 5)
    assert pod.wake_at() == 6 and pod.state.containers["app"].status is Status.WAITING
    assert pod.on_event(ConfigChanged(), 5.2) == (Start("app"),)


def test_preparation_is_tried_again():
    pod = machine()
    pod.on_event(Tick(), 0)
    assert pod.on_event(PreparationFailed("no link"), 1) == () and pod.wake_at() == 2
    assert pod.on_event(Tick(), 2) == (Prepare(),)


def test_the_next_daemon_goes_on_from_the_record():
    spec = {"name": "app", "readinessProbe": {"tcpSocket": {"port": 1}}, "livenessProbe": {"tcpSocket": {"port": 1}}}
    pod = machine(containers=[spec])
    ready(pod, "app")
    pod.on_event(Checked("app", Check.READINESS, True), 1)
    state = msgspec.json.decode(msgspec.json.encode(pod.state), type=PodState)
    later = adopted(state, 50)
    assert later.is_ready and later.state.containers["app"].process == ProcessRef(7, 7)
    assert set(later.on_event(Tick(), 50)) == {RunCheck("app", Check.READINESS), RunCheck("app", Check.LIVENESS)}
    later.on_event(Ended("app", -1, is_lost=True), 51)
    assert "exit code is lost" in later.state.containers["app"].message and later.state.containers["app"].exit_code == -1
    assert later.on_event(Tick(), 52) == (Start("app"),)


@given(st.lists(st.sampled_from(["tick", "end", "good", "bad", "stop", "hook"]), max_size=60))
def test_no_order_of_events_loses_or_doubles_a_process(steps):
    probe = {"tcpSocket": {"port": 1}, "failureThreshold": 1}
    pod = machine(
        containers=[{"name": "app", "readinessProbe": probe, "livenessProbe": probe, "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}],
        terminationGracePeriodSeconds=3,
    )
    now, running, gone = 0.0, False, False
    waiting = []

    def take(actions):
        nonlocal running, gone
        for action in actions:
            assert not gone
            match action:
                case Prepare():
                    take(pod.on_event(Prepared(("10.0.0.2",)), now))
                case Start():
                    assert not running
                    running = True
                    take(pod.on_event(Started("app", ProcessRef(1, 1)), now))
                case TearDown():
                    assert not running
                    take(pod.on_event(TornDown(), now))
                    gone = pod.state.is_gone
                case _:
                    waiting.append(action)

    for one in steps:
        now += 0.7
        event = None
        match one:
            case "end" if running:
                running, event = False, Ended("app", 1)
            case "good" | "bad":
                check = next((each for each in waiting if isinstance(each, RunCheck)), None)
                if check:
                    waiting.remove(check)
                    event = Checked("app", check.check, one == "good")
            case "hook":
                hook = next((each for each in waiting if isinstance(each, RunHook)), None)
                if hook:
                    waiting.remove(hook)
                    event = HookEnded("app", hook.hook, True)
            case "stop":
                event = StopAsked()
        if not gone:
            take(pod.on_event(event or Tick(), now))
    if not gone:
        take(pod.on_event(StopAsked(), now))
        for _ in range(20):
            now += 5
            if running and any(isinstance(each, Signal) and each.number == signal.SIGKILL for each in waiting):
                running = False
                take(pod.on_event(Ended("app", 137), now))
            if not gone:
                take(pod.on_event(Tick(), now))
    assert gone and not running
