"""Label selectors as Kubernetes has them, with expressions. Kubernetes: metav1.LabelSelector."""

from collections.abc import Mapping

from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Labels, Map


class Requirement(Spec, frozen=True):
    """Kubernetes: metav1.LabelSelectorRequirement."""

    key: str = ""
    operator: str = ""
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet it. An unknown operator is met by none."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value is not None and value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        if self.operator == "Exists":
            return value is not None
        return self.operator == "DoesNotExist" and value is None


class LabelSelector(Spec, frozen=True):
    """Kubernetes: metav1.LabelSelector. Empty: everything."""

    match_labels: Labels = Map()
    match_expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet all of it."""
        return self.match_labels.selects(labels) and all(item.matches(labels) for item in self.match_expressions)
