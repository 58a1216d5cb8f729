"""Every kind Lateen reads, by API group and name; and the kinds it knows to leave alone."""

from lateen.config.kinds.gateway.gateways import GatewayClass, KubernetesGateway, ListenerSet
from lateen.config.kinds.gateway.policies import BackendTLSPolicy, ReferenceGrant
from lateen.config.kinds.gateway.routes import GRPCRoute, HTTPRoute, TCPRoute, TLSRoute, UDPRoute
from lateen.config.kinds.istio.authorization_policy import AuthorizationPolicy
from lateen.config.kinds.istio.destination_rule import DestinationRule
from lateen.config.kinds.istio.envoy_filter import EnvoyFilter
from lateen.config.kinds.istio.gateway import Gateway
from lateen.config.kinds.istio.peer_authentication import PeerAuthentication
from lateen.config.kinds.istio.proxy_config import ProxyConfig
from lateen.config.kinds.istio.request_authentication import RequestAuthentication
from lateen.config.kinds.istio.service_entry import ServiceEntry
from lateen.config.kinds.istio.sidecar import Sidecar
from lateen.config.kinds.istio.telemetry import Telemetry
from lateen.config.kinds.istio.virtual_service import VirtualService
from lateen.config.kinds.istio.wasm_plugin import TrafficExtension, WasmPlugin
from lateen.config.kinds.istio.workload_entry import WorkloadEntry, WorkloadGroup
from lateen.config.kinds.kubernetes.core import ConfigMap, Namespace, Node, Secret, ServiceAccount
from lateen.config.kinds.kubernetes.ingress import Ingress, IngressClass
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.kubernetes.service import Endpoints, EndpointSlice, Service
from lateen.config.kinds.kubernetes.workloads import CronJob, DaemonSet, Deployment, Job, ReplicaSet, StatefulSet
from lateen.config.kinds.objects import Object

ISTIO_KINDS: tuple[type[Object], ...] = (
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
    Sidecar,
    EnvoyFilter,
    ProxyConfig,
    PeerAuthentication,
    RequestAuthentication,
    AuthorizationPolicy,
    Telemetry,
    WasmPlugin,
    TrafficExtension,
)
KUBERNETES_KINDS: tuple[type[Object], ...] = (
    Namespace,
    Node,
    ServiceAccount,
    ConfigMap,
    Secret,
    Service,
    EndpointSlice,
    Endpoints,
    Pod,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    CronJob,
    Ingress,
    IngressClass,
)
GATEWAY_KINDS: tuple[type[Object], ...] = (
    GatewayClass,
    KubernetesGateway,
    ListenerSet,
    HTTPRoute,
    GRPCRoute,
    TLSRoute,
    TCPRoute,
    UDPRoute,
    ReferenceGrant,
    BackendTLSPolicy,
)
KINDS: tuple[type[Object], ...] = ISTIO_KINDS + KUBERNETES_KINDS + GATEWAY_KINDS

BY_NAME: dict[tuple[str, str], type[Object]] = {(kind.group, kind.kind): kind for kind in KINDS}
"""(API group, kind) → type."""

IGNORED: frozenset[str] = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "HorizontalPodAutoscaler",
        "IstioOperator",
        "LimitRange",
        "MutatingWebhookConfiguration",
        "NetworkPolicy",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "PriorityClass",
        "ResourceQuota",
        "Role",
        "RoleBinding",
        "StorageClass",
        "ValidatingWebhookConfiguration",
    }
)
"""Kinds of Kubernetes that no mesh acts on."""


def is_strict(kind: type[Object]) -> bool:
    """Whether an unknown field refuses the object: where we hold the whole schema. Elsewhere it is a warning."""
    return kind in ISTIO_KINDS
