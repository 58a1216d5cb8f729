"""What Istio's kinds share to say where they apply: workload selectors, target references, ports."""

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

    kind: str = ""
    name: str = ""
    group: str = ""
    namespace: str = ""


class PortSelector(Spec, frozen=True):
    """A port by number. Istio: PortSelector."""

    number: UInt32 = 0
    """0: not said."""


class WorkloadPort(Spec, frozen=True):
    """A port by number, of an extension's match. Istio: type.v1beta1.PortSelector."""

    number: UInt32 = 0


class ListenerPort(Spec, frozen=True):
    """A port with its name and protocol. Istio: Port (Gateway) and SidecarPort."""

    number: UInt32 = 0
    name: str = ""
    protocol: str = ""
    target_port: UInt32 = 0
    """Deprecated and without effect."""
