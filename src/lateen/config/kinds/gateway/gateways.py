"""Gateway, GatewayClass, ListenerSet of the Gateway API. Python names `KubernetesGateway` what YAML calls `Gateway`: Istio has one as well."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.kubernetes.selectors import LabelSelector
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Int32, Json, Labels, Map

GROUP = "gateway.networking.k8s.io"


class ObjectReference(Spec, frozen=True):
    """Gateway API: SecretObjectReference, ObjectReference, LocalObjectReference."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str | None = None
    """None: the object's own."""


class ParentReference(Spec, frozen=True):
    """What a route, or a set of listeners, attaches to. Gateway API: ParentReference."""

    group: str = GROUP
    kind: str = "Gateway"
    name: str = ""
    namespace: str | None = None
    section_name: str | None = None
    port: Int32 | None = None


class RouteNamespaces(Spec, frozen=True):
    """Gateway API: RouteNamespaces, ListenerNamespaces."""

    from_: str | None = msgspec.field(default=None, name="from")
    """`Same` (None means it), `All`, `Selector` or `None`."""
    selector: LabelSelector | None = None


class RouteKind(Spec, frozen=True):
    """Gateway API: RouteGroupKind."""

    group: str = GROUP
    kind: str = ""


class AllowedRoutes(Spec, frozen=True):
    """Gateway API: AllowedRoutes."""

    namespaces: RouteNamespaces | None = None
    kinds: tuple[RouteKind, ...] = ()


class FrontendValidation(Spec, frozen=True):
    """Gateway API: FrontendTLSValidation."""

    ca_certificate_refs: tuple[ObjectReference, ...] = ()
    mode: str | None = None


class ListenerTls(Spec, frozen=True):
    """Gateway API: ListenerTLSConfig."""

    mode: str = "Terminate"
    """`Terminate` or `Passthrough`."""
    certificate_refs: tuple[ObjectReference, ...] = ()
    options: Labels = Map()
    frontend_validation: FrontendValidation | None = None


class Listener(Spec, frozen=True):
    """Gateway API: Listener, ListenerEntry."""

    name: str = ""
    hostname: str = ""
    """Empty: every host."""
    port: Int32 = 0
    protocol: str = ""
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes | None = None


class GatewayAddress(Spec, frozen=True):
    """Gateway API: GatewaySpecAddress."""

    type: str = "IPAddress"
    value: str = ""


class ParametersReference(Spec, frozen=True):
    """Gateway API: ParametersReference."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str | None = None


class GatewayInfrastructure(Spec, frozen=True):
    """Gateway API: GatewayInfrastructure."""

    labels: Labels = Map()
    annotations: Labels = Map()
    parameters_ref: ParametersReference | None = None


class AllowedListeners(Spec, frozen=True):
    """Gateway API: AllowedListeners."""

    namespaces: RouteNamespaces | None = None


class FrontendTlsDefault(Spec, frozen=True):
    """Gateway API: TLSConfig of a frontend."""

    validation: FrontendValidation | None = None


class FrontendTlsPort(Spec, frozen=True):
    """Gateway API: TLSPortConfig."""

    port: Int32 = 0
    tls: FrontendTlsDefault | None = None


class FrontendTls(Spec, frozen=True):
    """Gateway API: FrontendTLSConfig."""

    default: FrontendTlsDefault | None = None
    per_port: tuple[FrontendTlsPort, ...] = ()


class BackendTls(Spec, frozen=True):
    """Gateway API: GatewayBackendTLS."""

    client_certificate_ref: ObjectReference | None = None


class GatewayTls(Spec, frozen=True):
    """Gateway API: GatewayTLSConfig."""

    frontend: FrontendTls | None = None
    backend: BackendTls | None = None


class KubernetesGatewaySpec(Spec, frozen=True):
    """Gateway API: GatewaySpec."""

    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] = ()
    addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: GatewayInfrastructure | None = None
    allowed_listeners: AllowedListeners | None = None
    tls: GatewayTls | None = None
    default_scope: str | None = None


class KubernetesGateway(Object, frozen=True):
    """gateway.networking.k8s.io Gateway."""

    kind: ClassVar[str] = "Gateway"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    plural: ClassVar[str] = "gateways"

    spec: KubernetesGatewaySpec = msgspec.field(default_factory=KubernetesGatewaySpec)
    status: Json | None = None


class GatewayClassSpec(Spec, frozen=True):
    """Gateway API: GatewayClassSpec."""

    controller_name: str = ""
    parameters_ref: ParametersReference | None = None
    description: str | None = None


class GatewayClass(Object, frozen=True):
    """gateway.networking.k8s.io GatewayClass."""

    kind: ClassVar[str] = "GatewayClass"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    plural: ClassVar[str] = "gatewayclasses"
    is_namespaced: ClassVar[bool] = False

    spec: GatewayClassSpec = msgspec.field(default_factory=GatewayClassSpec)


class ListenerSetSpec(Spec, frozen=True):
    """Gateway API: ListenerSetSpec."""

    parent_ref: ParentReference | None = None
    listeners: tuple[Listener, ...] = ()


class ListenerSet(Object, frozen=True):
    """gateway.networking.k8s.io ListenerSet."""

    kind: ClassVar[str] = "ListenerSet"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "listenersets"

    spec: ListenerSetSpec = msgspec.field(default_factory=ListenerSetSpec)
