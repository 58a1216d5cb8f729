"""Any interleaving of publications, answers, reconnects, refusals and time converges to what is published, and no route is ever dead on the way."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.serve.session import CDS, EDS, LDS, RDS
from lateen.wire.delta import decode_response
from lateen.wire.stand_in import stand_in
from tests.serve.playbook import Client, Shelf

step = st.one_of(
    st.tuples(st.just("cluster"), st.sampled_from("abcd"), st.sampled_from(["eds 1", "eds 2", "static"])),
    st.tuples(st.just("endpoints"), st.sampled_from("abcd"), st.sampled_from("123")),
    st.tuples(st.just("drop"), st.sampled_from("abcd"), st.just("")),
    st.tuples(st.just("route"), st.sampled_from("rst"), st.sets(st.sampled_from("abcd")).map(sorted)),
    st.tuples(st.just("listener"), st.sampled_from("lm"), st.one_of(st.none(), st.sets(st.sampled_from("rst")).map(sorted))),
    st.tuples(st.just("fetch"), st.sampled_from("axy"), st.just("")),
    st.tuples(st.just("on demand"), st.sampled_from("xy"), st.sampled_from(["eds 1", "eds 2", "static", ""])),
    st.tuples(st.just("publish"), st.just(""), st.just("")),
    st.tuples(st.just("publish"), st.just(""), st.just("")),
    st.tuples(st.just("answer"), st.just(""), st.just("")),
    st.tuples(st.just("answer"), st.just(""), st.just("")),
    st.tuples(st.just("tick"), st.sampled_from([0.5, 2.0, 16.0]), st.just("")),
    st.tuples(st.just("reconnect"), st.booleans(), st.just("")),
    st.tuples(st.just("run"), st.just(""), st.just("")),
)


def edit(shelf: Shelf, kind: str, name: str, value) -> None:
    """Keeps what is published whole: a route names existing clusters, a listener existing routes."""
    if kind == "cluster":
        shelf.put(CDS, name, value)
        shelf.put(EDS, name, "1") if value != "static" else shelf.drop(EDS, name)
    elif kind == "on demand":
        for url, body in ((CDS, value), (EDS, "1" if value.startswith("eds") else "")):
            shelf.extra[url].pop(name, None)
            shelf.extra[url] |= {name: body} if body else {}
    elif kind == "endpoints" and shelf.contents[CDS].get(name, "").startswith("eds"):
        shelf.put(EDS, name, value)
    elif kind == "drop":
        shelf.drop(CDS, name)
        shelf.drop(EDS, name)
        for route, body in list(shelf.contents[RDS].items()):
            shelf.put(RDS, route, " ".join(cluster for cluster in body.split() if cluster != name))
    elif kind == "route":
        shelf.put(RDS, name, " ".join(cluster for cluster in value if cluster in shelf.contents[CDS]))
    elif kind == "listener" and value is None:
        shelf.drop(LDS, name)
    elif kind == "listener":
        for route in value:
            shelf.contents[RDS].setdefault(route, "")
        shelf.put(LDS, name, " ".join(value))


STAND_IN = "there is none"


def versions(client: Client, url: str) -> list[tuple[str, str]]:
    """What the client holds; a cluster that stands in for one that is not there has no version of its own."""
    found = [(name, version, decode_response(stand_in(name)).resources[0].version) for name, (version, _) in client.held[url].items()]
    return [(name, STAND_IN if url == CDS and version == empty else version) for name, version, empty in found]


@settings(max_examples=400, deadline=None)
@given(st.lists(step, min_size=20, max_size=80))
def test_every_interleaving_converges(steps):
    shelf = Shelf()
    for name in "abcd":
        edit(shelf, "cluster", name, "eds 1")
    edit(shelf, "route", "r", list("ab"))
    edit(shelf, "listener", "l", ["r"])
    shelf.publish()
    client = Client(shelf)
    client.connect()
    client.run()
    for kind, name, value in steps:
        client.now += 0.01
        if kind == "publish":
            shelf.publish()
            client.publish()
        elif kind == "answer":
            client.answer()
        elif kind == "tick":
            client.now += name
            client.take(client.session.on_tick(client.now))
        elif kind == "fetch":
            client.fetch(name)
        elif kind == "reconnect":
            client.connect(wait=name)
        elif kind == "run":
            client.publish()
            client.run()
        else:
            edit(shelf, kind, name, value)
    shelf.publish()
    client.publish()
    client.run()
    for _ in range(4):
        client.wait(16)
    assert client.session.is_settled
    assert client.session.wake_at is None
    for url in (CDS, EDS, LDS, RDS):
        expected = {name: entry.version for name, entry in shelf.snapshots[url].entries.items() if url in (CDS, LDS) or name in client.asked[url]}
        if url == CDS:
            expected |= dict.fromkeys(client.fetched - expected.keys(), STAND_IN)
        assert dict(versions(client, url)) == expected, url
    assert not client.warming
    client.sent.clear()
    client.publish()
    client.wait(100)
    assert client.sent == []
