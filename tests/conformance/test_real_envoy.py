"""The simulator is honest: cases drawn by hash over all sets, every call through real listeners of the real Envoy, and what its access log says."""

import hashlib
import os
from pathlib import Path

import pytest

from tests.conformance.courts import Found, judged
from tests.conformance.score import BEHAVIOUR, SETS
from tests.live.harness import need_namespaces

CASES = int(os.environ.get("LATEEN_CASES", "450"))
"""Of 761, so that the gate stays within its minutes. With `LATEEN_CASES=761` all are judged."""
BATCHES = 12


def drawn() -> list[Path]:
    """The first CASES of all cases in the order of their names' hashes."""
    cases = [path.parent for name in SETS for path in (BEHAVIOUR / name).glob("*/calls.json")]
    return sorted(cases, key=lambda case: hashlib.sha256(f"{case.parent.name}/{case.name}".encode()).hexdigest())[:CASES]


@pytest.fixture(scope="module")
def found() -> list[Found]:
    """What each case came to."""
    need_namespaces()
    cases = drawn()
    if not cases:
        if os.environ.get("CI"):
            pytest.fail(f"no conformance data: {BEHAVIOUR}")
        pytest.skip(f"no conformance data: {BEHAVIOUR}")
    return judged(cases, BATCHES)


@pytest.mark.live
def test_envoy_does_what_the_simulator_says(found: list[Found]) -> None:
    assert [(one["case"], one["wrong"]) for one in found if one["wrong"]] == []
    assert len(found) == CASES and sum(one["calls"] for one in found) > 10 * CASES


@pytest.mark.live
def test_envoy_takes_every_resource(found: list[Found]) -> None:
    assert [(one["case"], one["refused"]) for one in found if one["refused"]] == []
