"""docs/support.md says what is so: a field works where changing it changes what proxies get or what runs, and nowhere else."""

from collections.abc import Mapping

import pytest

from lateen.config.support import NO_EFFECT, Support
from tests.cases.evidence import FOLDERS, SHOWN, evidence, same_type, shown_statuses, unproven
from tools.support import TARGET, page


@pytest.fixture(scope="module")
def proven() -> Mapping[tuple[str, str], str]:
    return evidence(FOLDERS, frozenset(SHOWN))


def test_what_is_said_to_work_does(proven: Mapping[tuple[str, str], str]) -> None:
    assert unproven(dict(proven)) == []


def test_what_works_is_not_said_to_be_without_effect(proven: Mapping[tuple[str, str], str]) -> None:
    """A field of the lists that changes bytes after all has landed: take its line out."""
    wrong = []
    for name in SHOWN:
        for path, status in shown_statuses(name).items():
            is_enclosing = any(other.startswith((f"{path}.", f"{path}[", f"{path}{{")) for other in shown_statuses(name))
            if status in (Support.NOT_YET, Support.NO_NEED) and not is_enclosing and (name, same_type(name, path)) in proven and name != "Pod":
                wrong.append(f"{name} {path}")
    assert wrong == []
    assert NO_EFFECT


def test_the_page_is_current() -> None:
    assert TARGET.read_text() == page(), "run `python -m tools.support`"
