"""Two thousand generated configurations through one real Envoy: all taken, none that is taken and dead, and every field that is said to work among them."""

from typing import Any

import pytest

from tests.fuzz.outcome import outcome
from tests.live.harness import need_namespaces

CONFIGURATIONS = 2000
SEED = 1
SECONDS = 900.0
"""Nothing more is generated then, and too few is a failure: idle, it takes two minutes."""
ELSEWHERE = {
    "MeshConfig defaultConfig.proxyMetadata",  # the life of certificates: tests/live/test_rotation.py
}
"""Fields that work and that no proxy's resources show: what else runs beside a pod shows them (tests/cases)."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What came of them. Envoy is not loaded for longer than it takes: about two minutes of one core."""
    need_namespaces()
    return outcome("one_envoy", SEED, CONFIGURATIONS, seconds=SECONDS)


@pytest.mark.live
def test_envoy_takes_them_all(found: dict[str, Any]) -> None:
    assert found["died"] == ""
    assert found["refused"] == []
    assert found["accepted"] >= CONFIGURATIONS


@pytest.mark.live
def test_what_is_built_never_fails(found: dict[str, Any]) -> None:
    """Whatever is written ends in resources or findings."""
    assert found["failed"] == []
    assert found["silent"] == []


@pytest.mark.live
def test_calls_go_where_the_simulator_says(found: dict[str, Any]) -> None:
    assert found["wrong"] == []
    assert found["routes"] > 300 and found["chains"] > 100


@pytest.mark.live
def test_every_field_that_works_is_among_them(found: dict[str, Any]) -> None:
    assert set(found["unreached"]) - ELSEWHERE == set()
