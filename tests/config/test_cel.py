"""Which texts are expressions of the Common Expression Language."""

import pytest

from lateen.config.decode import decode
from lateen.config.validate import validate
from lateen.config.validate.cel import cel_problem

TELEMETRY = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs, namespace: shop}
spec: {accessLogging: [{providers: [{name: envoy}], filter: {expression: "%s"}}]}
"""


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "response.code >= 400",
        "response.code >= 400 && (request.method == 'GET' || !has(request.headers.accept))",
        "connection.mtls && request.url_path.contains('v1beta3')",
        'size(request.headers) > 0 ? a.b[0].c(1, "x") : -1.5e3 % 0x1Fu',
        "x in [1, 2u, .5, ] // a comment",
        "{'a': 1, 'b': [], } == {}",
        ".google.rpc.Status{code: 5, message: r'\\d'}.code",
        "--x != !!y",
        "'''two\nlines''' + b'x'",
        "[1, 2].all(i, i > 0)",
        "a.b.c.d in e",
        "timestamp('2024-01-01T00:00:00Z') < request.time",
        "'it\\'s'",
    ],
)
def test_expressions(text):
    assert cel_problem(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "// nothing", "400x", "response.code >=", "response.code >= 400x", "a b", "(a", "a)", "f(a,)", "a ? b", "a.", "a.1", "a[", "'open"),
        *("a && && b", "{'a'}", "a = b", "a & b", "in", "a.in", "f(", "[1 2]", "#", "a == == b", "{'a' 1}", "1{a: 1}", "f(){a: 1}"),
        *("has(a['x'])", "[1].all(1, true)", "package", "9223372036854775808", r"'\q'"),
        "(" * 10_000 + "a" + ")" * 10_000,
        "(" * 100_000,
    ],
)
def test_no_expressions(text):
    assert cel_problem(text)


@pytest.mark.parametrize(("expression", "fields"), [("response.code > 1", []), ("response.code >", ["spec.accessLogging[0].filter.expression"])])
def test_a_filter_of_access_logs_is_one(expression, fields):
    assert [one.field for one in validate(decode(TELEMETRY % expression, "a.yaml").objects[0])] == fields
