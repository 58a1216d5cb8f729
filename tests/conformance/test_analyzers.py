"""Istio's analyzers' messages about traffic, beside our findings: what was reached is never lost. The table is printed (`-s`)."""

import json
import os

import pytest

from tests.conformance import analyzers
from tests.conformance.score import CONFORMANCE, FLOOR

pytestmark = pytest.mark.skipif(not analyzers.DATA.is_dir() and os.environ.get("CI") != "true", reason=f"no conformance data: {CONFORMANCE}")


def test_the_score_never_falls():
    found = list(analyzers.compared())
    print("\n".join(("", *analyzers.lines(found))))
    floor = json.loads(FLOOR.read_text())
    for key, reached in analyzers.fine(found).items():
        assert reached >= floor[key], key


def test_istio_says_nothing_and_neither_do_we():
    assert [one for one in analyzers.compared() if not one.both and not one.missing and one.more] == []
