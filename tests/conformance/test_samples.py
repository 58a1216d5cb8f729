"""The sample applications and task configurations that Istio's users copy: read, found clean, and made into what proxies get."""

import os
from pathlib import Path

import pytest
import yaml

from lateen.base.findings import Severity
from lateen.base.names import ROOT_NAMESPACE
from lateen.control.review import review, running
from lateen.insight.simulate.case import emitted_for
from lateen.insight.simulate.emitted import Emitted, Serialized
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.sources.check import check
from tests.conformance.score import CONFORMANCE

SAMPLES = CONFORMANCE / "samples"
FILES = sorted(SAMPLES.rglob("*.yaml")) if SAMPLES.is_dir() else []
pytestmark = pytest.mark.skipif(not FILES and os.environ.get("CI") != "true", reason=f"no conformance data: {CONFORMANCE}")


def is_of_kubernetes(file: Path) -> bool:
    """Whether all it holds are objects: beside them lie values and templates of charts, and settings of other tools."""
    try:
        return all({"apiVersion", "kind", "metadata"} <= set(one) for one in yaml.load_all(file.read_text(), yaml.CSafeLoader) if one)
    except yaml.YAMLError:
        return False


def test_there_are_samples():
    assert sum(map(is_of_kubernetes, FILES)) > 100


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SAMPLES)))
def test_a_sample_is_clean_and_translates(file):
    checked = check([file])
    errors = [str(one) for one in (*checked.findings, *review(checked)) if one.severity is Severity.ERROR]
    assert not errors or not is_of_kubernetes(file)
    db, _ = running(checked.loaded)
    spaces = {item.namespace for item in checked.loaded if item.namespace} | {"default"}
    viewers = [Proxy(ProxyType.SIDECAR, f"x.{space}", space, "default", addresses=("10.1.1.1",), dns_domain=f"{space}.svc.cluster.local") for space in spaces]
    gateway = Proxy(
        ProxyType.ROUTER, "gate", ROOT_NAMESPACE, "gate", labels=(("app", "istio-ingressgateway"), ("istio", "ingressgateway")), addresses=("10.1.1.2",)
    )
    for proxy in (*viewers, gateway):
        emitted = Emitted.decoded(one for one in emitted_for(db, view_of(db, proxy)) if isinstance(one, Serialized))
        assert emitted.clusters and (emitted.listeners or proxy is gateway)
