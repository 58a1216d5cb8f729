"""The state of the world over a delta session: what a client of the one asks of the other, and what it is told."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.serve.session import CDS, EDS, LDS, RDS, Send, Session, Want
from lateen.serve.variants import StateOfTheWorld
from lateen.wire.delta import DeltaRequest
from lateen.wire.pb.envoy.config.core.v3 import base_pb2
from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2
from lateen.wire.world import World
from tests.serve.playbook import Shelf


def asked(url: str, *names: str, nonce: str = "", error: str = "", node: str = "") -> bytes:
    message = discovery_pb2.DiscoveryRequest(type_url=url, resource_names=names, response_nonce=nonce)
    if error:
        message.error_detail.message = error
    if node:
        message.node.CopyFrom(base_pb2.Node(id=node))
    return message.SerializeToString()


def told(raw: bytes | None) -> tuple[list[bytes], str]:
    assert raw is not None
    message = discovery_pb2.DiscoveryResponse.FromString(raw)
    assert all(one.type_url == message.type_url for one in message.resources)
    return [one.value for one in message.resources], message.nonce


def test_names_are_told_by_their_difference() -> None:
    world = World()
    (first,) = world.on_request(asked(LDS, "a:1", node="sidecar~x"))
    assert (first.subscribe, first.unsubscribe, first.nonce) == (("a:1",), (), "")
    assert base_pb2.Node.FromString(first.node).id == "sidecar~x"
    assert told(world.on_response(LDS, "7", {"a:1": b"A"}, ()).raw) == ([b"A"], "7")
    (second,) = world.on_request(asked(LDS, "a:1", "b:2", nonce="7"))
    assert (second.nonce, second.subscribe, second.error) == ("7", ("b:2",), None)
    assert world.on_request(asked(LDS, "a:1", "b:2", nonce="7")) == ()  # said already
    (third,) = world.on_request(asked(LDS, "b:2", nonce="6"))  # an answer to what is no longer asked; the names count
    assert (third.nonce, third.unsubscribe) == ("", ("a:1",))


def test_a_refusal_is_one() -> None:
    world = World()
    world.on_request(asked(RDS, "r"))
    world.on_response(RDS, "3", {"r": b"R"}, ())
    assert world.on_request(asked(RDS, "r", nonce="3", error="no such thing")) == (DeltaRequest(RDS, "3", error="no such thing"),)


def test_listeners_and_clusters_come_whole() -> None:
    world = World()
    world.on_request(asked(CDS, "a", "b"))
    assert told(world.on_response(CDS, "1", {"a": b"A", "b": b"B"}, ()).raw)[0] == [b"A", b"B"]
    assert told(world.on_response(CDS, "2", {"b": b"B2"}, ()).raw)[0] == [b"A", b"B2"]
    assert told(world.on_response(CDS, "3", {}, ("a",)).raw)[0] == [b"B2"]


def test_nothing_looks_deleted_that_was_only_not_answered_yet() -> None:
    world = World()
    world.on_request(asked(CDS, "a", "b"))
    held_back = world.on_response(CDS, "1", {"a": b"A"}, ())
    assert held_back.raw is None and held_back.acknowledgement == DeltaRequest(CDS, "1")
    assert told(world.on_response(CDS, "2", {}, ("b",)).raw) == ([b"A"], "2")


def test_routes_and_endpoints_come_alone_and_never_go() -> None:
    world = World()
    world.on_request(asked(EDS, "a", "b"))
    assert told(world.on_response(EDS, "1", {"a": b"A"}, ()).raw)[0] == [b"A"]
    assert told(world.on_response(EDS, "2", {"b": b"B"}, ()).raw)[0] == [b"B"]
    gone = world.on_response(EDS, "3", {}, ("a",))
    assert gone.raw is None and gone.acknowledgement == DeltaRequest(EDS, "3")


def test_no_names_are_all_names_at_first_and_none_later() -> None:
    world = World()
    assert world.on_request(asked(CDS))[0].subscribe == ("*",)
    assert told(world.on_response(CDS, "1", {"x": b"X"}, ()).raw)[0] == [b"X"]
    assert world.on_request(asked(CDS, nonce="1"))[0].unsubscribe == ()
    world.on_request(asked(LDS, "l"))
    assert world.on_request(asked(LDS))[0].unsubscribe == ("l",)
    assert world.on_request(asked(RDS))[0].subscribe == ()


class Client:
    """A gRPC client: listeners name routes, routes clusters, clusters endpoints; it takes the state of the world and refuses nothing."""

    def __init__(self, shelf: Shelf, dialled: tuple[str, ...]) -> None:
        self.shelf, self.session, self.variant = shelf, Session(), StateOfTheWorld()
        self.held: dict[str, dict[str, str]] = {url: {} for url in (LDS, RDS, CDS, EDS)}
        self.names: dict[str, set[str]] = {LDS: set(dialled), RDS: set(), CDS: set(), EDS: set()}
        self.nonces: dict[str, str] = dict.fromkeys(self.names, "")
        self.outbox: list[Send] = []
        self.publish()
        self.ask(LDS)

    def take(self, actions) -> None:
        for action in actions:
            if isinstance(action, Send):
                self.outbox.append(action)
            elif isinstance(action, Want):
                self.shelf.wanted[action.type_url] |= action.names

    def ask(self, url: str) -> None:
        for request in self.variant.requests(asked(url, *sorted(self.names[url]), nonce=self.nonces[url])):
            self.take(self.session.on_request(request, 0.0))

    def publish(self) -> None:
        self.take(self.session.on_published(self.shelf.snapshots, self.shelf.revision, 0.0))

    def step(self) -> bool:
        if not self.outbox:
            return False
        send = self.outbox.pop(0)
        answer = self.variant.response(send)
        if answer.acknowledgement is not None:
            self.take(self.session.on_request(answer.acknowledgement, 0.0))
            return True
        bodies, self.nonces[send.type_url] = told(answer.raw)
        self.apply(send.type_url, dict(body.decode().split("=", 1) for body in bodies))
        return True

    def apply(self, url: str, found: dict[str, str]) -> None:
        if url in (LDS, CDS):
            self.held[url] = {name: body for name, body in found.items() if name in self.names[url]}
        else:
            self.held[url].update(found)
        self.ask(url)
        for above, below in ((LDS, RDS), (RDS, CDS), (CDS, EDS)):
            names = {name for body in self.held[above].values() for name in body.split()}
            if names != self.names[below]:
                self.names[below] = names
                self.held[below] = {name: body for name, body in self.held[below].items() if name in names}
                self.ask(below)

    def settle(self) -> None:
        for _ in range(300):
            if not self.step():
                self.shelf.publish()
                self.publish()
                if not self.outbox:
                    return
        raise AssertionError("does not come to rest")


edit = st.tuples(st.sampled_from([LDS, RDS, CDS, EDS]), st.sampled_from("abc"), st.sets(st.sampled_from("abc")).map(sorted), st.integers(0, 3))


def put(shelf: Shelf, url: str, name: str, below: list[str]) -> None:
    body = {LDS: below, RDS: below, CDS: [name], EDS: below}[url]
    shelf.put(url, name, f"{name}={' '.join(body)}")


@settings(max_examples=200, deadline=None)
@given(st.lists(edit, max_size=30))
def test_a_client_comes_to_hold_what_is_published(edits) -> None:
    shelf = Shelf()
    for url in (LDS, RDS, CDS, EDS):
        for name in "abc":
            put(shelf, url, name, ["a"])
    shelf.publish()
    client = Client(shelf, ("a", "b"))
    for url, name, below, steps in edits:
        put(shelf, url, name, below)
        shelf.publish()
        client.publish()
        for _ in range(steps):
            client.step()
    client.settle()
    assert not client.outbox
    for url, names in client.names.items():
        assert client.held[url] == {name: shelf.contents[url][name].split("=", 1)[1] for name in names}, url
    assert client.names[LDS] == {"a", "b"}
