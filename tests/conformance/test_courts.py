"""A disagreement that repeats stays one; one that does not is told and counted."""

import pytest

from tests.conformance.courts import MOST_UNREPEATED, settled


def case(name: str, *wrong: str) -> dict:
    return {"case": name, "folder": name, "wrong": list(wrong), "refused": []}


def test_what_repeats_is_a_disagreement() -> None:
    asked = []

    def judge(folders: list) -> list[dict]:
        asked.append(str(folders[0]))
        return [case("bad", "still")]

    assert settled([case("good"), case("bad", "first")], judge) == [case("good"), case("bad", "still")]
    assert asked == ["bad", "bad"]


def test_what_does_not_repeat_is_told() -> None:
    with pytest.warns(UserWarning, match="1 cases disagreed once"):
        assert settled([case("late", "first")], lambda folders: [case("late")]) == [case("late")]


def test_too_much_that_does_not_repeat_fails() -> None:
    many = [case(f"late-{number}", "first") for number in range(MOST_UNREPEATED + 1)]
    with pytest.warns(UserWarning), pytest.raises(AssertionError):
        settled(many, lambda folders: [case(str(folders[0]))])
