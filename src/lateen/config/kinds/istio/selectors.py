"""What Istio's kinds share to say where they apply: workload selectors, target references, ports."""

from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Labels, Map, UInt32


class WorkloadSelector(Spec, frozen=True):
    """Pods by label, for networking kinds. Istio: networking WorkloadSelector."""

    labels: Labels = Map()


class LabelSelector(Spec, frozen=True):
    """Pods by label, for the other kinds. Istio: type.v1beta1.WorkloadSelector."""

    match_labels: Labels = Map()


class TargetRef(Spec, frozen=True):
    """A Gateway, GatewayClass, Service or ServiceEntry that a policy attaches to. Istio: PolicyTargetReference."""

    REQUIRED: ClassVar[tuple[str, ...]] = (
        "kind",
        "name",
    )

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")] = ""
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] = ""
    group: Annotated[str, msgspec.Meta(max_length=253, pattern=r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")] = ""
    namespace: str = ""


class PortSelector(Spec, frozen=True):
    """A port by number. Istio: PortSelector."""

    number: UInt32 = 0
    """0: not said."""


class WorkloadPort(Spec, frozen=True):
    """A port by number, of an extension's match. Istio: type.v1beta1.PortSelector."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("number",)

    number: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 0


class ListenerPort(Spec, frozen=True):
    """A port with its name and protocol. Istio: Port (Gateway) and SidecarPort."""

    number: UInt32 = 0
    name: str = ""
    protocol: str = ""
    target_port: UInt32 = 0
    """Deprecated and without effect."""


class ServerPort(ListenerPort, frozen=True):
    """A Gateway's port says everything. Istio: Port."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("number", "name", "protocol")
