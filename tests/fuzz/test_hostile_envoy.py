"""Configurations that are bad where validation does not refuse them: what is sent Envoy takes, what is withheld is told with object and place, and the rest goes on."""

import re
from typing import Any

import pytest

from tests.fuzz.outcome import outcome
from tests.live.harness import need_namespaces

SEED, SHARE, SECONDS = 1, 4, 400.0
"""Of the objects four in a thousand, of the resources forty: a minute of one core. The seed decides which; another one is as good."""
KINDS = (
    "out of range",
    "must be at most",
    "must be at least",
    "must be above",
    "its length must be",
    "its size must be",
    "characters that may not be in it",
    "no such value",
    "of at least",
    "no address",
    "another filter chain matches the same",
    "the domain … twice",
    "may not be removed",
    "may not be modified",
    "no format",
    "a part of a label as a wildcard",
    "RE. refuses",
    "bytes, at most",
    "the sum of the weights",
    "the sum of their weights",
    "no prime",
    "a zero byte",
    "no curve that Envoy knows",
    "no suite that Envoy knows",
)
"""What the check finds wrong, in its words: each kind of constraint that a value of ours can break."""
BEYOND_US = 0.01
"""Of resources made bad in every field, how many Envoy may refuse for what no user's value can reach and no rule of ours says."""
STRICTER = re.compile(r"SocketAddress.address='fe80::1%lo'|CidrRange.prefix_len=|load_balancing_weight='4294967295'")
"""Of what Envoy takes and we don't: a zone in an address, a network longer than an address, weights whose sum Envoy documents as too much."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    need_namespaces()
    return outcome("hostile_envoy", SEED, SHARE, seconds=SECONDS)


@pytest.mark.live
def test_envoy_takes_all_that_is_sent(found: dict[str, Any]) -> None:
    assert found["died"] == ""
    assert [one for one in found["refused"] if "objects" in one] == []
    assert len(found["refused"]) <= found["sent_spoilt"] * BEYOND_US
    assert found["failed"] == []
    assert found["accepted"] > 50 and found["sent_spoilt"] > 100


@pytest.mark.live
def test_what_is_withheld_is_told_with_object_and_place(found: dict[str, Any]) -> None:
    assert found["untold"] == []
    assert found["silent"] == []
    missing = [kind for kind in KINDS if not any(re.search(kind, problem) for problem in found["problems"])]
    assert missing == []


@pytest.mark.live
def test_envoy_refuses_what_is_withheld(found: dict[str, Any]) -> None:
    """But for what it looks at only when it is used."""
    assert len([one for one in found["taken"] if not STRICTER.search(one["field"])]) <= found["sent_spoilt"] * BEYOND_US


@pytest.mark.live
def test_the_rest_goes_on(found: dict[str, Any]) -> None:
    """While something is withheld, calls go where they went."""
    assert found["beside"] > 0
    assert found["wrong"] == []
