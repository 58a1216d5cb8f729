"""Which labels of a workload anything reads: a View keeps only those, so that workloads that differ in others share their bytes. Called by `projection`."""

from collections.abc import Iterable

from lateen.base.names import ObjectRef
from lateen.config import store
from lateen.config.kinds.istio.authorization_policy import AuthorizationPolicy
from lateen.config.kinds.istio.destination_rule import DestinationRule
from lateen.config.kinds.istio.envoy_filter import EnvoyFilter
from lateen.config.kinds.istio.gateway import Gateway
from lateen.config.kinds.istio.peer_authentication import PeerAuthentication
from lateen.config.kinds.istio.proxy_config import ProxyConfig
from lateen.config.kinds.istio.request_authentication import RequestAuthentication
from lateen.config.kinds.istio.sidecar import Sidecar
from lateen.config.kinds.istio.telemetry import Telemetry
from lateen.config.kinds.istio.traffic_policy import LocalityLb, TrafficPolicy, ZoneAwareLb
from lateen.config.kinds.istio.virtual_service import VirtualService
from lateen.config.kinds.istio.wasm_plugin import TrafficExtension, WasmPlugin
from lateen.incremental import Db, query
from lateen.mesh.distribution import DISTRIBUTIONS
from lateen.mesh.ingress import ingress_gateways
from lateen.mesh.services import all_services

OF_NAMESPACE = ("AuthorizationPolicy", "EnvoyFilter", "PeerAuthentication", "ProxyConfig", "RequestAuthentication", "Sidecar", "Telemetry")
"""Kinds whose selectors reach the workloads of their own namespace, or all from the root namespace."""
EXTENSIONS = ("WasmPlugin", "TrafficExtension")
EVERYWHERE = ("VirtualService", "DestinationRule")
"""Kinds that read labels of any client: sourceLabels, failoverPriority, workloadSelector."""


@query
def _keys(db: Db, ref: ObjectRef) -> frozenset[str]:
    """The label keys one object reads of a workload."""
    item = store.OBJECTS.at(db, ref)
    match item:
        case AuthorizationPolicy() | PeerAuthentication() | RequestAuthentication() | Telemetry() | WasmPlugin() | TrafficExtension() | ProxyConfig():
            return frozenset(item.spec.selector.match_labels if item.spec.selector else ())
        case Sidecar() | EnvoyFilter():
            return frozenset(item.spec.workload_selector.labels if item.spec.workload_selector else ())
        case Gateway():
            return frozenset(item.spec.selector)
        case VirtualService():
            spec = item.spec
            labels = [match.source_labels for http in spec.http for match in http.match]
            labels += [match.source_labels for tls in spec.tls for match in tls.match]
            labels += [match.source_labels for tcp in spec.tcp for match in tcp.match]
            return frozenset(key for each in labels for key in each)
        case DestinationRule():
            own = item.spec.workload_selector.match_labels if item.spec.workload_selector else ()
            policies = (item.spec.traffic_policy, *(subset.traffic_policy for subset in item.spec.subsets))
            return frozenset(own) | frozenset(key for policy in policies for key in _failover_keys(policy))
        case _:
            return frozenset()


def priority_keys(setting: LocalityLb | ZoneAwareLb | None) -> Iterable[str]:
    """The label keys of a failoverPriority, whose entries are `key` or `key=value`."""
    return (entry.partition("=")[0] for entry in setting.failover_priority) if setting else ()


def _failover_keys(policy: TrafficPolicy | None) -> Iterable[str]:
    if policy is None:
        return
    balancers = (policy.load_balancer, *(port.load_balancer for port in policy.port_level_settings))
    for balancer in balancers:
        if balancer:
            yield from priority_keys(balancer.locality_lb_setting)
            yield from priority_keys(balancer.zone_aware_lb_setting)


@query
def _group_keys(db: Db, group: tuple[str, ...]) -> frozenset[str]:
    return frozenset(key for ref in store.OBJECTS.keys(db, group) for key in _keys(db, ref))


@query
def _distribution_keys(db: Db) -> frozenset[str]:
    """The label keys of a client's place that a service's trafficDistribution reads."""
    return frozenset(key for said in {one.traffic_distribution for one in all_services(db)} - {""} for key in DISTRIBUTIONS[said])


@query
def label_keys(db: Db, namespace: str, is_router: bool) -> frozenset[str]:
    """The label keys that anything reads of a proxy in `namespace`. Re-runs when a selector gains or loses a key, hardly ever."""
    settings = (store.mesh_field(db, "locality_lb_setting"), store.mesh_field(db, "zone_aware_lb_setting"))
    found = {key for one in settings if isinstance(one, (LocalityLb, ZoneAwareLb)) for key in priority_keys(one)}
    found |= _distribution_keys(db)
    if is_router:
        found |= {key for gateway in ingress_gateways(db) for key in gateway.spec.selector}
    for kind in EVERYWHERE if not is_router else (*EVERYWHERE, "Gateway"):
        found |= _group_keys(db, (kind,))
    for place in {namespace, store.root_namespace(db)}:
        for kind in (*OF_NAMESPACE, *EXTENSIONS):
            found |= _group_keys(db, (kind, place))
    return frozenset(found)
