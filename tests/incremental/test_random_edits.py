"""Random edits over a toy mesh: incremental equals from scratch, what is published is one revision, and nothing unneeded stays."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.incremental import Db, Input, index, query

ROUTE: Input[int, int] = Input("route")
"""service → the service that it goes on to (only upwards, so that there is no cycle; 99: nowhere)."""
ENDPOINT: Input[tuple[int, int], int] = Input("endpoint", lambda key: ((), key[0]))
"""(service, number) → weight."""
SERVICES = range(6)


@index
def weights(db: Db) -> Mapping[int, int]:
    sums: dict[int, int] = {}
    for key in ENDPOINT.keys(db):
        sums[key[0]] = sums.get(key[0], 0) + (ENDPOINT.at(db, key) or 0)
    return sums


@query
def cluster(db: Db, service: int) -> tuple[int, ...]:
    return tuple(sorted(ENDPOINT.at(db, key) or 0 for key in ENDPOINT.keys(db, service)))


@query
def path(db: Db, service: int) -> tuple[int, ...]:
    following = ROUTE.at(db, service)
    if following is None or following == 99 or not weights.at(db, service):
        return (service,)
    if following % 7 == 6:
        raise ValueError(following)
    towards = min(service + 1 + following % 3, 5)
    return (service, *(path(db, towards) if towards > service else ()))


@index
def arrivals(db: Db) -> Mapping[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for service in SERVICES:
        try:
            last = path(db, service)[-1]
        except ValueError:
            continue
        found[last] = (*found.get(last, ()), service)
    return found


@query
def resource(db: Db, view: int, service: int) -> tuple[object, ...]:
    if view == 0:
        return (path(db, service), cluster(db, path(db, service)[-1]))
    if view == 1:
        return (arrivals.at(db, service), weights.at(db, (service + 1) % 6))
    chain = path(db, service)
    return (cluster(db, chain[0]), arrivals.at(db, len(chain)))


change = st.one_of(
    st.tuples(st.just("route"), st.sampled_from(SERVICES), st.one_of(st.none(), st.integers(0, 8), st.just(99))),
    st.tuples(st.just("endpoint"), st.tuples(st.sampled_from(SERVICES), st.integers(0, 1)), st.one_of(st.none(), st.integers(0, 2))),
)
step = st.one_of(
    change,
    change,
    st.tuples(st.just("hold"), st.integers(0, 2), st.sampled_from(SERVICES)),
    st.tuples(st.just("release"), st.integers(0, 17), st.just(None)),
    st.tuples(st.just("slice"), st.integers(0, 5), st.just(None)),
    st.tuples(st.just("publish"), st.just(None), st.just(None)),
)


def visible(db: Db, held: list[tuple[int, int]]) -> dict[tuple[int, int], object]:
    return {key: db.published(resource, *key) for key in held}


@settings(max_examples=150, deadline=None)
@given(st.lists(change, min_size=10, max_size=20), st.lists(step, min_size=10, max_size=60))
def test_incremental_equals_from_scratch(start, steps):
    db, held, live = Db(), [], {}
    for kind, one, two in [
        *start,
        *(("hold", view, service) for view in range(3) for service in SERVICES),
        ("publish", None, None),
        *steps,
        ("publish", None, None),
    ]:
        if kind == "hold":
            db.hold(resource, one, two)
            held.append((one, two))
        elif kind == "release" and held:
            key = held.pop(one % len(held))
            db.release(resource, *key)
        elif kind in ("route", "endpoint"):
            source = ROUTE if kind == "route" else ENDPOINT
            source.set(db, one, two) if two is not None else source.remove(db, one)
        elif kind == "slice":
            for _ in range(one):
                db.refresh(lambda: True)
            assert visible(db, list(live)) == live
        elif kind == "publish":
            while not db.refresh(lambda: True):
                pass
            before = dict(live)
            publication = db.publish()
            assert db.discrepancies() == ()
            scratch = db.from_scratch()
            failed = {key for key in held if scratch.read(resource, key).error is not None}
            assert {args for (_, args), _ in publication.failed} <= failed
            live = visible(db, list(set(held)))
            assert {args for _, args in publication.changed} == {key for key in live if key not in failed and (key not in before or live[key] != before[key])}
            for key in set(held) - failed:
                assert scratch.read(resource, key).value == live[key]
    for key in held:
        db.release(resource, *key)
    db.publish()
    assert db.size == 0
    assert db.resets == 0
