"""What workloads learn in automatic scope: whatever is asked, edited, started anew and killed in whatever order, each proxy holds what its workload asked for,
as far as it exists and may be called; and control remembers it, for a time, whatever dies."""

import asyncio
import gc
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lateen.base.names import ObjectRef
from lateen.config.decode import decode
from lateen.control import learning as learning_module
from lateen.control import pilot as pilot_module
from lateen.control.events import Events
from lateen.control.learning import ABSENCE_S, REMEMBERED_S, Learning
from lateen.control.pilot import FILES, Pilot
from lateen.mesh.automatic_scope import SCOPE, ScopeMode, Workload
from lateen.serve.session import CDS, EDS
from lateen.sources import facts as facts_module
from lateen.wire.client import node
from lateen.wire.delta import DELTA_METHOD, DeltaRequest, decode_response, encode_request
from lateen.wire.stand_in import stand_in

HOSTS = ("one", "two", "three", "four")
STANDING = {"BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster"}
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: farm}}
spec: {{clusterIP: 10.96.0.{at}, selector: {{app: {name}}}, ports: [{{name: http, port: 80}}]}}
"""
SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: farm}}
spec: {{egress: [{{hosts: [{hosts}]}}]}}
"""
MIRROR = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: copies, namespace: farm}}
spec: {{hosts: [copies.example], http: [{{directResponse: {{status: 200}}, mirrors: [{{destination: {{host: {host}}}}}]}}]}}
"""


def cluster(host: str) -> str:
    return f"outbound|80||{host}.farm.svc.cluster.local"


class Stream:
    """One stream to the door, as gRPC would carry it."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[bytes | object] = asyncio.Queue()
        self.inbox: list[bytes] = []

    async def read(self) -> bytes | object:
        return await self.requests.get()

    async def write(self, message: bytes) -> None:
        self.inbox.append(message)

    async def abort(self, code: object, details: str) -> None:
        raise AssertionError(f"{code} {details}")

    def auth_context(self) -> dict:
        return {}

    def peer(self) -> str:
        return "test"


class Envoy:
    """Fetches clusters as Envoy does: asks once for each that it does not hold, and never gives one up by itself."""

    def __init__(self, pod: str, workload: str) -> None:
        self.node = node(f"sidecar~10.1.0.1~{pod}.farm~farm.svc.cluster.local", {"NAMESPACE": "farm", "SERVICE_ACCOUNT": "crew", "WORKLOAD_NAME": workload})
        self.workload = workload
        self.held: dict[str, dict[str, str]] = {CDS: {}, EDS: {}}
        self.fetched: set[str] = set()
        self.stream: Stream | None = None
        self.task: asyncio.Task | None = None

    def connect(self, pilot: Pilot) -> None:
        self.stream = Stream()
        serve = pilot.door.handler(is_local=True).service(SimpleNamespace(method=DELTA_METHOD)).stream_stream
        self.task = asyncio.create_task(serve(None, self.stream))
        names = ("*", *sorted(self.fetched)) if self.fetched else ()
        self.say(DeltaRequest(CDS, subscribe=names, initial_versions=self.held[CDS], node=self.node))
        if self.held[CDS]:
            self.say(DeltaRequest(EDS, subscribe=tuple(sorted(self.held[CDS])), initial_versions=self.held[EDS]))

    def say(self, request: DeltaRequest) -> None:
        self.stream.requests.put_nowait(encode_request(request))

    async def leave(self) -> None:
        if self.task is not None:
            self.stream.requests.put_nowait(object())
            await asyncio.wait([self.task], timeout=60)
            assert self.task.done()
        self.stream = self.task = None

    def fetch(self, name: str) -> None:
        if name not in self.held[CDS] and name not in self.fetched:
            self.fetched.add(name)
            if self.stream is not None:
                self.say(DeltaRequest(CDS, subscribe=(name,)))

    def take(self) -> bool:
        """Answers what has come. False: nothing had."""
        if self.stream is None or not self.stream.inbox:
            return False
        response = decode_response(self.stream.inbox.pop(0))
        held, before = self.held[response.type_url], set(self.held[CDS])
        held.update({one.name: one.version for one in response.resources})
        for name in response.removed:
            held.pop(name, None)
        self.say(DeltaRequest(response.type_url, nonce=response.nonce))
        if response.type_url == CDS and (before != set(held) or response.resources):
            for name in before - held.keys():
                self.held[EDS].pop(name, None)
            again = {one.name for one in response.resources}
            self.say(DeltaRequest(EDS, subscribe=tuple(sorted((held.keys() - before) | again)), unsubscribe=tuple(sorted(before - held.keys()))))
        return True

    @property
    def hosts(self) -> set[str]:
        """Whose clusters it has, those left out that only stand in for one."""
        empty = {name for name, version in self.held[CDS].items() if version == decode_response(stand_in(name)).resources[0].version}
        return {name.split("|")[3].split(".")[0] for name in self.held[CDS].keys() - empty if name.startswith("outbound|")}


class World:
    """Control's parts that matter, its file, and some pods of two workloads. `now`: the clock of all."""

    def __init__(self, folder: Path) -> None:
        self.path, self.now = folder / "learned.json", 1000.0
        self.written: dict[ObjectRef, object] = {}
        self.envoys: dict[str, Envoy] = {}
        self.events: list[dict] = []
        self.start()

    def start(self) -> None:
        events = Events()
        events.emit = self.events.append
        self.pilot = Pilot(events)
        self.pilot.door._clock = lambda: self.now
        SCOPE.set(self.pilot.db, "mesh", ScopeMode.AUTOMATIC)
        self.learning = Learning(self.pilot, events, self.path, lambda: self.now)
        self.learning.restore()
        self.pilot.submit(FILES, self.written.values(), is_full=True)
        self.loop = asyncio.create_task(self.pilot.run())

    async def restart(self) -> None:
        """Control dies and comes back; whoever was connected returns."""
        await self.stop()
        self.start()
        for envoy in self.envoys.values():
            envoy.connect(self.pilot)

    async def stop(self) -> None:
        for envoy in self.envoys.values():
            await envoy.leave()
        await self.learning.close()
        self.loop.cancel()
        await asyncio.gather(self.loop, return_exceptions=True)

    def write(self, text: str) -> None:
        for item in decode(text, "t").objects:
            self.written[ObjectRef(item.kind, item.namespace, item.name)] = item
            self.pilot.submit(FILES, [item])

    def remove(self, kind: str, name: str) -> None:
        if self.written.pop(ObjectRef(kind, "farm", name), None) is not None:
            self.pilot.submit(FILES, [], [ObjectRef(kind, "farm", name)])

    def join(self, pod: str) -> Envoy:
        envoy = self.envoys[pod] = Envoy(pod, pod.partition("-")[0])
        envoy.connect(self.pilot)
        return envoy

    async def settle(self) -> None:
        """Until nothing moves: nothing is computed, sent, or waits to be answered."""
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0)
            for connection in list(self.pilot.door.connections.values()):
                if connection.session.wake_at is not None and connection.session.wake_at <= self.now:
                    self.pilot.door._perform(connection, connection.session.on_tick(self.now))
            taken = [envoy.take() for envoy in self.envoys.values()]
            is_busy = any(taken) or self.pilot._wake.is_set()
            is_busy |= any(envoy.stream is not None and not envoy.stream.requests.empty() for envoy in self.envoys.values())
            is_busy |= len(self.pilot.door.connections) < sum(envoy.stream is not None for envoy in self.envoys.values())
            quiet = 0 if is_busy else quiet + 1
            if not is_busy:
                await asyncio.sleep(0.001)

    def seen(self) -> set[str]:
        """The hosts that exist and that a Sidecar does not hide."""
        there = {ref.name for ref in self.written if ref.kind == "Service"}
        sidecar = self.written.get(ObjectRef("Sidecar", "farm", "default"))
        return there if sidecar is None else there & {host.removeprefix("./").partition(".")[0] for host in sidecar.spec.egress[0].hosts}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without the pauses that coalesce changes of a real mesh, and without collections of a process that begins."""
    monkeypatch.setattr(pilot_module, "GAP_S", 0)
    monkeypatch.setattr(facts_module, "HOLD_S", 0)
    monkeypatch.setattr(gc, "freeze", lambda: None)


def run(story):
    """A story told of a new world."""

    async def told():
        with TemporaryDirectory() as folder:
            world = World(Path(folder))
            try:
                await story(world)
            finally:
                await world.stop()

    asyncio.run(told())


PODS = ("bees-1", "bees-2", "cows-1")
STEPS = st.one_of(
    st.tuples(st.just("fetch"), st.sampled_from(PODS), st.sampled_from(HOSTS)),
    st.tuples(st.just("fetch"), st.sampled_from(PODS), st.sampled_from(HOSTS)),
    st.tuples(st.just("write"), st.sampled_from(HOSTS), st.just("")),
    st.tuples(st.just("remove"), st.sampled_from(HOSTS), st.just("")),
    st.tuples(st.just("pod"), st.sampled_from(PODS), st.just("")),
    st.tuples(st.just("leave"), st.sampled_from(PODS), st.just("")),
    st.tuples(st.just("sidecar"), st.sets(st.sampled_from(HOSTS), min_size=1).map(sorted).map(tuple), st.just("")),
    st.tuples(st.just("no sidecar"), st.just(""), st.just("")),
    st.tuples(st.just("mirror"), st.sampled_from((*HOSTS, "")), st.just("")),
    st.tuples(st.just("restart"), st.just(""), st.just("")),
    st.tuples(st.just("wait"), st.just(""), st.just("")),
)


async def take_step(world: World, kind: str, what, host: str) -> None:
    match kind:
        case "fetch" if what in world.envoys:
            world.envoys[what].fetch(cluster(host))
        case "write":
            world.write(SERVICE.format(name=what, at=HOSTS.index(what) + 7))
        case "remove":
            world.remove("Service", what)
        case "pod":
            if what in world.envoys:
                await world.envoys.pop(what).leave()
            world.join(what)
        case "leave" if what in world.envoys:
            await world.envoys.pop(what).leave()
        case "sidecar":
            world.write(SIDECAR.format(hosts=", ".join(f"./{one}.farm.svc.cluster.local" for one in what)))
        case "no sidecar":
            world.remove("Sidecar", "default")
        case "mirror" if what:
            world.write(MIRROR.format(host=what))
        case "mirror":
            world.remove("VirtualService", "copies")
        case "restart":
            await world.restart()
        case "wait":
            world.now += 100


class Model:
    """Of what control should have learned. `learned`: workload → host → since when it is not there, None: it is."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.learned: dict[str, dict[str, float | None]] = {"bees": {}, "cows": {}}

    def look(self) -> None:
        for workload, names in self.learned.items():
            envoys = [envoy for envoy in self.world.envoys.values() if envoy.workload == workload]
            if not envoys:  # nobody says what is there
                names.update(dict.fromkeys(names))
                continue
            names.update(dict.fromkeys({name.split("|")[3].split(".")[0] for envoy in envoys for name in envoy.fetched} & self.world.seen()))
            for name in list(names):
                since = names[name] = None if name in self.world.seen() else names[name] if names[name] is not None else self.world.now
                if since is not None and self.world.now - since >= ABSENCE_S:
                    del names[name]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=30))
@example([("write", "one", ""), ("pod", "bees-1", ""), ("fetch", "bees-1", "one"), ("remove", "one", ""), ("write", "one", ""), ("pod", "bees-2", "")])
@example([("write", "one", ""), ("mirror", "one", ""), ("pod", "bees-1", "")])
@example([("write", "one", ""), ("pod", "bees-1", ""), ("fetch", "bees-1", "one"), ("leave", "bees-1", ""), ("restart", "", ""), ("pod", "bees-2", "")])
def test_each_proxy_holds_what_its_workload_asked_for_as_far_as_it_is_there(steps):
    async def story(world: World) -> None:
        model = Model(world)
        for kind, what, host in steps:
            await take_step(world, kind, what, host)
            await world.settle()
            world.learning.look_again()
            await world.settle()
            model.look()
            for envoy in world.envoys.values():
                assert envoy.hosts >= model.learned[envoy.workload].keys() & world.seen(), (kind, what, host)
        for _ in range(4):
            world.now += 40
            world.pilot.need()
            await world.settle()
            world.learning.look_again()
            await world.settle()
            model.look()
        asked = {workload: set(names) for workload, names in model.learned.items()}
        mirrored = {one.spec.http[0].mirrors[0].destination.host for one in world.written.values() if one.kind == "VirtualService"}
        for envoy in world.envoys.values():
            copies = {host for host in mirrored if host in world.seen()}
            assert envoy.hosts == asked[envoy.workload] | copies | {name.split("|")[3].split(".")[0] for name in envoy.fetched} & world.seen()
            assert {name for name in envoy.held[CDS] if "|" not in name} >= STANDING
            assert {name for name in envoy.held[CDS] if name in envoy.fetched} == envoy.fetched  # Envoy asks once: there is always an answer
        found = {one.name: {name.split("|")[3].split(".")[0] for name in names} for one, names in world.learning.workloads.items()}
        assert {workload: found.get(workload, set()) for workload in asked if workload in {envoy.workload for envoy in world.envoys.values()}} == {
            envoy.workload: asked[envoy.workload] for envoy in world.envoys.values()
        }
        wrong = world.pilot.db.discrepancies()
        assert not wrong

    run(story)


def test_the_second_replica_and_the_next_pod_have_it_unasked_and_other_workloads_do_not():
    async def story(world: World) -> None:
        for host in HOSTS:
            world.write(SERVICE.format(name=host, at=HOSTS.index(host) + 7))
        first, second, other = world.join("bees-1"), world.join("bees-2"), world.join("cows-1")
        await world.settle()
        assert first.hosts == second.hosts == other.hosts == set()
        first.fetch(cluster("two"))
        await world.settle()
        assert first.hosts == second.hosts == {"two"} and not second.fetched
        assert other.hosts == set()
        assert set(second.held[EDS]) >= {cluster("two")}  # with its endpoints
        assert world.join("bees-3") and (await world.settle() or world.envoys["bees-3"].hosts == {"two"})
        told = [event for event in world.events if event["event"] == "learned"]
        assert told == [{"event": "learned", "namespace": "farm", "service_account": "crew", "workload": "bees", "cluster": cluster("two")}]

    run(story)


def test_what_was_away_for_a_moment_is_still_known_and_what_stays_away_is_not():
    async def story(world: World) -> None:
        bees = Workload("farm", "crew", "bees")
        world.write(SERVICE.format(name="two", at=7))
        world.join("bees-1").fetch(cluster("two"))
        await world.settle()
        await world.envoys.pop("bees-1").leave()
        warm = world.join("bees-2")  # nothing that lives has asked
        await world.settle()
        for away_s, is_known in ((ABSENCE_S / 2, True), (ABSENCE_S + 1, False)):
            world.remove("Service", "two")
            await world.settle()
            world.now += away_s
            world.learning.look_again()
            world.write(SERVICE.format(name="two", at=9))
            await world.settle()
            assert (bees in world.learning.workloads) is is_known
            assert cluster("two") in warm.held[CDS] or not is_known

    run(story)


def test_facts_outlive_control_and_are_forgotten_a_week_after_the_last_proxy():
    async def story(world: World) -> None:
        bees = Workload("farm", "crew", "bees")
        world.write(SERVICE.format(name="two", at=7))
        world.join("bees-1").fetch(cluster("two"))
        await world.settle()
        assert world.learning.workloads == {bees: frozenset({cluster("two")})}
        await world.learning.close()
        (kept,) = json.loads(world.path.read_bytes())  # at once: control may be killed while the proxy is connected
        assert (kept["workload"], kept["clusters"], kept["gone_since"]) == ("bees", [cluster("two")], None)
        await world.envoys.pop("bees-1").leave()
        await world.settle()
        world.now += REMEMBERED_S - 100
        await world.restart()
        assert world.learning.workloads == {bees: frozenset({cluster("two")})}
        back = world.join("bees-9")
        await world.settle()
        assert back.hosts == {"two"}
        world.now += 2 * REMEMBERED_S  # it counts from when the last one left
        await world.restart()
        assert bees in world.learning.workloads
        await world.envoys.pop("bees-9").leave()
        await world.settle()
        world.now += REMEMBERED_S + 100
        await world.restart()
        assert world.learning.workloads == {}

    run(story)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(learning_module, "MOST_WORKLOADS", 2)
    monkeypatch.setattr(learning_module, "MOST_NAMES", 3)

    async def story(world: World) -> None:
        for host in HOSTS:
            world.write(SERVICE.format(name=host, at=HOSTS.index(host) + 7))
        for at, workload in enumerate(("ants", "bees", "cows")):
            envoy = world.join(f"{workload}-1")
            for host in HOSTS[: at + 1]:
                envoy.fetch(cluster(host))
                await world.settle()
            if workload != "cows":
                await world.envoys.pop(f"{workload}-1").leave()
                world.now += 10
        await world.settle()
        assert {one.name for one in world.learning.workloads} == {"bees", "cows"}  # the one that was gone for longest
        envoy.fetch(cluster("four"))
        await world.settle()
        assert envoy.hosts == set(HOSTS)
        assert {one.name: len(names) for one, names in world.learning.workloads.items()} == {"bees": 2, "cows": 3}

    run(story)


def test_a_file_that_makes_no_sense_is_no_reason_to_stop(tmp_path):
    for text in (
        "",
        "{",
        '[{"namespace": "x"}]',
        "7",
        json.dumps([{"namespace": 1, "service_account": [], "workload": None, "clusters": 5, "gone_since": {}}]),
    ):
        (tmp_path / "learned.json").write_text(text)
        made = Learning(Pilot(Events()), Events(), tmp_path / "learned.json")
        made.restore()
        assert made.workloads == {}


@pytest.mark.parametrize("services", [100, 1000])
def test_learning_a_name_re_runs_the_same_few_queries_in_a_large_mesh(services):
    async def story(world: World) -> None:
        for at in range(services):
            world.write(SERVICE.format(name=f"s{at}", at=1).replace("10.96.0.1", f"10.96.{at // 250}.{at % 250 + 1}"))
        first, second = world.join("bees-1"), world.join("bees-2")
        first.fetch(cluster("s5"))
        await world.settle()
        world.pilot.db.runs.clear()
        first.fetch(cluster("s7"))
        await world.settle()
        assert second.hosts == {"s5", "s7"}
        assert sum(world.pilot.db.runs.values()) <= 30, world.pilot.db.runs

    run(story)
