"""Real Istio's own verdicts: what it refuses is refused, what it accepts is accepted."""

import json
import os
from pathlib import Path

import pytest

from lateen.base.findings import Severity
from lateen.config.decode import decode
from lateen.config.documents import documents, plain
from lateen.config.registry import ISTIO_KINDS
from lateen.config.validate import validate

CONFORMANCE = Path(os.environ.get("LATEEN_CONFORMANCE", Path(__file__).resolve().parents[3] / "shared" / "conformance"))
BEHAVIOUR, VALIDATION = CONFORMANCE / "behaviour", CONFORMANCE / "validation"
pytestmark = pytest.mark.skipif(not BEHAVIOUR.is_dir() and os.environ.get("CI") != "true", reason=f"no conformance data: {CONFORMANCE}")
SETS = ("probes", "samples", "simulation", "random", "security")
"""`istio_tests` holds objects that never passed a webhook."""


def errors(text, source="in.yaml"):
    decoded = decode(text, source)
    found = [finding for finding in decoded.findings if finding.severity is Severity.ERROR]
    return found + [finding for item in decoded.objects for finding in validate(item) if finding.severity is Severity.ERROR]


@pytest.mark.parametrize("group", SETS)
def test_every_object_that_istio_refuses_is_refused(group):
    rejected = [(path, item) for path in sorted((BEHAVIOUR / group).glob("*/rejected.json")) for item in json.loads(path.read_text())]
    missed = [f"{path.parent.name}: {item['error']}" for path, item in rejected if not errors(json.dumps(item["object"]))]
    assert missed == []


@pytest.mark.parametrize("group", SETS)
def test_every_object_that_istio_accepts_is_accepted(group):
    paths = sorted((BEHAVIOUR / group).glob("*/in.yaml"))
    assert paths
    kinds = {kind.__name__ for kind in ISTIO_KINDS}
    found = [f"{path.parent.name}: {finding}" for path in paths for finding in errors(path.read_text()) if finding.object and finding.object.kind in kinds]
    assert found == []


def cases():
    for path in sorted(VALIDATION.glob("*.yaml")) if VALIDATION.is_dir() else ():
        nodes, broken = documents(path.read_text())
        assert broken is None
        for index, node in enumerate(nodes):
            yield pytest.param(plain(node), path.stem.endswith("-invalid"), id=f"{path.stem}-{index}")


@pytest.mark.parametrize(("document", "is_invalid"), list(cases()))
def test_documents_of_istio_s_own_validation_tests(document, is_invalid):
    document.pop("_err", None)
    assert bool(errors(json.dumps(document))) == is_invalid
