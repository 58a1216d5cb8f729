"""`lateen validate` judges objects together, as a mesh would."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lateen.cli.events import EventPrinter, finding_line, finding_lines

ROOT = Path(__file__).resolve().parents[2]
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pay, namespace: booking}
spec:
  hosts: [payment]
  http:
  - route: [{destination: {host: %s, subset: %s}}]
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: other, namespace: istio-system}\n"
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop, namespace: booking}
spec:
  selector: {istio: %s}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: shop-tls}}
"""


def validate(*paths: Path, options: tuple[str, ...] = ()) -> tuple[int, list[dict]]:
    argv = [sys.executable, "-m", "lateen", "validate", "-o", "json", *options, *map(str, paths)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout)["findings"] if done.stdout else []


def test_the_sample_is_clean() -> None:
    assert validate(ROOT / "samples" / "booking") == (0, [])


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        (ROUTE % ("paymentt", "v1"), "spec.http[0].route[0].destination.host", "did you mean `payment`"),
        (ROUTE % ("payment", "v7"), "spec.http[0].route[0].destination.subset", "v7"),
        (SECRET + "---" + GATEWAY % "ingressgateway", "spec.servers[0].tls.credentialName", "istio-system/shop-tls"),
    ],
)
def test_what_is_missing_is_told_with_its_place(tmp_path: Path, text: str, field: str, hint: str) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    code, findings = validate(ROOT / "samples" / "booking", bad)
    assert code == 1
    (found,) = (one for one in findings if one["file"] == str(bad) and one["severity"] == "error")
    assert found["field"] == field
    assert found["line"] > 1
    assert hint in found["message"] + found["hint"]


def test_a_gateway_pod_that_would_be_made_counts(tmp_path: Path) -> None:
    """Without it, each Gateway of a laptop would select nobody."""
    (tmp_path / "gateway.yaml").write_text(GATEWAY % "own")
    assert [one["field"] for one in validate(ROOT / "samples" / "booking", tmp_path)[1]] == ["spec.servers[0].tls.credentialName"]


def test_what_an_excerpt_names_is_likely_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "route.yaml").write_text(ROUTE % ("payment", "v1") + "---" + GATEWAY % "ingressgateway")
    code, findings = validate(tmp_path)
    assert code == 0
    assert {one["field"].rpartition(".")[2] for one in findings} == {"host", "credentialName"}
    assert {one["severity"] for one in findings} == {"warning"}


def finding(number: int = 0, message: str = "no service has it") -> dict[str, Any]:
    return {
        "event": "finding",
        "severity": "WARNING",
        "code": "IST0101",
        "message": message,
        "object": {"kind": "Sidecar", "namespace": "shop", "name": "web"},
        "field": f"spec.egress[0].hosts[{number}]",
        "hint": "",
        "file": "a.yaml",
        "line": number + 1,
        "column": 1,
    }


def test_many_alike_are_counted() -> None:
    lines = list(finding_lines([*map(finding, range(5000)), finding() | {"code": "IST0102"}]))
    assert len(lines) == 12
    assert "4990 more of warning [IST0101] Sidecar shop/web" in lines[-2] and "IST0102" in lines[-1]


def test_a_name_as_long_as_a_file_is_shortened() -> None:
    line = finding_line(finding(message="x" * 100_000))
    assert line.startswith("a.yaml:1:1: warning [IST0101] Sidecar shop/web: ") and len(line) < 1000


def test_up_prints_the_first_of_many_alike_and_those_that_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    printer = EventPrinter()
    for number in range(500):
        printer.show(finding(number))
    assert len(capsys.readouterr().err.splitlines()) == 11
    for number in range(500):
        printer.show(finding(number) | {"event": "resolved"})
    printer.show(finding(7))
    assert "hosts[7]" in capsys.readouterr().err
