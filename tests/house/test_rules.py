"""House rules that no linter has, each with its reason."""

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for path in (ROOT / "src").rglob("*.py") if "pb" not in path.relative_to(ROOT / "src" / "lateen").parts)
LONGEST_FUNCTION_LINES = 80
LONGEST_FILE_LINES = 600


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_functions_fit_on_a_page() -> None:
    """A reader holds one function in mind at a time."""
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION_LINES:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines")
    assert not long


def test_files_hold_one_idea() -> None:
    """A file past this length holds several ideas that could be told apart."""
    assert not [f"{path.relative_to(ROOT)}: {lines}" for path in SOURCES if (lines := len(path.read_text().splitlines())) > LONGEST_FILE_LINES]


def test_public_names_are_explained() -> None:
    """Types cannot say units, empty cases, errors and where a behaviour comes from."""
    silent = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree):
            silent.append(f"{path.relative_to(ROOT)}: the module")
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not silent


def test_modules_have_names_of_the_trade() -> None:
    """`utils` is where ideas go that nobody has named."""
    banned = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base_class"}
    assert not [path for path in SOURCES if path.stem in banned]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_no_circles_between_files() -> None:
    """Of files in a circle none can be read, tested or moved without the others; an import inside a function only hides it."""
    modules = {module_of(path): path for path in SOURCES}
    graph = {
        module: {name for name in imported(path) if name in modules and not path.name.startswith("__init__")} - {module} for module, path in modules.items()
    }
    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_repository_names_no_machine() -> None:
    """Paths and hosts of one machine are noise on every other."""
    pattern = re.compile(r"(?:^|[\s'\"=(])/(?:root|home/\w+)/|--(?:extra-)?index-url|^deb http|\bregistry\s*=", re.M)
    own = Path(__file__).resolve()
    found = []
    for path in tracked():
        if path == own or path.suffix in {".png", ".ico", ".woff2"}:
            continue
        text = path.read_text(errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert not found


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-uv.lock"])
def test_locks_are_hashed_and_name_no_host(lock: str) -> None:
    """A lock must work behind any mirror and install the same bytes everywhere."""
    text = (ROOT / lock).read_text()
    assert "http://" not in text and "https://" not in text
    names = re.findall(r"^[A-Za-z0-9_.\-]+==", text, re.M)
    assert names and text.count("--hash=sha256:") >= len(names)


def test_direct_requirements_are_in_the_lock() -> None:
    """The lock is compiled from requirements.in; a forgotten compile would install something else."""
    lock = (ROOT / "requirements.lock").read_text().lower()
    for line in (ROOT / "requirements.in").read_text().splitlines():
        wanted = line.split("#")[0].strip().lower()
        if wanted:
            assert wanted.split("==")[0].replace("_", "-") in lock, wanted
            assert "==" not in wanted or wanted in lock, wanted
