"""Services that an API server would refuse for ports that clash are refused, each at its place."""

import pytest

from lateen.config.decode import decode
from lateen.config.validate import validate

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: b}}\nspec: {{ports: [{ports}]}}\n"


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ("{port: 80}", []),
        ("{name: dns, port: 53}, {name: dns-udp, port: 53, protocol: UDP}", []),
        ("{name: http, port: 80}, {name: grpc, port: 80}", [("spec.ports[1].port", "twice in one Service: 80 (`http` has it)")]),
        ("{name: http, port: 80}, {name: http, port: 81}", [("spec.ports[1].name", "twice in one Service: `http`")]),
        ("{name: http, port: 80}, {port: 81}", [("spec.ports[1].name", "a Service with several ports must name each")]),
    ],
)
def test_ports(ports: str, expected: list[tuple[str, str]]) -> None:
    (item,) = decode(SERVICE.format(ports=ports), "t").objects
    assert [(finding.field, finding.message) for finding in validate(item)] == expected
