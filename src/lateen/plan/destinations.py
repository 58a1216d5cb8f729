"""Where a VirtualService's destinations lead: clusters, and what of a request chooses the endpoint. Called by `plan.http_routes` and `plan.tcp_routes`.

A missing host, port or subset still names a cluster, as in Istio: the request gets 503 rather than another route.
"""

from dataclasses import dataclass, replace

from lateen.base.names import outbound_cluster
from lateen.config.kinds.istio.traffic_policy import ConsistentHash, LoadBalancer, TrafficPolicy
from lateen.config.kinds.istio.virtual_service import Destination
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import RuleKey, rule_key, rule_labels, rule_of, ruling
from lateen.mesh.model import Labels, Resolution, Service
from lateen.mesh.visibility import Scope, service_seen
from lateen.plan.route import HashKey

UNKNOWN = "UnknownService"
"""Source: Istio, a destination that may not be used."""


@dataclass(frozen=True)
class Caller:
    """From where routes are looked at. `gateway`: `mesh` or `namespace/name`. `port`: the listener's (a gateway server's
    port as written); 0: an HTTP proxy or a socket. `labels`: of the workload, those that something selects by."""

    eyes: Scope
    labels: Labels
    gateway: str
    port: int
    is_tls: bool = False

    @property
    def namespace(self) -> str:
        """Of the workload."""
        return self.eyes.namespace

    def at(self, port: int) -> "Caller":
        """The same workload at another port."""
        return Caller(self.eyes, self.labels, self.gateway, port, self.is_tls)


def _seen_here(db: Db, caller: Caller, host: str) -> Service | None:
    """The service of a host, where it may decide a destination: gateways and HTTP proxies know all ports, a sidecar's listener its own alone."""
    found = service_seen(db, caller.eyes, host)
    if found is None or caller.eyes.is_router or caller.port == 0:
        return found
    return found if found.port(caller.port) else None


def http_cluster(db: Db, caller: Caller, to: Destination) -> tuple[str, int]:
    """(host, port) of an HTTP destination. Without a port: the only one that the service has, else the caller's."""
    found = _seen_here(db, caller, to.host)
    host = found.external_name if found is not None and found.resolution is Resolution.ALIAS else to.host
    if to.port is not None:
        return host, to.port.number
    is_narrow = not (caller.eyes.is_router or caller.port == 0)
    return host, found.ports[0].number if found is not None and len(found.ports) == 1 and not is_narrow else caller.port


def tcp_cluster(db: Db, caller: Caller, to: Destination) -> tuple[str, int]:
    """The same for TCP and TLS, which know all ports of a service."""
    found = service_seen(db, caller.eyes, to.host)
    host = found.external_name if found is not None and found.resolution is Resolution.ALIAS else to.host
    if to.port is not None:
        return host, to.port.number
    return host, found.ports[0].number if found is not None and len(found.ports) == 1 else caller.port


def cluster_name(host: str, port: int, subset: str) -> str:
    """The cluster of a destination; without a host one that is never there, so that its share of requests fails."""
    return outbound_cluster(port, subset, host) if host else UNKNOWN


def hash_keys(db: Db, eyes: Scope, labels: Labels, host: str, port: int, subset: str) -> tuple[HashKey, ...]:
    """What of a request chooses the endpoint of a destination; empty: nothing does. Source: Istio LoadBalancerSettings.consistentHash."""
    service = service_seen(db, eyes, host) if ruling(db, host).homes else None
    if service is None:
        return ()
    key = rule_key(db, eyes.namespace, service.namespace, host, rule_labels(db, eyes.namespace, labels))
    return _hash_keys(db, key, port, subset) if key is not None else ()


@query
def _hash_keys(db: Db, key: RuleKey, port: int, subset: str) -> tuple[HashKey, ...]:
    """The narrowest level that says any: subset's port, subset, port, rule. Source: Istio; whether the cluster balances by them its own policy says."""
    rule = rule_of(db, key)
    if rule is None:
        return ()
    chosen = rule.subset(subset) if subset else None
    for policy in (chosen.traffic_policy if chosen else None, rule.traffic_policy):
        for balancer in _balancers(policy, port):
            if balancer is not None and balancer.consistent_hash is not None:
                return tuple(replace(one, origins=rule.origins) for one in _keys(balancer.consistent_hash))
    return ()


def _balancers(policy: TrafficPolicy | None, port: int) -> tuple[LoadBalancer | None, ...]:
    """What one level says for a port, then what it says for all."""
    if policy is None:
        return ()
    return (*(one.load_balancer for one in policy.port_level_settings if one.port is not None and one.port.number == port), policy.load_balancer)


def _keys(written: ConsistentHash) -> tuple[HashKey, ...]:
    if written.http_header_name:
        return (HashKey(header=written.http_header_name),)
    if written.http_cookie is not None:
        cookie = written.http_cookie
        attributes = tuple((one.name, one.value) for one in cookie.attributes)
        return (HashKey(cookie=cookie.name, cookie_ttl_s=cookie.ttl, cookie_path=cookie.path, cookie_attributes=attributes),)
    if written.use_source_ip:
        return (HashKey(is_source_ip=True),)
    return (HashKey(query=written.http_query_parameter_name),) if written.http_query_parameter_name else ()
