"""Whatever happens in whatever order between Envoy, relay and control: when it is over, Envoy holds what control has, and never lost what control never took."""

from collections import deque

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lateen.wire.delta import DeltaRequest, decode_request, decode_response, encode_request, encode_response, resource_fragment
from lateen.wire.relay import CLUSTERS, ENDPOINTS, Keep, RelaySession, RestartUpstream, SendDown, SendUp
from lateen.wire.stand_in import stand_in

NAMES = ("a", "b", "c")
STAND_IN = "there is none"


class Memory(dict):
    def known(self, type_url):
        return self.get(type_url, {})

    def keep(self, change):
        mine = self.setdefault(change.type_url, {})
        mine.update(change.kept)
        for name in change.gone:
            mine.pop(name, None)


class Envoy:
    """Takes everything; asks for the endpoints of the clusters it has. `gone`: what was ever taken from it."""

    def __init__(self):
        self.holds = {CLUSTERS: {}, ENDPOINTS: {}}
        self.asked = set()
        self.sends = deque([DeltaRequest(CLUSTERS, node=b"\x0a\x01e")])
        self.fetched = set()

    def fetch(self, name):
        """A request needs a cluster: it is asked for once."""
        if name not in self.holds[CLUSTERS] and name not in self.fetched:
            self.fetched.add(name)
            self.sends.append(DeltaRequest(CLUSTERS, subscribe=(name,)))

    def take(self, raw):
        response = decode_response(raw)
        holds = self.holds[response.type_url]
        for resource in response.resources:
            if response.type_url == CLUSTERS or resource.name in self.asked:
                holds[resource.name] = resource.version
        for name in response.removed:
            if response.type_url == CLUSTERS:
                holds.pop(name, None)
        self.sends.append(DeltaRequest(response.type_url, nonce=response.nonce))
        if response.type_url == CLUSTERS:
            self._ask_for_endpoints()

    def _ask_for_endpoints(self):
        wanted = set(self.holds[CLUSTERS])
        new, old = sorted(wanted - self.asked), sorted(self.asked - wanted)
        if new or old:
            self.sends.append(DeltaRequest(ENDPOINTS, subscribe=tuple(new), unsubscribe=tuple(old)))
            self.asked = wanted
            for name in old:
                self.holds[ENDPOINTS].pop(name, None)


class Control:
    """Level-triggered, one stream: published minus sent. What was asked for once, and is there, it lists from then on."""

    def __init__(self):
        self.has = {CLUSTERS: {"a": "0"}, ENDPOINTS: {"a": "0"}}
        self.on_demand = {CLUSTERS: {}, ENDPOINTS: {}}
        """What only those get who ask for it, until it is learned."""
        self.learned = set()
        self.types = None
        self.count = 0

    def take(self, raw):
        request = decode_request(raw)
        assert self.types or request.node, "the first request of a stream says who is asking"
        if request.type_url not in self.types:
            is_wildcard = not request.subscribe or "*" in request.subscribe
            self.types[request.type_url] = ([is_wildcard, True], set(), dict(request.initial_versions))
        _, names, sent = self.types[request.type_url]
        names.update(set(request.subscribe) - {"*"})
        names.difference_update(request.unsubscribe)
        for name in request.subscribe:
            if name not in request.initial_versions:
                sent.pop(name, None)
        for name in request.unsubscribe:
            sent.pop(name, None)

    def say(self):
        """One response, if anything is to say."""
        for type_url, (flags, names, sent) in (self.types or {}).items():
            is_wildcard, is_unanswered = flags
            flags[1] = False
            has = {name: version for name, version in self.has[type_url].items() if is_wildcard or name in names}
            if type_url == CLUSTERS:
                self.learned = (self.learned | names) & self.on_demand[CLUSTERS].keys()
            wanted = names | (self.learned if is_wildcard else set())
            has |= {name: version for name, version in self.on_demand[type_url].items() if name in wanted}
            missing = [name for name in names if name not in has] if type_url == CLUSTERS else []
            has |= dict.fromkeys(missing, STAND_IN)
            new = {name: version for name, version in has.items() if sent.get(name) != version}
            gone = [name for name in sent if name not in has]
            if new or gone or (is_wildcard and is_unanswered):
                self.count += 1
                sent.clear()
                sent.update(has)
                fragments = [stand_in(name) if version == STAND_IN else resource_fragment(name, version, type_url, b"x") for name, version in new.items()]
                return encode_response(type_url, str(self.count % 3), fragments, gone)
        return None


class World:
    """The queues between the three."""

    def __init__(self):
        self.record, self.control, self.now, self.version = Memory(), Control(), 0.0, 0
        self.is_up = True
        self.restart_envoy()

    def restart_envoy(self):
        self.envoy = Envoy()
        self.session = RelaySession(self.record, is_reachable=self.is_up)
        self.to_envoy, self.to_control, self.to_relay = deque(), deque(), deque()
        self.is_open = False

    def do(self, actions):
        for action in actions:
            match action:
                case SendDown(raw):
                    self.to_envoy.append(raw)
                case SendUp(raw):
                    assert self.is_open
                    self.to_control.append(raw)
                case Keep():
                    self.record.keep(action)
                case RestartUpstream():
                    self._hang_up()

    def _hang_up(self):
        self.is_open = False
        self.to_control.clear()
        self.to_relay.clear()

    def step(self, what):
        match what:
            case "open" if self.is_up and not self.is_open:
                self.is_open, self.control.types = True, {}
                self.do(self.session.on_upstream_open(self.now))
            case "die":
                self.is_up = False
                if self.is_open:
                    self._hang_up()
                    self.do(self.session.on_upstream_closed(self.now))
            case "live":
                self.is_up = True
            case "wait":
                self.now += 0.7
                self.do(self.session.on_time(self.now))
            case "up" if self.envoy.sends:
                self.do(self.session.on_request(encode_request(self.envoy.sends.popleft()), self.now))
            case "down" if self.to_envoy:
                self.envoy.take(self.to_envoy.popleft())
            case "heard" if self.to_control and self.is_open:
                self.control.take(self.to_control.popleft())
            case "said" if self.is_open and (raw := self.control.say()):
                self.to_relay.append(raw)
            case "relayed" if self.to_relay and self.is_open:
                self.do(self.session.on_response(self.to_relay.popleft(), self.now))
            case "envoy":
                self.restart_envoy()
            case ("set", name):
                self.version += 1
                for has in self.control.has.values():
                    has[name] = str(self.version)
            case ("move", name) if name in self.control.has[ENDPOINTS]:
                self.version += 1
                self.control.has[ENDPOINTS][name] = str(self.version)
            case ("fetch", name):
                self.envoy.fetch(name)
            case ("offer", name):
                self.version += 1
                for has in self.control.on_demand.values():
                    has[name] = str(self.version)
            case ("withdraw", name):
                for has in self.control.on_demand.values():
                    has.pop(name, None)
            case ("remove", name):
                for has in self.control.has.values():
                    has.pop(name, None)

    def settle(self):
        for what in ("live", "open"):
            self.step(what)
        for _ in range(300):
            for what in ("open", "up", "heard", "said", "relayed", "down"):
                self.step(what)


STEPS = st.one_of(
    st.sampled_from(["open", "die", "live", "wait", "envoy"]),
    st.sampled_from(["up", "down", "heard", "said", "relayed"]),
    st.sampled_from(["up", "down", "heard", "said", "relayed"]),
    st.tuples(st.sampled_from(["set", "move", "remove"]), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["fetch", "fetch", "offer", "withdraw"]), st.sampled_from(["x", "y"])),
)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=80), st.booleans())
def test_it_converges(steps, is_settled_first):
    world = World()
    if is_settled_first:
        world.settle()
    for step in steps:
        world.step(step)
    world.settle()
    asked = world.envoy.fetched | world.control.learned
    expected = {
        kind: has | {name: version for name, version in world.control.on_demand[kind].items() if name in asked} for kind, has in world.control.has.items()
    }
    expected[CLUSTERS] |= dict.fromkeys(world.envoy.fetched - expected[CLUSTERS].keys(), STAND_IN)
    assert plain(world.envoy.holds) == expected
    recorded = {kind: {name: known.version for name, known in held.items()} for kind, held in world.record.items() if held}
    assert plain(recorded) == {kind: has for kind, has in expected.items() if has}


def plain(holds):
    """With one version for all clusters that stand in for one."""
    empty = {decode_response(stand_in(name)).resources[0].version for name in ("x", "y")}
    return {kind: {name: STAND_IN if version in empty else version for name, version in has.items()} for kind, has in holds.items()}


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40), st.lists(st.sampled_from(["envoy", "die", "live", "wait", "open", "up", "heard", "said", "relayed", "down"]), max_size=40))
def test_what_was_asked_for_stays_though_envoy_control_and_node_start_anew(steps, ends):
    world = World()
    world.step(("offer", "x"))
    world.settle()
    world.step(("fetch", "x"))
    world.settle()
    for step in steps:
        if step not in (("withdraw", "x"), ("remove", "x")):
            world.step(step)
    for step in ends:
        world.step(step)
    world.restart_envoy()
    world.settle()
    assert world.envoy.holds[CLUSTERS]["x"] == world.control.on_demand[CLUSTERS]["x"]
    assert world.envoy.holds[ENDPOINTS]["x"] == world.control.on_demand[ENDPOINTS]["x"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["up", "down", "heard", "said", "relayed", "wait", "envoy", "die"]), max_size=60))
def test_nothing_is_lost_while_control_is_away(steps):
    world = World()
    world.settle()
    world.step("die")
    world.step("envoy")
    for step in (*steps, *["up", "wait", "down"] * 20):
        world.step(step)
    assert world.envoy.holds == world.control.has


def test_what_was_on_its_way_is_told_to_the_next_control():
    """Control sends a cluster, removes it again, and is gone before Envoy has acknowledged."""
    world = World()
    world.settle()
    for step in (("set", "c"), "said", "relayed", ("remove", "c"), "die"):
        world.step(step)
    world.settle()
    assert world.envoy.holds == world.control.has
