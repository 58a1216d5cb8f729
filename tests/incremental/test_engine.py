"""The engine: what re-ran, per-key reads, cut-off, publishing, cycles, errors, eviction."""

from collections.abc import Mapping

import pytest

from lateen.incremental import Cycle, Db, Input, index, query

NUMBERS: Input[str, int] = Input("numbers")
GROUPED: Input[tuple[str, str], int] = Input("grouped", lambda key: ((), key[0]))


@query
def number(db: Db, name: str) -> int:
    return NUMBERS.at(db, name) or 0


@query
def is_even(db: Db, name: str) -> bool:
    return number(db, name) % 2 == 0


@query
def verdict(db: Db, name: str) -> str:
    return f"{name} is {'even' if is_even(db, name) else 'odd'}"


@query
def total(db: Db) -> int:
    return sum(number(db, name) for name in NUMBERS.keys(db))


@index
def by_size(db: Db) -> Mapping[str, tuple[str, ...]]:
    sizes: dict[str, tuple[str, ...]] = {}
    for name in NUMBERS.keys(db):
        size = "big" if number(db, name) > 10 else "small"
        sizes[size] = (*sizes.get(size, ()), name)
    return sizes


@query
def names_of(db: Db, size: str) -> tuple[str, ...]:
    return by_size.at(db, size) or ()


@query
def double(db: Db, name: str) -> int:
    if (value := number(db, name)) < 0:
        raise ValueError(name)
    return 2 * value


@query
def double_or_nothing(db: Db, name: str) -> int:
    try:
        return double(db, name)
    except ValueError:
        return 0


@query
def follow(db: Db, name: str) -> str:
    following = NUMBERS.at(db, name)
    return f"{name}>{follow(db, str(following))}" if following else name


def short(runs: Mapping[str, int]) -> dict[str, int]:
    return {name.rsplit(".", 1)[1]: times for name, times in runs.items()}


def db_of(**numbers: int) -> Db:
    db = Db()
    for name, value in numbers.items():
        NUMBERS.set(db, name, value)
    return db


def test_equal_results_cut_off():
    db = db_of(a=1, b=2)
    assert verdict(db, "a") == "a is odd"
    db.runs.clear()
    NUMBERS.set(db, "b", 3)
    assert verdict(db, "a") == "a is odd"
    assert short(db.runs) == {}
    NUMBERS.set(db, "a", 5)
    assert verdict(db, "a") == "a is odd"
    assert short(db.runs) == {"number": 1, "is_even": 1}
    NUMBERS.set(db, "a", 5)
    assert db.revision == 4


def test_a_key_of_an_index_is_the_dependency():
    db = db_of(a=1, b=20)
    assert names_of(db, "big") == ("b",)
    assert names_of(db, "small") == ("a",)
    assert names_of(db, "huge") == ()
    db.runs.clear()
    NUMBERS.set(db, "c", 30)
    assert names_of(db, "small") == ("a",)
    assert short(db.runs)["by_size"] == 1
    assert "names_of" not in short(db.runs) or short(db.runs)["names_of"] == 1  # only the reader of `big`, and only if it is asked
    assert names_of(db, "big") == ("b", "c")
    assert short(db.runs)["names_of"] == 1


@pytest.mark.parametrize("size", [100, 1000])
def test_one_change_runs_the_same_number_at_any_size(size):
    db = Db()
    for number_ in range(size):
        NUMBERS.set(db, f"n{number_}", number_ % 9)
        db.hold(verdict, f"n{number_}")
    for name in ("big", "small"):
        db.hold(names_of, name)
    assert db.refresh()
    assert len(db.publish().changed) == size + 2
    db.runs.clear()
    NUMBERS.set(db, "n50", 11)
    assert db.refresh()
    assert {source.name.rsplit(".", 1)[1] for source, _ in db.publish().changed} == {"names_of", "verdict"} - ({"verdict"} if 50 % 9 % 2 else set())
    runs = short(db.runs)
    runs.pop("verdict", None)
    assert runs == {"number": 1, "is_even": 1, "by_size": 1, "names_of": 2}


def test_key_sets_are_read_by_group():
    runs = []

    @query
    def of_group(db: Db, group: str) -> tuple[tuple[str, str], ...]:
        runs.append(group)
        return GROUPED.keys(db, group)

    db = Db()
    GROUPED.set(db, ("x", "1"), 1)
    assert of_group(db, "x") == (("x", "1"),)
    assert of_group(db, "y") == ()
    GROUPED.set(db, ("y", "2"), 1)
    GROUPED.set(db, ("x", "1"), 2)
    assert of_group(db, "x") == (("x", "1"),)
    assert of_group(db, "y") == (("y", "2"),)
    GROUPED.remove(db, ("x", "1"))
    GROUPED.remove(db, ("x", "7"))
    assert of_group(db, "x") == ()
    assert GROUPED.at(db, ("x", "1")) is None
    assert runs == ["x", "y", "y", "x"]


def test_published_is_one_revision_while_a_refresh_is_under_way():
    db = db_of(a=1, b=2)
    for name in "ab":
        db.hold(verdict, name)
    db.hold(total)
    while not db.refresh(lambda: True):
        assert db.published(verdict, "a") is None
    db.publish()
    assert verdict.published(db, "a") == "a is odd"
    NUMBERS.set(db, "a", 2)
    NUMBERS.set(db, "b", 3)
    slices = 0
    while not db.refresh(lambda: True):
        slices += 1
        assert (db.published(verdict, "a"), db.published(verdict, "b"), db.published(total)) == ("a is odd", "b is even", 3)
    assert slices > 2
    publication = db.publish()
    assert {(source.name.rsplit(".", 1)[1], args) for source, args in publication.changed} == {("verdict", ("a",)), ("verdict", ("b",)), ("total", ())}
    assert total.published(db) == 5


def test_released_is_forgotten_with_what_only_it_read():
    db = db_of(a=1, b=2)
    db.hold(verdict, "a")
    db.hold(verdict, "a")
    db.hold(names_of, "big")
    db.refresh()
    db.publish()
    size = db.size
    db.hold(verdict, "b")
    db.refresh()
    db.publish()
    assert db.size == size + 2  # number(b) is read by the index as well
    db.release(verdict, "b")
    assert db.published(verdict, "b") == "b is even"
    db.publish()
    assert db.published(verdict, "b") is None
    assert db.size == size
    db.release(verdict, "a")
    db.publish()
    assert db.published(verdict, "a") == "a is odd"
    db.release(verdict, "a")
    db.release(names_of, "big")
    db.publish()
    assert db.size == 0
    assert not db._leaves["unused"] if "unused" in db._leaves else all(not leaves for leaves in db._leaves.values())
    NUMBERS.set(db, "a", 2)
    assert db.refresh()


def test_an_error_is_a_result_until_its_cause_changes():
    db = db_of(a=-1)
    db.hold(double_or_nothing, "a")
    db.hold(double, "a")
    db.refresh()
    publication = db.publish()
    assert [str(error) for _, error in publication.failed] == ["a"]
    assert db.published(double_or_nothing, "a") == 0
    with pytest.raises(ValueError, match="a"):
        double(db, "a")
    NUMBERS.set(db, "a", 4)
    db.refresh()
    db.publish()
    assert (db.published(double, "a"), db.published(double_or_nothing, "a")) == (8, 8)
    NUMBERS.set(db, "a", -4)
    db.refresh()
    assert len(db.publish().failed) == 1
    assert (db.published(double, "a"), db.published(double_or_nothing, "a")) == (8, 0)  # the last good one stays


def test_a_cycle_names_its_chain_and_heals():
    db = Db()
    for name, following in {"1": 2, "2": 3, "3": 1}.items():
        NUMBERS.set(db, name, following)
    db.hold(follow, "1")
    with pytest.raises(Cycle) as caught:
        follow(db, "1")
    assert [link.rsplit(".", 1)[1] for link in caught.value.chain] == ["follow(1)", "follow(2)", "follow(3)", "follow(1)"]
    db.refresh()
    assert len(db.publish().failed) == 1
    NUMBERS.set(db, "3", 4)
    db.refresh()
    assert db.publish().failed == ()
    assert db.published(follow, "1") == "1>2>3>4"


def test_reads_that_turn_around_are_computed_anew():
    db = Db()
    for name, following in {"1": 2, "2": 3, "4": 1}.items():
        NUMBERS.set(db, name, following)
    for name in "1234":
        db.hold(follow, name)
    db.refresh()
    db.publish()
    NUMBERS.set(db, "3", 4)
    NUMBERS.remove(db, "2")
    db.refresh()
    db.publish()
    assert [db.published(follow, name) for name in "1234"] == ["1>2", "2", "3>4>1>2", "4>1>2"]
    NUMBERS.set(db, "2", 3)
    NUMBERS.remove(db, "1")
    db.refresh()
    db.publish()
    assert [db.published(follow, name) for name in "1234"] == ["1", "2>3>4>1", "3>4>1", "4>1"]
    assert db.discrepancies() == ()


def test_a_new_read_of_something_unsettled_waits_for_it():
    """`pick` starts to read `deep` in the very change that also changes `deep`: it must never see the old one."""
    seen = []

    @query
    def one(db: Db) -> int:
        return number(db, "a")

    @query
    def deep(db: Db) -> int:
        return one(db) + 1

    @query
    def pick(db: Db) -> int:
        if NUMBERS.at(db, "switch"):
            seen.append(value := deep(db))
            return value
        return 0

    db = db_of(a=1)
    db.hold(pick)
    db.hold(deep)
    db.refresh()
    NUMBERS.set(db, "a", 5)
    NUMBERS.set(db, "switch", 1)
    db.refresh()
    db.publish()
    assert db.published(pick) == 6
    assert seen == [6]
    assert db.restarts == 1


def test_the_oracle_finds_a_query_that_is_not_pure():
    hidden = [1]

    @query
    def impure(db: Db) -> int:
        return hidden[0] + number(db, "a")

    db = db_of(a=1)
    db.hold(impure)
    db.refresh()
    assert db.discrepancies() == ()
    hidden[0] = 2
    assert db.discrepancies() == ((impure, ()),)
