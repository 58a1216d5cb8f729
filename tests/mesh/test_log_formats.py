"""Formats of access logs: those that Envoy takes, and why it would refuse others."""

import pytest

from lateen.mesh.log_formats import problem
from lateen.plan.access_logs import JSON, TEXT


@pytest.mark.parametrize(
    "text", ["", "plain", "100%%", "%PROTOCOL%", "%REQ(:AUTHORITY)%", "%REQ(X-A?:PATH):10%", "%START_TIME(%Y-%m-%d)%", TEXT, *dict(JSON).values()]
)
def test_formats_that_envoy_takes(text):
    assert problem(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("50% off", "no operator"),
        ("%PROTOCOL", "no operator"),
        ("%protocol%", "no operator"),
        ("%NONSENSE%", "unknown operator"),
        ("%REQ%", "takes an argument"),
        ("%REQ()%", "no name of a header"),
        ("%REQ(a b)%", "no name of a header"),
        ("%REQ(a?b?c)%", "no name of a header"),
        ("%PROTOCOL(x)%", "takes no argument"),
        ("%PROTOCOL:3%", "cannot be cut"),
        ("%METADATA(x)%", "no place and name"),
    ],
)
def test_formats_that_envoy_refuses(text, reason):
    assert reason in problem(text)
