"""What a workload's ports accept, by all the policies that concern it."""

import pytest

from lateen.mesh.model import MtlsMode
from lateen.mesh.peer_authentication import findings, mtls_mode, port_modes

POLICY = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}
spec: {spec}
---
"""


def policy(name, namespace, spec, created="2024-01-01T00:00:00Z"):
    return POLICY.format(name=name, namespace=namespace, spec=spec, created=created)


WIDE = policy("wide", "istio-system", "{mtls: {mode: STRICT}}")
SHOP = policy("shop", "shop", "{mtls: {mode: DISABLE}}")
CART = policy("cart", "shop", "{selector: {matchLabels: {app: cart}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {9000: {mode: STRICT}, 9001: {mode: UNSET}}}")
CART_LABELS = (("app", "cart"),)


@pytest.mark.parametrize(
    ("text", "namespace", "labels", "port", "expected"),
    [
        ("", "shop", (), None, MtlsMode.PERMISSIVE),
        (WIDE, "shop", (), None, MtlsMode.STRICT),
        (WIDE + SHOP, "shop", (), 8080, MtlsMode.DISABLE),
        (WIDE + SHOP, "other", (), 8080, MtlsMode.STRICT),
        (WIDE + SHOP + CART, "shop", CART_LABELS, 8080, MtlsMode.PERMISSIVE),
        (WIDE + SHOP + CART, "shop", CART_LABELS, 9000, MtlsMode.STRICT),
        (WIDE + SHOP + CART, "shop", CART_LABELS, 9001, MtlsMode.PERMISSIVE),
        (WIDE + SHOP + CART, "shop", (("app", "till"),), 9000, MtlsMode.DISABLE),
        (policy("unset", "shop", "{mtls: {mode: UNSET}}") + WIDE, "shop", (), None, MtlsMode.STRICT),
        (
            policy("selecting", "istio-system", "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}"),
            "istio-system",
            CART_LABELS,
            None,
            MtlsMode.PERMISSIVE,
        ),
        (SHOP + policy("a-younger", "shop", "{mtls: {mode: STRICT}}", "2024-02-01T00:00:00Z"), "shop", (), None, MtlsMode.DISABLE),
    ],
)
def test_mode_of_a_port(mesh, text, namespace, labels, port, expected):
    assert mtls_mode(mesh(text), namespace, labels, port) is expected


def test_ports_that_a_policy_names(mesh):
    assert port_modes(mesh(CART), "shop", CART_LABELS) == ((9000, MtlsMode.STRICT), (9001, MtlsMode.PERMISSIVE))
    assert port_modes(mesh(CART), "shop", ()) == ()


def test_policies_without_effect_are_told(mesh):
    text = SHOP + policy("younger", "shop", "{mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}}", "2024-02-01T00:00:00Z")
    found = findings(mesh(text + policy("root", "istio-system", "{selector: {matchLabels: {a: b}}}")))
    assert [(one.code, one.object.name) for one in found] == [("LTN0203", "root"), ("LTN0201", "younger")]
