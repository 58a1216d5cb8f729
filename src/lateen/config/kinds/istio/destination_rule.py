"""DestinationRule: what happens at a destination once routing has chosen it. Istio: networking DestinationRule."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import LabelSelector
from lateen.config.kinds.istio.traffic_policy import TrafficPolicy
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Labels, Map


class Subset(Spec, frozen=True):
    """Istio: Subset."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("name",)

    name: str = ""
    labels: Labels = Map()
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Spec, frozen=True):
    """Istio: DestinationRule."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("host",)

    host: str = ""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: LabelSelector | None = None


class DestinationRule(Object, frozen=True):
    """networking.istio.io DestinationRule."""

    kind: ClassVar[str] = "DestinationRule"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "destinationrules"

    spec: DestinationRuleSpec = msgspec.field(default_factory=DestinationRuleSpec)
