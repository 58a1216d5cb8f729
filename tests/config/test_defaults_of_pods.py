"""A pod without a service account has the namespace's, as the API server would store it."""

import pytest

from lateen.config.decode import decode
from lateen.config.defaults import with_defaults


@pytest.mark.parametrize(
    ("said", "account"),
    [
        ("", "default"),
        ("serviceAccountName: '', ", "default"),
        ("serviceAccountName: a, ", "a"),
        ("serviceAccount: b, ", "b"),
        ("serviceAccountName: a, serviceAccount: b, ", "a"),
    ],
)
def test_service_account(said: str, account: str) -> None:
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: n}}\nspec: {{{said}containers: [{{name: c, image: i}}]}}\n"
    (item,) = decode(text, "t").objects
    assert with_defaults(item).spec.service_account_name == account
