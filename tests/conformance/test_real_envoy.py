"""The simulator is honest: cases drawn by hash over all sets, every call through real listeners of the real Envoy, and what its access log says."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.score import BEHAVIOUR, SETS
from tests.live.harness import need_namespaces

CASES = 200
BATCHES, COURTS = 8, 4
TIMEOUT_S = 400


def drawn() -> list[Path]:
    """The first CASES of all cases in the order of their names' hashes."""
    cases = [path.parent for name in SETS for path in (BEHAVIOUR / name).glob("*/calls.json")]
    return sorted(cases, key=lambda case: hashlib.sha256(f"{case.parent.name}/{case.name}".encode()).hexdigest())[:CASES]


@pytest.fixture(scope="module")
def judged() -> list[dict[str, Any]]:
    """What each case came to. A few courts sit at once: most of their time is waiting for Envoy."""
    need_namespaces()
    cases = drawn()
    if not cases:
        if os.environ.get("CI"):
            pytest.fail(f"no conformance data: {BEHAVIOUR}")
        pytest.skip(f"no conformance data: {BEHAVIOUR}")
    with ThreadPoolExecutor(COURTS) as courts:
        return [one for found in courts.map(_judge, (cases[start::BATCHES] for start in range(BATCHES))) for one in found]


def _judge(cases: list[Path]) -> list[dict[str, Any]]:
    program = [sys.executable, str(Path(__file__).parent / "real_envoy"), *map(str, cases)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT_S)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(cases), done.stderr[-2000:]
    return found


@pytest.mark.live
def test_envoy_does_what_the_simulator_says(judged: list[dict[str, Any]]) -> None:
    assert [(one["case"], one["wrong"]) for one in judged if one["wrong"]] == []
    assert len(judged) == CASES and sum(one["calls"] for one in judged) > 10 * CASES


@pytest.mark.live
def test_envoy_takes_every_resource(judged: list[dict[str, Any]]) -> None:
    assert [(one["case"], one["refused"]) for one in judged if one["refused"]] == []
