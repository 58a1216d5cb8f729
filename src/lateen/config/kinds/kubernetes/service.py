"""Service, EndpointSlice, Endpoints: names, ports and addresses. Kubernetes: core/v1, discovery.k8s.io/v1."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Int32, Json, Labels, Map

IntOrString = int | str


class ServicePort(Spec, frozen=True):
    """Kubernetes: core/v1 ServicePort."""

    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    port: Int32 = 0
    target_port: IntOrString | None = None
    """Number or name of the pod's port. None: as `port` (`config.defaults` fills it in)."""
    node_port: Int32 = 0


class IngressAddress(Spec, frozen=True):
    """Kubernetes: core/v1 LoadBalancerIngress."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None
    ports: Json | None = None


class LoadBalancerStatus(Spec, frozen=True):
    """Kubernetes: core/v1 LoadBalancerStatus."""

    ingress: tuple[IngressAddress, ...] = ()


class ServiceStatus(Spec, frozen=True):
    """Kubernetes: core/v1 ServiceStatus."""

    load_balancer: LoadBalancerStatus | None = None
    conditions: Json | None = None


class ServiceSpec(Spec, frozen=True):
    """Kubernetes: core/v1 ServiceSpec."""

    ports: tuple[ServicePort, ...] = ()
    selector: Labels = Map()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    """`None`: headless. Empty: not assigned."""
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    type: str = "ClusterIP"
    external_name: str = ""
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    session_affinity: str = ""
    session_affinity_config: Json | None = None
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: tuple[str, ...] = ()
    load_balancer_class: str | None = None
    external_traffic_policy: str = ""
    internal_traffic_policy: str | None = None
    health_check_node_port: Int32 = 0
    publish_not_ready_addresses: bool = False
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str | None = None
    allocate_load_balancer_node_ports: bool | None = None
    traffic_distribution: str | None = None


class Service(Object, frozen=True):
    """core/v1 Service."""

    kind: ClassVar[str] = "Service"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "services"

    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)
    status: ServiceStatus | None = None


class TargetObject(Spec, frozen=True):
    """Kubernetes: core/v1 ObjectReference."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    uid: str = ""
    api_version: str = ""
    field_path: str = ""
    resource_version: str = ""


class EndpointConditions(Spec, frozen=True):
    """None: not said; `ready` then counts as true. Kubernetes: discovery EndpointConditions."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Spec, frozen=True):
    """Kubernetes: discovery Endpoint."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    target_ref: TargetObject | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: Json | None = None
    deprecated_topology: Labels = Map()


class EndpointPort(Spec, frozen=True):
    """Kubernetes: discovery EndpointPort, core EndpointPort."""

    name: str | None = None
    protocol: str | None = None
    port: Int32 | None = None
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True):
    """discovery.k8s.io EndpointSlice. Its Service is the label `kubernetes.io/service-name`."""

    kind: ClassVar[str] = "EndpointSlice"
    group: ClassVar[str] = "discovery.k8s.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    plural: ClassVar[str] = "endpointslices"

    address_type: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class EndpointAddress(Spec, frozen=True):
    """Kubernetes: core/v1 EndpointAddress."""

    ip: str = ""
    hostname: str = ""
    node_name: str | None = None
    target_ref: TargetObject | None = None


class EndpointSubset(Spec, frozen=True):
    """Kubernetes: core/v1 EndpointSubset."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Object, frozen=True):
    """core/v1 Endpoints, superseded by EndpointSlice."""

    kind: ClassVar[str] = "Endpoints"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "endpoints"

    subsets: tuple[EndpointSubset, ...] = ()
