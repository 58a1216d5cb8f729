"""A volume of a cluster's storage is an empty folder here, and says so loudly."""

import pytest

from lateen.base.findings import Severity
from lateen.config.decode import decode
from lateen.config.support import not_in_force

POD = "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: b}}\nspec: {{containers: [{{name: c, image: d}}], volumes: [{{name: v, {source}}}]}}\n"
DEPLOYMENT = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a, namespace: b}}\nspec: {{selector: {{matchLabels: {{a: b}}}}, template: {{metadata: {{labels: {{a: b}}}}, "
    "spec: {{containers: [{{name: c, image: d}}], volumes: [{{name: v, {source}}}]}}}}}}\n"
)


@pytest.mark.parametrize("text", [POD, DEPLOYMENT])
@pytest.mark.parametrize("source", ["nfs: {server: s, path: /p}", "csi: {driver: d}", "ephemeral: {volumeClaimTemplate: {}}", "iscsi: {iqn: x}"])
def test_a_volume_of_a_cluster_is_told(text: str, source: str) -> None:
    (item,) = decode(text.format(source=source), "t").objects
    (finding,) = not_in_force(item)
    assert finding.severity is Severity.WARNING and "empty folder" in finding.message
    assert finding.field is not None and finding.field.endswith(f"volumes[0].{source.partition(':')[0]}")


@pytest.mark.parametrize("source", ["emptyDir: {}", "configMap: {name: m}", "hostPath: {path: /tmp}"])
def test_others_are_not(source: str) -> None:
    (item,) = decode(POD.format(source=source), "t").objects
    assert not_in_force(item) == ()
