"""Playbooks of one stream: what is sent, in which order, when it is removed."""

from lateen.serve.session import CDS, EDS, ENDPOINTS_WAIT_S, LDS, RDS, REMOVAL_GRACE_S, SDS, Close, Rejected, Send, Session, Want
from lateen.wire.delta import DeltaRequest, decode_response
from tests.serve.playbook import Client, Shelf

SHORT = {CDS: "CDS", EDS: "EDS", LDS: "LDS", RDS: "RDS"}


def started() -> Client:
    shelf = Shelf()
    for name in "ab":
        shelf.put(CDS, name, "eds 1")
        shelf.put(EDS, name, "10.0.0.1")
    shelf.put(LDS, "l", "r")
    shelf.put(RDS, "r", "a")
    shelf.publish()
    client = Client(shelf)
    client.connect()
    client.run()
    return client


def news(client: Client) -> list[tuple[str, ...]]:
    """What was sent since the last call."""
    sent = [(SHORT[url], *names, *(f"-{name}" for name in removed)) for url, names, removed in client.sent]
    client.sent.clear()
    return sent


def publish(client: Client) -> None:
    client.shelf.publish()
    client.publish()


def test_a_fresh_client_gets_everything_in_order():
    client = started()
    assert news(client) == [("CDS", "a", "b"), ("EDS", "a", "b"), ("LDS", "l"), ("RDS", "r")]
    assert client.settled[-1:] == [client.shelf.revision]
    assert client.session.is_settled


def test_an_unchanged_publication_sends_nothing():
    client = started()
    news(client)
    publish(client)
    assert news(client) == []
    assert not client.session.is_concerned


def test_one_endpoint_is_one_resource():
    client = started()
    news(client)
    client.shelf.put(EDS, "b", "10.0.0.2")
    publish(client)
    assert client.session.is_concerned
    client.run()
    assert news(client) == [("EDS", "b")]


def test_a_changed_cluster_brings_its_endpoints_and_routes_wait_for_both():
    client = started()
    news(client)
    client.shelf.put(CDS, "b", "eds 2")
    client.shelf.put(RDS, "r", "a b")
    publish(client)
    assert news(client) == [("CDS", "b"), ("EDS", "b")]
    client.answer()
    assert news(client) == []
    client.answer()
    assert news(client) == [("RDS", "r")]
    assert not client.session.is_settled
    client.answer()
    assert client.session.is_settled


def test_a_new_cluster_waits_for_the_client_to_ask_for_its_endpoints():
    client = started()
    news(client)
    client.shelf.put(CDS, "c", "eds 1")
    client.shelf.put(EDS, "c", "10.0.0.3")
    client.shelf.put(RDS, "r", "c")
    publish(client)
    assert news(client) == [("CDS", "c")]
    client.answer()  # acknowledges, and asks for the endpoints
    assert news(client) == [("EDS", "c")]
    client.answer()
    assert news(client) == [("RDS", "r")]


def test_a_client_that_takes_no_endpoints_does_not_wait_for_ever():
    shelf = Shelf()
    shelf.put(CDS, "a", "static")
    shelf.put(EDS, "a", "10.0.0.1")
    shelf.put(LDS, "l", "")
    shelf.publish()
    client = Client(shelf)
    client.connect()
    client.run()
    assert news(client) == [("CDS", "a")]
    assert client.session.wake_at == ENDPOINTS_WAIT_S
    client.wait(ENDPOINTS_WAIT_S)
    assert news(client) == [("LDS", "l")]


def test_a_client_that_acknowledges_late_has_all_the_time_to_take_the_endpoints():
    client = started()
    client.shelf.put(CDS, "c", "eds 1")
    client.shelf.put(EDS, "c", "10.0.0.1")
    client.shelf.put(RDS, "r", "c")
    publish(client)
    client.now += ENDPOINTS_WAIT_S
    client.run()  # asserts that no route refers to a cluster without endpoints
    assert client.held[RDS]["r"][1] == "c"


def test_endpoints_that_wait_behind_others_are_waited_for():
    client = started()
    client.shelf.put(EDS, "b", "10.0.0.2")
    publish(client)  # in flight, and taken late
    client.shelf.put(CDS, "c", "eds 1")
    client.shelf.put(EDS, "c", "10.0.0.1")
    client.shelf.put(RDS, "r", "c")
    publish(client)
    first = client.inbox.pop(0)
    client.answer()  # the cluster: asks for its endpoints
    client.now += ENDPOINTS_WAIT_S
    client.take(client.session.on_tick(client.now))
    client.inbox.insert(0, first)
    client.run()  # asserts that no route refers to a cluster without endpoints
    assert client.held[RDS]["r"][1] == "c"


def test_removals_come_after_routes_were_acknowledged_and_the_grace():
    client = started()
    news(client)
    client.shelf.put(RDS, "r", "b")
    client.shelf.drop(CDS, "a")
    client.shelf.drop(EDS, "a")
    publish(client)
    assert news(client) == [("RDS", "r")]
    client.now += REMOVAL_GRACE_S * 2  # the client is slow: the grace starts when it has answered
    client.take(client.session.on_tick(client.now))
    assert news(client) == []
    client.run()
    assert client.session.is_settled
    assert client.session.wake_at == client.now + REMOVAL_GRACE_S
    client.wait(REMOVAL_GRACE_S - 1)
    assert news(client) == []
    client.wait(1)
    assert news(client) == [("CDS", "-a")]
    assert set(client.held[EDS]) == {"b"}
    assert client.session.wake_at is None


def test_what_comes_back_within_the_grace_is_not_removed():
    client = started()
    client.shelf.put(RDS, "r", "b")
    client.shelf.drop(CDS, "a")
    publish(client)
    client.run()
    client.shelf.put(CDS, "a", "eds 1")
    publish(client)
    client.run()
    news(client)
    client.wait(REMOVAL_GRACE_S * 2)
    assert news(client) == []
    assert set(client.held[CDS]) == {"a", "b"}


def test_a_cluster_that_went_and_came_while_it_warmed_gets_its_endpoints_on_the_next_stream():
    client = started()
    client.shelf.put(CDS, "b", "eds 2")
    publish(client)
    client.shelf.drop(CDS, "b")
    client.shelf.drop(EDS, "b")
    publish(client)
    client.answer()
    assert client.warming == {"b"}
    client.shelf.put(CDS, "b", "eds 2")
    client.shelf.put(EDS, "b", "10.0.0.1")
    client.shelf.publish()
    client.connect(wait=True)
    client.publish()
    client.run()
    assert not client.warming


def test_a_cluster_that_was_removed_is_warmed_by_nobody():
    client = started()
    client.shelf.put(CDS, "b", "eds 2")
    publish(client)
    client.shelf.drop(CDS, "b")
    client.shelf.drop(EDS, "b")
    publish(client)
    client.run()
    client.wait(REMOVAL_GRACE_S)
    client.wait(REMOVAL_GRACE_S)
    assert "b" not in client.held[CDS]
    assert client.session.unfinished == set()


def test_a_listener_is_removed_at_once():
    client = started()
    news(client)
    client.shelf.drop(LDS, "l")
    client.shelf.put(LDS, "m", "r")
    publish(client)
    assert client.session.is_concerned
    client.run()
    assert news(client)[0] == ("LDS", "m", "-l")


def test_a_slow_client_gets_the_latest_and_one_response_at_a_time():
    client = started()
    news(client)
    for number in range(5):
        client.shelf.put(EDS, "a", f"10.0.1.{number}")
        publish(client)
    assert news(client) == [("EDS", "a")]
    client.run()
    assert news(client) == [("EDS", "a")]
    assert client.held[EDS]["a"][1] == "10.0.1.4"


def test_a_reconnect_is_sent_only_what_differs():
    client = started()
    client.shelf.put(EDS, "a", "10.0.0.9")
    client.shelf.drop(CDS, "b")
    client.shelf.publish()
    news(client)
    client.connect()
    client.run()
    assert [entry for entry in news(client) if len(entry) > 1] == [("EDS", "a")]
    client.wait(REMOVAL_GRACE_S)
    assert ("CDS", "-b") in news(client)


def test_every_first_request_is_answered():
    client = Client(Shelf())
    client.connect()
    client.run()
    assert news(client) == [("CDS",), ("LDS",)]
    client.ask(RDS, {"nowhere"})
    client.run()
    assert news(client) == [("RDS", "-nowhere")]
    client.request("type.googleapis.com/some.Other")
    assert [url for url, *_ in client.sent] == ["type.googleapis.com/some.Other"]


def test_a_name_beyond_the_view_is_computed_when_it_is_asked_for():
    client = started()
    client.shelf.extra[CDS]["x"] = "static"
    news(client)
    client.request(CDS, subscribe=["x", "y"])
    assert news(client) == []
    assert client.shelf.wanted[CDS] == {"x", "y"}
    client.run()
    assert news(client) == [("CDS", "x"), ("CDS",)]
    assert client.held[CDS].keys() == {"a", "b", "x", "y"}  # what is not there has something that stands in for it
    client.shelf.extra[CDS]["y"] = "static"
    publish(client)
    client.run()
    assert news(client) == [("CDS", "y")]
    client.request(CDS, unsubscribe=["x"])
    assert client.shelf.wanted[CDS] == {"y"}
    other = Client(client.shelf)
    other.connect()
    assert news(other) == [("CDS", "a", "b")]  # a wildcard gets what the view lists
    client.take(client.session.on_close())
    assert client.shelf.wanted[CDS] == set()


def fetched() -> Client:
    """A client that has all of its view, and has asked for `x` beyond it."""
    client = started()
    client.shelf.extra = client.shelf.extra | {CDS: {"x": "eds 1"}, EDS: {"x": "10.0.0.9"}}
    client.fetch("x")
    client.run()
    return client


def test_a_cluster_asked_for_comes_with_its_endpoints_in_one_turn():
    client = started()
    client.shelf.extra = client.shelf.extra | {CDS: {"x": "eds 1"}, EDS: {"x": "10.0.0.9"}}
    news(client)
    client.fetch("x")
    revision = client.shelf.revision
    client.run()
    assert news(client) == [("CDS", "x"), ("EDS", "x")]
    assert client.shelf.revision == revision + 1
    assert "x" in client.active


def test_what_is_not_there_is_told_when_routes_are_as_published_so_that_what_waits_passes_the_new_ones():
    client = started()
    news(client)
    client.shelf.put(RDS, "r", "b")  # the edit that takes `x` away, while a request on the old route asks for it
    client.fetch("x")
    publish(client)
    while "x" not in client.held[CDS]:
        assert client.inbox, "the request would wait for ever"
        client.answer()
        assert "x" not in client.held[CDS] or client.held[RDS]["r"][1] == "b"
    assert news(client) == [("RDS", "r"), ("CDS",)]
    client.run()
    assert client.session.is_settled


def test_a_cluster_that_goes_while_it_warms_gets_the_endpoints_that_it_had():
    client = started()
    client.shelf.extra = client.shelf.extra | {CDS: {"x": "eds 1"}, EDS: {"x": "10.0.0.9"}}
    client.fetch("x")
    publish(client)
    (send,) = client.inbox  # the cluster is on its way, and a request waits for it
    assert send.names == ("x",)
    del client.shelf.extra[CDS]["x"], client.shelf.extra[EDS]["x"]
    client.shelf.put(RDS, "r", "b")
    publish(client)
    client.run()
    assert client.held[RDS]["r"][1] == "b" and client.held[EDS]["x"][1] == "10.0.0.9"
    assert client.session.is_settled
    client.wait(REMOVAL_GRACE_S)
    client.wait(REMOVAL_GRACE_S)
    assert client.held[CDS]["x"][1] != "eds 1" and "x" not in client.held[EDS]
    client.shelf.extra = client.shelf.extra | {CDS: {"x": "eds 1"}, EDS: {"x": "10.0.0.7"}}
    publish(client)
    client.run()
    assert client.held[EDS]["x"][1] == "10.0.0.7"


def test_a_cluster_asked_for_survives_reconnects_and_is_followed():
    client = fetched()
    for wait in (False, True):
        news(client)
        client.connect(wait=wait)
        publish(client)
        client.run()
        client.wait(10 * REMOVAL_GRACE_S)
        client.wait(10 * REMOVAL_GRACE_S)
        assert not [name for item in news(client) for name in item if name.startswith("-")]
        assert "x" in client.held[CDS] and "x" in client.held[EDS]
    client.shelf.extra[EDS]["x"] = "10.0.0.10"
    publish(client)
    client.run()
    assert news(client) == [("EDS", "x")]


def test_a_cluster_asked_for_survives_another_view():
    client = fetched()
    other = Shelf()
    other.entries, other.wanted, other.extra = client.shelf.entries, client.shelf.wanted, client.shelf.extra
    for url in client.shelf.contents:
        other.contents[url] = dict(client.shelf.contents[url])
    other.revision, news_before = client.shelf.revision, news(client)
    other.wanted, wanted = {url: set() for url in other.wanted}, other.wanted
    other.publish()  # it lists nothing of `x`, and has not computed it yet
    client.shelf = other
    client.publish()
    other.wanted = wanted
    publish(client)
    client.run()
    client.wait(10 * REMOVAL_GRACE_S)
    client.wait(10 * REMOVAL_GRACE_S)
    assert news_before and not [name for item in news(client) for name in item if name.startswith("-")]
    assert "x" in client.held[CDS] and "x" in client.held[EDS]


def test_a_cluster_that_goes_after_it_was_asked_for_leaves_an_empty_one_after_the_grace_and_comes_back():
    client = fetched()
    del client.shelf.extra[CDS]["x"], client.shelf.extra[EDS]["x"]
    publish(client)
    client.run()
    before = client.held[CDS]["x"]
    client.wait(REMOVAL_GRACE_S)
    client.wait(REMOVAL_GRACE_S)
    after = client.held[CDS]["x"]
    assert before[1] == "eds 1" and after[1] != "eds 1"
    client.shelf.extra[CDS]["x"] = "static"
    publish(client)
    client.run()
    assert client.held[CDS]["x"][1] == "static"


def test_who_asks_for_single_clusters_alone_is_told_that_one_is_not_there():
    client = Client(Shelf())
    client.publish()
    client.request(CDS, subscribe=["y"])
    client.run()
    assert news(client) == [("CDS", "-y")]


def test_asking_again_is_answered_even_if_equal():
    client = started()
    news(client)
    client.request(EDS, subscribe=["a"])
    assert news(client) == [("EDS", "a")]


def test_a_refusal_is_reported_and_not_repeated():
    client = started()
    client.refuse = frozenset({(CDS, "b")})
    client.shelf.put(CDS, "b", "eds bad")
    client.shelf.put(RDS, "r", "a b")
    publish(client)
    seen = []
    take = client.take
    client.take = lambda actions: (seen.extend(actions), take(actions))
    client.refuse = frozenset({(CDS, "b")})
    client.run()
    (rejected,) = (action for action in seen if isinstance(action, Rejected))
    assert (rejected.type_url, rejected.message) == (CDS, "refused")
    assert rejected.resources == (("b", client.shelf.snapshots[CDS].version("b")),)
    assert client.session.subscriptions[CDS].rejection == "refused"
    news(client)
    client.wait(60)
    assert news(client) == []
    client.refuse = frozenset()
    client.shelf.put(CDS, "b", "eds good")
    publish(client)
    client.run()
    assert ("CDS", "b") in news(client)
    assert client.session.subscriptions[CDS].rejection == ""


def test_a_secret_that_is_refused_takes_no_other_with_it():
    client = started()
    for name in ("a", "b", "c"):
        client.shelf.put(SDS, name, "1")
    client.refuse = frozenset({(SDS, "b")})
    client.ask(SDS, {"a", "b", "c"})
    publish(client)
    client.run()
    assert [names for url, names, _ in client.sent if url == SDS] == [("a",), ("b",), ("c",)]
    assert sorted(client.held[SDS]) == ["a", "c"]
    assert list(client.session.subscriptions[SDS].rejected) == ["b"]
    client.refuse = frozenset()
    for name in ("b", "c"):
        client.shelf.put(SDS, name, "2")
    publish(client)
    client.run()
    assert {name: body for name, (_, body) in client.held[SDS].items()} == {"a": "1", "b": "2", "c": "2"}
    assert client.session.is_settled


def test_another_view_is_sent_as_a_difference():
    client = started()
    news(client)
    other = Shelf()
    other.entries = client.shelf.entries
    for name in "ab":
        other.put(CDS, name, "eds 1")
        other.put(EDS, name, "10.0.0.1")
    other.put(EDS, "b", "10.0.0.7")
    other.put(LDS, "l", "r")
    other.put(RDS, "r", "b")
    other.revision = client.shelf.revision
    other.publish()
    client.shelf = other
    client.publish()
    client.run()
    assert sorted(news(client)) == [("EDS", "b"), ("RDS", "r")]


def test_stale_and_foreign_nonces_acknowledge_nothing():
    client = started()
    news(client)
    client.shelf.put(EDS, "a", "10.0.0.8")
    publish(client)
    client.request(EDS, nonce="0")
    assert client.session.subscriptions[EDS].in_flight
    assert not client.session.is_settled


def test_nonces_are_unique_in_a_stream():
    client = started()
    nonces = []
    for _ in range(3):
        client.request(EDS, subscribe=["a"])
        nonces += [send.nonce for send in client.inbox]
        client.run()
    assert len(set(nonces)) == 3


def test_bounds_end_the_stream():
    session = Session()
    (close,) = session.on_request(DeltaRequest(EDS, subscribe=tuple(str(number) for number in range(100_001))), 0.0)
    assert isinstance(close, Close)
    session = Session()
    last = [session.on_request(DeltaRequest(f"type.googleapis.com/{number}"), 0.0) for number in range(33)][-1]
    assert isinstance(last[0], Close)


def test_nothing_is_sent_before_the_first_publication():
    session = Session()
    assert session.on_request(DeltaRequest(CDS), 0.0) == ()
    shelf = Shelf()
    (send,) = session.on_published(shelf.snapshots, 7, 0.0)
    assert isinstance(send, Send)
    assert decode_response(send.encoded()).nonce == "7"


def test_a_name_asked_for_outlives_a_change_of_view_until_it_is_computed() -> None:
    """The new view's first snapshot knows nothing of what this client asked for beyond what is listed: that takes nothing away, of no type."""
    session = Session()
    old = Shelf()
    old.extra[LDS]["shop:80"] = "routes"
    old.wanted[LDS].add("shop:80")
    session.on_published(old.publish(), 2, 0.0)
    (sent,) = [one for one in session.on_request(DeltaRequest(LDS, subscribe=("shop:80",)), 0.0) if isinstance(one, Send)]
    session.on_request(DeltaRequest(LDS, nonce=sent.nonce), 0.0)
    session.subscriptions[LDS].extras = frozenset({"shop:80"})  # as after a Want
    new = Shelf()
    assert [one for one in session.on_published(new.publish(), 3, 0.0) if isinstance(one, Send)] == []
    assert not session.is_settled
    new.wanted[LDS].add("shop:80")
    (gone,) = [one for one in session.on_published(new.publish(), 4, 0.0) if isinstance(one, Send)]
    assert gone.removed == ("shop:80",)


def test_what_a_client_brings_along_from_beyond_what_is_listed_is_looked_for_first() -> None:
    """After a restart of control nothing is computed yet but what views list: a client that asked for more loses nothing."""
    session, shelf = Session(), Shelf()
    session.on_published(shelf.publish(), 2, 0.0)
    actions = session.on_request(DeltaRequest(LDS, subscribe=("shop:80",), initial_versions={"shop:80": "v"}), 0.0)
    assert [one for one in actions if isinstance(one, Send)] == []
    assert Want(LDS, frozenset({"shop:80"})) in actions
    shelf.extra[LDS]["shop:80"] = "routes"
    shelf.wanted[LDS].add("shop:80")
    (sent,) = [one for one in session.on_published(shelf.publish(), 3, 0.0) if isinstance(one, Send)]
    assert sent.names == ("shop:80",)


def test_a_cluster_brought_along_that_is_no_more_goes_after_its_grace() -> None:
    session, shelf = Session(), Shelf()
    session.on_published(shelf.publish(), 2, 0.0)
    session.on_request(DeltaRequest(CDS, subscribe=("far",), initial_versions={"far": "v"}), 0.0)
    shelf.wanted[CDS].add("far")
    (answer,) = [one for one in session.on_published(shelf.publish(), 3, 0.0) if isinstance(one, Send)]
    assert (answer.names, answer.removed) == ((), ())
    session.on_request(DeltaRequest(CDS, nonce=answer.nonce), 0.0)
    assert session.on_tick(REMOVAL_GRACE_S - 0.1) == ()
    (gone,) = [one for one in session.on_tick(REMOVAL_GRACE_S + 0.1) if isinstance(one, Send)]
    assert gone.removed == ("far",)
