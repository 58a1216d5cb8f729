"""What the form of the YAML may not change: the order of its documents, and how services and namespaces are called. Cases of the behaviour data set, drawn by hash."""

import hashlib
import json
import os
import random
import re
from pathlib import Path

import pytest
import yaml

from lateen.insight.simulate.case import read_case, resources_of
from lateen.insight.simulate.run import answered
from tests.conformance.score import BEHAVIOUR, CONFORMANCE, cases_of

pytestmark = pytest.mark.skipif(not BEHAVIOUR.is_dir() and os.environ.get("CI") != "true", reason=f"no conformance data: {CONFORMANCE}")
SETS = ("probes", "samples", "random")
COUNT = 60
MEANT = re.compile(r"istio|default|kube-system|http|grpc|tcp|tls|mongo|mysql|redis|udp")
"""Names that say more than which: what a port's name begins with is its protocol."""


def drawn(purpose: str) -> list[Path]:
    return sorted(cases_of(SETS), key=lambda folder: hashlib.sha256(f"{purpose} {folder.parent.name}/{folder.name}".encode()).digest())[:COUNT]


def answers(folder: Path) -> dict[str, str]:
    case = read_case(folder)
    return {name: json.dumps(content, sort_keys=True) for name, content in answered(case, resources_of(case)).items()}


def copied(folder: Path, target: Path, change) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        if file.name in ("in.yaml", "proxy.json", "calls.json", "rejected.json"):
            (target / file.name).write_text(change(file.name, file.read_text()))
    return target


def test_the_order_of_documents_decides_nothing(tmp_path: Path) -> None:
    for folder in drawn("order"):

        def shuffled(name: str, text: str, folder: Path = folder) -> str:
            if name != "in.yaml":
                return text
            documents = [one.strip("\n") for one in f"\n{text}".split("\n---") if one.strip()]
            random.Random(folder.name).shuffle(documents)
            return "\n---\n".join(documents) + "\n"

        assert answers(copied(folder, tmp_path / f"{folder.parent.name}-{folder.name}", shuffled)) == answers(folder), folder.name


def test_names_only_name(tmp_path: Path) -> None:
    """Every service and namespace gets another name, in input and calls; the answers are the same but for the names."""
    renamed_cases = 0
    for folder in drawn("names"):
        objects = [one for one in yaml.safe_load_all((folder / "in.yaml").read_text()) if one]
        names = {one["metadata"]["name"] for one in objects if one["kind"] in ("Namespace", "Service")}
        names = {one for one in names if len(one) > 3 and not MEANT.search(one)}
        if not names:
            continue
        pattern = re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(sorted(map(re.escape, names), key=len, reverse=True))})(?![A-Za-z0-9_])")

        def renamed(_: str, text: str, pattern: re.Pattern[str] = pattern) -> str:
            return pattern.sub(r"\1q7", text)

        renamed_cases += 1
        found, before = answers(copied(folder, tmp_path / f"{folder.parent.name}-{folder.name}", renamed)), answers(folder)
        for file in ("calls.json", "routes.json", "clusters.json"):
            assert json.loads(found[file]) == json.loads(renamed(file, before[file])), f"{folder.name}: {file}"
    assert renamed_cases > COUNT // 2
