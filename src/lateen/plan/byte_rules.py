"""Which hosts any configuration says something of that matters to bytes: `tcp` and `tls` routes, and how long connections last. Called by `tcp_chains`.

Nearly always few: a listener of any other host asks nothing more, so that thousands of them cost neither time nor memory for rules there are not.
"""

from lateen.base.names import ObjectRef, full_host
from lateen.config.kinds.istio.destination_rule import DestinationRule
from lateen.config.kinds.istio.traffic_policy import TrafficPolicy
from lateen.config.store import OBJECTS, mesh_field, one
from lateen.incremental import Db, query
from lateen.mesh.hosts import overlap
from lateen.mesh.virtual_services import effective, headings


@query
def _routed_hosts(db: Db, name: ObjectRef) -> tuple[str, ...]:
    """The hosts of one VirtualService that has routes for bytes; else none."""
    service = effective(db, name)
    return service.hosts if service is not None and (service.tcp or service.tls) else ()


@query
def _all_routed(db: Db) -> frozenset[str]:
    return frozenset(host for heading in headings(db) for host in _routed_hosts(db, heading.origin))


def _matters(policy: TrafficPolicy | None) -> bool:
    if policy is None:
        return False
    tcp = policy.connection_pool.tcp if policy.connection_pool else None
    hashes = policy.load_balancer.consistent_hash if policy.load_balancer else None
    lasts = tcp is not None and (tcp.idle_timeout is not None or tcp.max_connection_duration is not None)
    return lasts or policy.tunnel is not None or (hashes is not None and bool(hashes.use_source_ip))


@query
def _ruled_host(db: Db, namespace: str, name: str) -> str:
    """The host of one DestinationRule that says how connections are kept; else empty."""
    rule = one(db, DestinationRule, namespace, name)
    if rule is None:
        return ""
    policies = (rule.spec.traffic_policy, *(subset.traffic_policy for subset in rule.spec.subsets))
    return full_host(rule.spec.host, namespace) if any(map(_matters, policies)) else ""


@query
def _all_ruled(db: Db) -> frozenset[str]:
    keys = OBJECTS.keys(db, (DestinationRule.__name__,))
    return frozenset(host for key in keys if (host := _ruled_host(db, key.namespace, key.name)))


def has_routes(db: Db, host: str) -> bool:
    """Whether some VirtualService, wherever, has routes for bytes of this host."""
    return any(overlap(host, one) for one in _all_routed(db))


def has_connection_rules(db: Db, host: str) -> bool:
    """Whether some DestinationRule, wherever, or the mesh says how connections to this host are kept."""
    return mesh_field(db, "default_traffic_policy") is not None or any(overlap(host, one) for one in _all_ruled(db))
