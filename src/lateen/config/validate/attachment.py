"""Where a policy applies: a selector or target references, not both. Source: Istio, validateOneOfSelectorType, validatePolicyTargetReferences."""

from collections.abc import Sequence

from lateen.config.kinds.istio.selectors import LabelSelector, TargetRef
from lateen.config.validate.names import check_selector
from lateen.config.validate.report import Report

TARGETS = frozenset(
    {
        ("gateway.networking.k8s.io", "Gateway"),
        ("gateway.networking.k8s.io", "GatewayClass"),
        ("networking.istio.io", "ServiceEntry"),
        ("", "Service"),
        ("core", "Service"),
    }
)
"""(API group, kind) a policy may attach to."""


def check_attachment(report: Report, selector: LabelSelector | None, refs: Sequence[TargetRef], ref: TargetRef | None = None) -> None:
    """One of the three; references name kinds that policies attach to, in the policy's own namespace."""
    said = [name for name, is_set in (("selector", selector is not None), ("targetRef", ref is not None), ("targetRefs", bool(refs))) if is_set]
    if len(said) > 1:
        report.error(f"spec.{said[1]}", f"either {' or '.join(said)}")
    if selector is not None:
        check_selector(report, "spec.selector.matchLabels", selector.match_labels)
    if ref is not None:
        _target(report, "spec.targetRef", ref)
    for index, item in enumerate(refs):
        _target(report, f"spec.targetRefs[{index}]", item)


def _target(report: Report, field: str, ref: TargetRef) -> None:
    if not ref.name:
        report.error(f"{field}.name", "a name is missing")
    if ref.namespace:
        report.error(f"{field}.namespace", "a policy attaches to objects of its own namespace", "leave namespace out")
    if (ref.group, ref.kind) not in TARGETS:
        report.error(f"{field}.kind", f"no policy attaches to `{ref.kind}` of group `{ref.group}`", "Gateway, GatewayClass, Service or ServiceEntry")
