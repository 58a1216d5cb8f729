"""The simulator is honest: cases drawn by hash over all sets, every call through real listeners of the real Envoy, and what its access log says."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.score import BEHAVIOUR, SETS
from tests.live.harness import need_namespaces

CASES = 200
BATCH = 25
TIMEOUT_S = 400


def drawn() -> list[Path]:
    """The first CASES of all cases in the order of their names' hashes."""
    cases = [path.parent for name in SETS for path in (BEHAVIOUR / name).glob("*/calls.json")]
    return sorted(cases, key=lambda case: hashlib.sha256(f"{case.parent.name}/{case.name}".encode()).hexdigest())[:CASES]


@pytest.mark.live
@pytest.mark.parametrize("batch", range(CASES // BATCH))
def test_envoy_does_what_the_simulator_says(batch: int) -> None:
    need_namespaces()
    cases = drawn()[batch * BATCH : (batch + 1) * BATCH]
    if not cases:
        if os.environ.get("CI"):
            pytest.fail("no conformance data")
        pytest.skip("no conformance data (LATEEN_CONFORMANCE)")
    program = [sys.executable, str(Path(__file__).parent / "real_envoy"), *map(str, cases)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT_S)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one for one in found if one["wrong"] or one["refused"]] == []
    assert len(found) == len(cases), done.stderr
    assert sum(one["calls"] for one in found) > 0
