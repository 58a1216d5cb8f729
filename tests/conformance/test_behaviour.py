"""The behaviour data set, as a gate: what was reached once is never lost. The table is printed (`-s`)."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("conformance_score", Path(__file__).with_name("score.py"))
score = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = score
_spec.loader.exec_module(score)

pytestmark = pytest.mark.skipif(not score.BEHAVIOUR.is_dir() and os.environ.get("CI") != "true", reason=f"no behaviour data set: {score.BEHAVIOUR}")
QUICK = ("probes", "samples")


@pytest.mark.parametrize("group", [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in score.SETS if one not in QUICK)])
def test_the_score_never_falls(group, tmp_path):
    said = score.answer([group], tmp_path)
    found = score.score([group], tmp_path)
    print("\n".join(("", *found.lines())))
    assert not said
    assert not score.fallen(found, json.loads(score.FLOOR.read_text()))
