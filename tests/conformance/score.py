"""How near Lateen comes to what Istio does: answers every case of the behaviour data set and compares by the data set's own rule.

`python tests/conformance/score.py [SET…] [--keep DIR] [-v N] [--jobs N] [--raise-floor]` prints the table. The floor (`floor.json`, beside this file) is what a change may never fall below;
`test_behaviour.py` holds it. Six calls of `simulation` cannot be right: the cases `TestTLSRouteTermination_*` go where routes lead that their `in.yaml` does not hold (Istio's test makes
them of Gateway API objects that the data set left out), so there every listener ends in nothing. The data set lies in `LATEEN_CONFORMANCE`, by default `shared/conformance` beside the repository.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
CONFORMANCE = Path(os.environ.get("LATEEN_CONFORMANCE", REPOSITORY.parent / "shared" / "conformance"))
BEHAVIOUR = CONFORMANCE / "behaviour"
DIFFERENCES = REPOSITORY / "docs" / "differences.json"
FLOOR = Path(__file__).with_name("floor.json")
SETS = ("probes", "samples", "simulation", "istio_tests", "random")
TIMEOUT_S = 600


def comparison() -> ModuleType:
    """The data set's `compare.py`."""
    spec = importlib.util.spec_from_file_location("behaviour_compare", BEHAVIOUR / "compare.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Score:
    """Counts of units (calls, clusters, chains, objects) by (set, level) and state, and the differences nothing explains."""

    table: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unexplained: list[Any] = field(default_factory=list)
    used: Counter[str] = field(default_factory=Counter)
    unused: list[str] = field(default_factory=list)

    def fine(self) -> dict[str, int]:
        """`set level` → units that are equal or explained."""
        return {f"{group} {level}": counts["equal"] + counts["explained"] for (group, level), counts in sorted(self.table.items())}

    def lines(self) -> Iterator[str]:
        """The table."""
        yield f"{'set':<12} {'level':<9} {'equal':>7} {'explained':>10} {'unexplained':>12} {'%':>7}"
        for (group, level), counts in self.table.items():
            total = counts.total()
            percent = 10000 * (total - counts["unexplained"]) // total / 100 if total else 100.0
            yield f"{group:<12} {level:<9} {counts['equal']:>7} {counts['explained']:>10} {counts['unexplained']:>12} {percent:>7.2f}"


def cases_of(sets: Iterable[str]) -> list[Path]:
    """The case folders of the sets, in order."""
    return [path.parent for group in sets for path in sorted((BEHAVIOUR / group).glob("*/calls.json"))]


def answer(sets: Iterable[str], out: Path, jobs: int = 1) -> list[str]:
    """Runs `lateen simulate` on whole sets, each a process; returns what it said on stderr."""

    def run(group: str) -> str:
        command = [sys.executable, "-m", "lateen", "simulate", str(BEHAVIOUR / group), "--out", str(out / group)]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stderr

    with ThreadPoolExecutor(jobs) as pool:
        return [line for said in pool.map(run, sets) for line in said.splitlines()]


def score(sets: Iterable[str], out: Path) -> Score:
    """Compares the answers below `out` with the data set."""
    compare, found = comparison(), Score()
    rules = compare.read_rules(DIFFERENCES) if DIFFERENCES.exists() else []
    for case in cases_of(sets):
        for level, differences in compare.compare_units(case, out / case.parent.name / case.name):
            explained = [next((rule.id for rule in rules if rule.explains(one)), None) for one in differences]
            found.used.update(rule for rule in explained if rule)
            found.unexplained += [one for one, rule in zip(differences, explained, strict=True) if rule is None]
            state = "equal" if not explained else "explained" if all(explained) else "unexplained"
            found.table[case.parent.name, level][state] += 1
    found.unused = [rule.id for rule in rules if not found.used[rule.id]]
    return found


def fallen(found: Score, floor: dict[str, int]) -> list[str]:
    """What fell below the floor, a line each."""
    now = found.fine()
    return [f"{key}: {now[key]} of at least {least}" for key, least in floor.items() if key in now and now[key] < least]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the answers there and keep them")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("-v", type=int, default=0, dest="shown", metavar="N", help="show up to N differences per level, grouped")
    parser.add_argument("--raise-floor", action="store_true", help="make what was reached the new floor, where it is higher")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = options.keep or Path(scratch)
        for line in answer(options.sets, out, options.jobs):
            print(line, file=sys.stderr)
        found = score(options.sets, out)
    print("\n".join(found.lines()))
    for level in comparison().LEVELS if options.shown else ():
        if of_level := [one for one in found.unexplained if one.level == level]:
            comparison()._print_groups(level, of_level, options.shown)
    floor = json.loads(FLOOR.read_text()) if FLOOR.exists() else {}
    if options.raise_floor:
        raised = {**floor, **{key: max(value, floor.get(key, 0)) for key, value in found.fine().items()}}
        FLOOR.write_text(json.dumps(dict(sorted(raised.items())), indent=1) + "\n")
    for line in fallen(found, floor):
        print(f"fell: {line}")
    return 1 if fallen(found, floor) else 0


if __name__ == "__main__":
    sys.exit(main())
