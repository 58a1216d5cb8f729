"""Every golden case: the real Envoy of each of its proxies takes every resource and answers one request for each route, as the simulator says."""

import sys
from pathlib import Path

import pytest

from tests.cases.evidence import FOLDERS
from tests.conformance.courts import Found, judged
from tests.live.harness import need_namespaces

sys.path.insert(0, str(Path(__file__).parent / "real_envoy"))
CASES = (*FOLDERS, FOLDERS[0].parents[1] / "gateway-api")
MOST_UNREACHED = 0.05
"""Of all routes and chains, those that nothing reaches: a longer match before them takes all, or a match contradicts its host."""


@pytest.fixture(scope="module")
def found() -> list[Found]:
    need_namespaces()
    return judged(CASES, batches=len(CASES))


@pytest.mark.live
def test_envoy_takes_every_resource(found: list[Found]) -> None:
    assert [(one["case"], one["refused"]) for one in found if one["refused"]] == []


@pytest.mark.live
def test_one_request_for_each_route_goes_where_the_simulator_says(found: list[Found]) -> None:
    assert [(one["case"], one["wrong"]) for one in found if one["wrong"]] == []
    assert {Path(one["folder"]) for one in found if one["calls"]} == set(CASES)
    assert sum(one.get("left_out", 0) for one in found) == 0


@pytest.mark.live
def test_nearly_every_route_is_asked_for(found: list[Found]) -> None:
    calls, unreached = sum(one["calls"] for one in found), [f"{one['case']} {where}" for one in found for where in one["unreached"]]
    assert calls > 1000 and len(unreached) < MOST_UNREACHED * calls, unreached


@pytest.mark.parametrize("pattern", ["/a.*", "(v1|v2)/[0-9]+", "GET|PUT", "[^/]+", r"\d{3}", "a?b*c+", "/(?:x|y)-[a-f]"])
def test_a_text_for_a_pattern(pattern: str) -> None:
    import re

    from goldens import text_of

    assert re.fullmatch(pattern, text_of(pattern))
