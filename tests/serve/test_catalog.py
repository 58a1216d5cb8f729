"""The catalog over a toy mesh: what is held, what is new, what a publication costs."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.incremental import Db, Input, index, query
from lateen.mesh.view import Proxy, ProxyType, View
from lateen.serve.catalog import Catalog
from lateen.xds.resource import Resource, ResourceType

CLUSTER, ENDPOINT = ResourceType.CLUSTER, ResourceType.ENDPOINT
SERVICES: Input[str, str] = Input("services")
"""name → namespace that sees it, `*` all."""
ENDPOINTS: Input[str, str] = Input("endpoints")
LABELS: Input[str, str] = Input("labels")
"""proxy → the one label."""


@index
def by_namespace(db: Db) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for name in SERVICES.keys(db):
        found.setdefault(SERVICES.at(db, name) or "*", set()).add(name)
    return {namespace: frozenset(names) for namespace, names in found.items()}


@query
def names(db: Db, view: View, type_: ResourceType) -> frozenset[str]:
    if type_ not in (CLUSTER, ENDPOINT):
        return frozenset()
    return (by_namespace.at(db, "*") or frozenset()) | (by_namespace.at(db, view.namespace) or frozenset())


@query
def toy_resource(db: Db, view: View, type_: ResourceType, name: str) -> Resource | None:
    if SERVICES.at(db, name) is None:
        return None
    body = (ENDPOINTS.at(db, name) or "") if type_ is ENDPOINT else f"{name} {view.labels}"
    return Resource(type_, name, body.encode())


@query
def toy_view(db: Db, proxy: Proxy) -> View:
    label = LABELS.at(db, proxy.id) or ""
    return View(proxy.type, proxy.namespace, "sa", (("app", label),), "", proxy.locality, "", "", True, False)


def proxy(name: str, namespace: str = "x") -> Proxy:
    return Proxy(ProxyType.SIDECAR, name, namespace)


def catalog_of(**services: str) -> Catalog:
    db = Db()
    for name, namespace in services.items():
        SERVICES.set(db, name, namespace)
    return Catalog(db, names, toy_resource, toy_view)


def settle(catalog: Catalog):
    while not catalog.refresh(lambda: True):
        pass
    return catalog.publish()


def bodies(catalog: Catalog, who: Proxy, type_: ResourceType = ENDPOINT) -> set[str]:
    return set(catalog.snapshots(catalog.view(who))[type_.value].entries)


def test_proxies_of_one_view_share_it():
    catalog = catalog_of(a="*", b="y")
    for name in "pqr":
        catalog.join(proxy(name))
    catalog.join(proxy("s", "y"))
    published = settle(catalog)
    assert len(published.views) == 2
    assert len(published.moved) == 4
    assert catalog.view(proxy("p")) is catalog.view(proxy("q"))
    assert bodies(catalog, proxy("p")) == {"a"}
    assert bodies(catalog, proxy("s", "y")) == {"a", "b"}
    one, other = (catalog.snapshots(catalog.view(who))[ENDPOINT.value].entries["a"] for who in (proxy("p"), proxy("s", "y")))
    assert one is other


def test_a_change_touches_its_views_and_names_only():
    catalog = catalog_of(a="*", b="y")
    catalog.join(proxy("p"))
    catalog.join(proxy("s", "y"))
    settle(catalog)
    before = catalog.snapshots(catalog.view(proxy("s", "y")))
    ENDPOINTS.set(catalog.db, "b", "10.0.0.1")
    published = settle(catalog)
    assert published.views == {catalog.view(proxy("s", "y"))}
    after = catalog.snapshots(catalog.view(proxy("s", "y")))
    assert after[CLUSTER.value] is before[CLUSTER.value]
    assert after[ENDPOINT.value].changed == {"b"}
    assert after[ENDPOINT.value].parent == before[ENDPOINT.value].serial
    assert settle(catalog).views == frozenset()


def test_names_come_and_go():
    catalog = catalog_of(a="*")
    catalog.join(proxy("p"))
    settle(catalog)
    size = catalog.db.size
    SERVICES.set(catalog.db, "b", "*")
    settle(catalog)
    assert bodies(catalog, proxy("p")) == {"a", "b"}
    SERVICES.remove(catalog.db, "b")
    settle(catalog)
    assert bodies(catalog, proxy("p")) == {"a"}
    assert catalog.snapshots(catalog.view(proxy("p")))[ENDPOINT.value].changed == {"b"}
    assert catalog.db.size == size


def test_a_label_moves_a_proxy():
    catalog = catalog_of(a="*")
    catalog.join(proxy("p"))
    catalog.join(proxy("q"))
    settle(catalog)
    old = catalog.view(proxy("p"))
    LABELS.set(catalog.db, "p", "new")
    published = settle(catalog)
    assert published.moved == {proxy("p")}
    assert catalog.view(proxy("p")) != old
    assert catalog.view(proxy("q")) is old
    LABELS.set(catalog.db, "q", "new")
    settle(catalog)
    assert catalog.views == (catalog.view(proxy("p")),)


def test_wanted_names_are_there_or_absent():
    catalog = catalog_of(a="*", z="other")
    catalog.join(proxy("p"))
    settle(catalog)
    view = catalog.view(proxy("p"))
    catalog.want(view, CLUSTER.value, ["z", "nothing"])
    settle(catalog)
    snapshot = catalog.snapshots(view)[CLUSTER.value]
    assert set(snapshot.entries) == {"a", "z"}
    assert snapshot.absent == {"nothing"}
    assert snapshot.listed == {"a"}
    catalog.unwant(view, CLUSTER.value, ["z", "nothing"])
    settle(catalog)
    snapshot = catalog.snapshots(view)[CLUSTER.value]
    assert (set(snapshot.entries), snapshot.absent) == ({"a"}, frozenset())


steps = st.lists(
    st.one_of(
        st.tuples(st.just("service"), st.sampled_from("abc"), st.sampled_from(["*", "x", "y", ""])),
        st.tuples(st.just("endpoint"), st.sampled_from("abc"), st.sampled_from("12")),
        st.tuples(st.just("label"), st.sampled_from("pqr"), st.sampled_from("12")),
        st.tuples(st.just("join"), st.sampled_from("pqr"), st.just("")),
        st.tuples(st.just("leave"), st.integers(0, 9), st.just("")),
        st.tuples(st.just("slice"), st.just(""), st.just("")),
        st.tuples(st.just("publish"), st.just(""), st.just("")),
    ),
    min_size=10,
    max_size=50,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_snapshots_are_what_queries_say_and_nothing_leaks(edits):
    catalog, joined = catalog_of(a="*", b="x"), []
    for kind, one, two in [*edits, ("publish", "", "")]:
        if kind == "service":
            SERVICES.set(catalog.db, one, two) if two else SERVICES.remove(catalog.db, one)
        elif kind == "endpoint":
            ENDPOINTS.set(catalog.db, one, two)
        elif kind == "label":
            LABELS.set(catalog.db, one, two)
        elif kind == "join":
            joined.append(proxy(one, "x" if one != "r" else "y"))
            catalog.join(joined[-1])
        elif kind == "leave" and joined:
            catalog.leave(joined.pop(one % len(joined)))
        elif kind == "slice":
            catalog.refresh(lambda: True)
        elif kind == "publish":
            settle(catalog)
            assert catalog.db.discrepancies() == ()
            for who in joined:
                view = toy_view(catalog.db, who)
                assert catalog.view(who) == view
                for type_ in (CLUSTER, ENDPOINT):
                    expected = {name: toy_resource(catalog.db, view, type_, name).version for name in names(catalog.db, view, type_)}
                    snapshot = catalog.snapshots(view)[type_.value]
                    assert {name: entry.version for name, entry in snapshot.entries.items()} == expected
            assert set(catalog.views) == {catalog.view(who) for who in joined}
    for who in joined:
        catalog.leave(who)
    settle(catalog)
    assert catalog.views == ()
    assert catalog.db.size == 0


def test_who_leaves_between_two_views_leaves_both():
    catalog = catalog_of(a="*")
    catalog.join(proxy("p"))
    settle(catalog)
    LABELS.set(catalog.db, "p", "1")
    catalog.refresh(lambda: True)
    while not catalog.refresh():
        pass
    catalog.leave(proxy("p"))
    settle(catalog)
    assert catalog.views == ()


def test_who_turns_back_before_the_publication_stands_once():
    catalog = catalog_of(a="*")
    catalog.join(proxy("p"))
    settle(catalog)
    view = catalog.view(proxy("p"))
    for label in ("1", ""):
        LABELS.set(catalog.db, "p", label)
        while not catalog.refresh():
            pass
    settle(catalog)
    assert catalog.views == (view,)
    catalog.leave(proxy("p"))
    settle(catalog)
    assert catalog.views == ()
    assert catalog.db.size == 0


def test_what_has_a_problem_keeps_what_was_there():
    faults: Input[str, str] = Input("faults")

    @query
    def faulty(db: Db, view: View, type_: ResourceType, name: str) -> Resource | None:
        found = toy_resource(db, view, type_, name)
        problem = faults.at(db, name) or ""
        return Resource(type_, name, found.body + problem.encode(), problem=problem) if found is not None else None

    db = Db()
    SERVICES.set(db, "a", "*")
    catalog = Catalog(db, names, faulty, toy_view)
    catalog.join(proxy("p"))
    settle(catalog)
    view = catalog.view(proxy("p"))
    before = catalog.snapshots(view)[CLUSTER.value].version("a")
    faults.set(db, "a", "no good")
    published = settle(catalog)
    assert {one.resource.problem for one in published.withheld} == {"no good"}
    assert catalog.snapshots(view)[CLUSTER.value].version("a") == before
    assert len(catalog.withheld) == len(published.withheld)
    SERVICES.set(db, "b", "*")
    faults.set(db, "b", "never good")
    assert {one.resource.name for one in settle(catalog).withheld} == {"b"}, "each is told once"
    assert "b" not in catalog.snapshots(view)[CLUSTER.value].entries
    for name in ("a", "b"):
        faults.remove(db, name)
    assert settle(catalog).withheld == catalog.withheld == ()
    assert set(catalog.snapshots(view)[CLUSTER.value].entries) == {"a", "b"}


def test_a_cluster_that_is_wanted_brings_its_endpoints_in_the_same_publication_and_lets_both_go():
    catalog = catalog_of(far="elsewhere")
    who = proxy("p")
    catalog.join(who)
    settle(catalog)
    view = catalog.view(who)
    rest = catalog.db.size
    catalog.want(view, CLUSTER.value, ("far",))
    settle(catalog)
    assert bodies(catalog, who, CLUSTER) == bodies(catalog, who) == {"far"}
    catalog.want(view, ENDPOINT.value, ("far",))  # as the client does then
    catalog.unwant(view, CLUSTER.value, ("far",))
    settle(catalog)
    assert bodies(catalog, who, CLUSTER) == set() and bodies(catalog, who) == {"far"}
    catalog.unwant(view, ENDPOINT.value, ("far",))
    settle(catalog)
    assert bodies(catalog, who) == set()
    assert catalog.db.size <= rest
