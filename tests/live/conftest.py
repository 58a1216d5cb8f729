"""Fixtures of the live tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import BEHAVIOUR, BOOKING, Mesh, need_namespaces


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """An empty mesh; the test starts it."""
    need_namespaces()
    made = Mesh()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def booking() -> Iterator[Mesh]:
    """The booking sample, up; shared by the tests of one file, which leave it as they found it."""
    need_namespaces()
    made = Mesh("b")
    try:
        yield made.start(BOOKING)
    finally:
        made.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[Mesh]:
    """The shop of the behaviour tests and all its rules, up; tests only ask."""
    need_namespaces()
    made = Mesh("shop")
    try:
        yield made.start(BEHAVIOUR, options=("--image-map", str(BEHAVIOUR / "image-map.yaml")))
    finally:
        made.close()
