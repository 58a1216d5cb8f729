"""What Istio's own validation, or the API server's, refuses or warns of, kind by kind: rules over one object alone. Source: Istio, pkg/config/validation.

Called by `sources` on every object it takes in. A kind's rules are one function here and one line in `RULES`.
"""

from collections.abc import Callable
from typing import Any

from lateen.base.findings import Finding
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
from lateen.config.kinds.kubernetes.core import ConfigMap
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.kubernetes.service import Service
from lateen.config.kinds.kubernetes.workloads import DaemonSet, Deployment, Job, ReplicaSet, StatefulSet
from lateen.config.kinds.objects import Object
from lateen.config.validate import (
    destination_rule,
    extensions,
    gateway,
    kubernetes,
    pod_template,
    proxy_config,
    security,
    service_entry,
    sidecar,
    virtual_service,
)

RULES: dict[type[Object], Callable[[Any], tuple[Finding, ...]]] = {
    VirtualService: virtual_service.check,
    DestinationRule: destination_rule.check,
    Gateway: gateway.check,
    ServiceEntry: service_entry.check,
    WorkloadEntry: service_entry.check_workload_entry,
    WorkloadGroup: service_entry.check_workload_group,
    Sidecar: sidecar.check,
    PeerAuthentication: security.check_peer_authentication,
    RequestAuthentication: security.check_request_authentication,
    AuthorizationPolicy: security.check_authorization_policy,
    Telemetry: extensions.check_telemetry,
    WasmPlugin: extensions.check_wasm_plugin,
    TrafficExtension: extensions.check_traffic_extension,
    EnvoyFilter: extensions.check_envoy_filter,
    ProxyConfig: extensions.check_proxy_config,
    **dict.fromkeys((Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job), pod_template.check),
    Service: kubernetes.check_service,
    ConfigMap: proxy_config.check_mesh_config,
}
"""Kind → its rules. (Any: each takes its own kind.)"""


def validate(item: Object) -> tuple[Finding, ...]:
    """Findings about one object. Severity ERROR: it is refused."""
    rules = RULES.get(type(item))
    return rules(item) if rules is not None else ()
