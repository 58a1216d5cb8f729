"""Durations, maps and opaque values."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.kinds.values import Duration, Json, Map


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1h2m3.5s", 3723.5), ("250ms", 0.25), (".5s", 0.5), ("0", 0), ("-1s", -1), ("1us", 1e-6), ("1.5h", 5400), ("3ns", 3e-9)]
)
def test_durations_are_read_as_go_reads_them(text, seconds):
    assert Duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "1d", "1s2", "--1s", "1e3s", "9999999999h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|292 years"):
        Duration.parse(text)


@given(st.integers(min_value=0, max_value=10**15))
def test_a_duration_written_out_is_read_back(microseconds):
    value = Duration(microseconds / 10**6)
    assert Duration.parse(str(value)).nanoseconds == pytest.approx(value.nanoseconds, abs=1000)


def test_maps_are_values():
    one, other = Map({"b": "1", "a": "2"}), Map([("a", "2"), ("b", "1")])
    assert (one, hash(one), list(one)) == (other, hash(other), ["a", "b"])
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.selects({"a": "2", "b": "1", "c": "3"})
    assert not one.selects({"a": "2"})
    assert Map().selects({})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_opaque_values_come_back_as_they_were(value):
    assert Json(value).plain() == value
    assert hash(Json(value)) == hash(Json(value))


def test_opaque_values_tell_true_from_one():
    assert Json({"a": True}) != Json({"a": 1})
    assert Json({"a": 1}) != Json({"a": 1.0})
