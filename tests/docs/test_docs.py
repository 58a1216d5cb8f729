"""What the documentation says is what happens: its console blocks run, its links lead somewhere, its YAML is accepted."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.docs.console import ROOT, run, steps
from tests.live.harness import need_namespaces

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LIVE = [path for path in PAGES if any("lateen up" in step.command for step in steps(path))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_is_accepted(page: Path, tmp_path: Path) -> None:
    blocks = [block for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.S | re.M) if "kind:" in block]
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.yaml").write_text(block)
    if blocks:
        done = subprocess.run([sys.executable, "-m", "lateen", "validate", "-f", str(tmp_path)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout


def test_every_code_of_a_finding_is_explained() -> None:
    """And none that nothing finds any more."""
    code = re.compile(r"\b(?:LTN|IST)\d{4}\b")
    used = {found for path in (ROOT / "src").rglob("*.py") for found in re.findall(rf'"({code.pattern})"', path.read_text())}
    rows = [line for line in (ROOT / "docs" / "findings.md").read_text().splitlines() if line.startswith("|")]
    explained = [found for line in rows for found in code.findall(line.split("|")[1])]
    assert len(used) > 50
    assert set(explained) == used
    assert [one for one in used if one.startswith("LTN") and explained.count(one) > 1] == [], "one code says one thing"


@pytest.mark.live
@pytest.mark.parametrize("page", LIVE, ids=lambda path: str(path.relative_to(ROOT)))
def test_console_blocks_run(page: Path) -> None:
    need_namespaces()
    home = Path(tempfile.mkdtemp(prefix="lateen-"))
    environment = {"LATEEN_RUN": str(home / "run"), "LATEEN_STATE": str(home / "state"), "TRY": str(home / "try")}
    (home / "try").mkdir()
    home.chmod(0o755)
    try:
        assert run(page, environment) > 0
    finally:
        for left in (home / "try").glob("*.pid"):  # of a page that failed half way
            subprocess.run(["kill", "-9", left.read_text().strip()], capture_output=True, timeout=10)
        subprocess.run([str(ROOT / "lateen"), "down"], env={**__import__("os").environ, **environment}, timeout=180, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)
