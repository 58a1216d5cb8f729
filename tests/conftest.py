"""What all tests share: in CI, random tests draw the same examples each time, so that a change is judged by what it changed; elsewhere they go on searching."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Writes the tests that failed, a line each, to the file of LATEEN_FAILED: `./run test --all` asks them once more, alone."""
    if report.failed and (place := os.environ.get("LATEEN_FAILED")):
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\n")
