"""What Istio's own validation refuses or warns of, kind by kind: rules over one object alone. Source: Istio, pkg/config/validation.

Called by `sources` on every object it takes in. A kind's rules are one file here and one line in `RULES`.
"""

from collections.abc import Callable
from typing import Any

from lateen.base.findings import Finding
from lateen.config.kinds.objects import Object

RULES: dict[type[Object], Callable[[Any], tuple[Finding, ...]]] = {}
"""Kind → its rules. (Any: each takes its own kind.)"""


def validate(item: Object) -> tuple[Finding, ...]:
    """Findings about one object. Severity ERROR: it is refused."""
    rules = RULES.get(type(item))
    return rules(item) if rules is not None else ()
