"""What a Service may not say: refused with its place, as the API server refuses it."""

import pytest

from lateen.base.findings import Severity
from lateen.config.decode import decode
from lateen.config.validate import validate

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec: "


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("{clusterIP: 10.96.1.1x, ports: [{port: 80}]}", "spec.clusterIP"),
        ("{clusterIP: 10.96.1.1, clusterIPs: [10.96.1.1, fd00:z], ports: [{port: 80}]}", "spec.clusterIPs[1]"),
        ("{ports: [{name: a, port: 80}, {name: b, port: 70000}]}", "spec.ports[1].port"),
        ("{ports: [{port: 0}]}", "spec.ports[0].port"),
        ("{ports: [{port: 80, targetPort: 70000}]}", "spec.ports[0].targetPort"),
    ],
)
def test_refused(spec, field):
    (item,) = decode(SERVICE + spec, "f").objects
    (finding,) = validate(item)
    assert (finding.severity, finding.field) == (Severity.ERROR, field)


@pytest.mark.parametrize(
    "spec", ["{clusterIP: None, ports: [{port: 80, targetPort: web}]}", "{clusterIPs: [10.0.0.1, 'fd00::1'], ports: [{port: 65535}]}", "{}"]
)
def test_taken(spec):
    (item,) = decode(SERVICE + spec, "f").objects
    assert validate(item) == ()
