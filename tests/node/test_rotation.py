"""Half life with jitter, retries that hurry, clocks that jump."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from lateen.node.rotation import LONGEST_SLEEP_S, Rotation, Validity

DAY = 86_400.0
HELD = Validity(880.0, 1000.0 + DAY, 1000.0)


@given(st.floats(0, 0.999))
def test_half_life_with_jitter(chance):
    rotation = Rotation()
    assert rotation.is_due(0)
    rotation.on_issued(HELD, chance)
    assert 1000 + 0.44 * DAY < rotation.due_s < 1000 + 0.56 * DAY
    assert not rotation.is_due(1000 + 0.44 * DAY) and rotation.is_due(1000 + 0.56 * DAY)


def test_two_hundred_pods_do_not_ask_together():
    dues = sorted(Rotation(HELD, step / 200).due_s for step in range(200))
    assert max(b - a for a, b in itertools.pairwise(dues)) < 100 and dues[-1] - dues[0] > 0.09 * DAY


def test_a_machine_that_slept_renews_when_it_wakes():
    rotation = Rotation(HELD, 0.5)
    assert rotation.sleep_s(1000) == LONGEST_SLEEP_S
    assert rotation.is_due(1000 + 10 * DAY)
    assert rotation.is_due(10)


def test_failures_back_off_but_not_beyond_a_tenth_of_what_is_left():
    rotation = Rotation(Validity(0.0, 60.0, 0.0), 0.5)
    now = 30.0
    for _ in range(20):
        assert rotation.is_due(now)
        rotation.on_failed(now, 1.0)
        assert rotation.due_s - now <= max(0.2, (60 - now) * 0.1) + 1e-9
        now = rotation.due_s
        if now > 59:
            break


def test_without_a_certificate_attempts_go_on_for_ever():
    rotation, now = Rotation(), 0.0
    for _ in range(30):
        rotation.on_failed(now, 1.0)
        assert 0 < rotation.due_s - now <= 5.001
        now = rotation.due_s


def test_an_expired_certificate_is_not_asked_for_in_a_busy_loop():
    rotation = Rotation(Validity(0.0, 10.0, 0.0), 0.5)
    assert rotation.is_due(20)
    rotation.on_failed(20, 0.5)
    assert not rotation.is_due(20)


def test_a_life_shorter_than_the_backdating_is_halved_too():
    rotation = Rotation()
    rotation.on_issued(Validity(880.0, 1002.0, 1000.0), 0.5)
    assert rotation.due_s == 1001.0
