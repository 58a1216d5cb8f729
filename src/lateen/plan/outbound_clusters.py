"""The clusters of a client's calls: one per service port and subset, planned from service, DestinationRule and mesh configuration. Called by `xds.clusters`.

Endpoints are not read here, but for what `clients` boils down (identities, meshed or not) and for clusters that resolve names themselves.
"""

from dataclasses import dataclass, replace

from lateen.base.names import BLACK_HOLE, PASSTHROUGH, ClusterName
from lateen.config import store
from lateen.config.kinds.istio.mesh_config import MeshH2Upgrade, MeshOutboundPolicy
from lateen.config.kinds.istio.traffic_policy import ClientTlsMode, H2UpgradePolicy, LocalityLb, SimpleLb, TcpKeepalive, TrafficPolicy, ZoneAwareLb
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import EffectiveRule, policy_of, rule_of
from lateen.mesh.distribution import DISTRIBUTIONS
from lateen.mesh.model import Labels, Port, Protocol, Resolution, Service, label_pairs
from lateen.mesh.networks import scale
from lateen.mesh.view import View
from lateen.plan.clients import Caller, Client, is_all_meshed
from lateen.plan.cluster import (
    Choice,
    Cluster,
    Discovery,
    Dns,
    Family,
    Http,
    Hypertext,
    Localities,
    MeshTls,
    Raw,
    Simple,
    Transport,
    Weighted,
    ZoneAware,
)
from lateen.plan.load_assignments import AssignmentKey, ClientMode, Placement, load_assignment
from lateen.plan.pools import balancer, breakers, connect_timeout_s, keepalive, outlier, panic_percent, pooled_http
from lateen.plan.stat_names import stat_name
from lateen.plan.upstream_tls import Upstream, is_mesh_tls, transport, unknown_transport, verifies

PASSTHROUGH_IDLE_S = 300.0
"""Idle HTTP connections to unknown destinations end after this. Source: Istio, passthrough clusters."""


@dataclass(frozen=True)
class Target:
    """A cluster to be: a port of a service, and a subset (empty: the whole). `is_sni`: the cluster of an AUTO_PASSTHROUGH gateway. `placement`: how the
    client's place counts, where the cluster itself holds endpoints; None: it does not, or endpoints come by EDS. `network`: the client's, where it counts."""

    service: Service
    port: Port
    subset: str = ""
    is_sni: bool = False
    placement: Placement | None = None
    network: str | None = None

    @property
    def name(self) -> str:
        """The cluster's name."""
        name = ClusterName("outbound", self.port.number, self.subset, self.service.hostname)
        return name.sni if self.is_sni else str(name)


RESOLVED = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
"""Services whose clusters resolve names themselves."""


def has_clusters(service: Service) -> bool:
    """Whether a service has clusters of its own; an alias has none."""
    return service.resolution is not Resolution.ALIAS


def cluster_ports(service: Service) -> tuple[Port, ...]:
    """The ports that get clusters: all but UDP, the first of each number. Where each host is resolved as it is asked for, only protocols that name it."""
    found: dict[int, Port] = {}
    for port in service.ports:
        is_named = service.resolution is not Resolution.DYNAMIC_DNS or port.protocol.is_http or port.protocol is Protocol.TLS
        if port.protocol is not Protocol.UDP and is_named:
            found.setdefault(port.number, port)
    return tuple(found.values())


def outbound_cluster(db: Db, caller: Caller, target: Target) -> Cluster | None:
    """One cluster; None: there is none (no such subset, or nothing to resolve)."""
    rule = rule_of(db, caller.rule)
    subset = rule.subset(target.subset) if rule and target.subset else None
    if target.subset and subset is None:
        return None
    policy = policy_of(db, rule, target.port.number, target.subset)
    discovery = _discovery(caller, target, policy)
    labels = label_pairs(subset.labels) if subset else ()
    upstream = upstream_of(target, rule, caller, discovery)
    http = _http(db, caller, target, policy, upstream, labels)
    tls = Transport() if target.is_sni else transport(db, upstream, policy.tls, http.protocol if _speaks_http(target, http) else None)
    if policy.outlier_detection is not None:
        http = replace(http, error_codes=policy.outlier_detection.outlier_detection_http_error_codes)
    http = _with_server_names(db, http, policy, tls, discovery)
    mesh_s = store.mesh_field(db, "connect_timeout")
    pool = policy.connection_pool
    found = Cluster(
        name=target.name,
        discovery=discovery,
        connect_timeout_s=connect_timeout_s(pool, float(mesh_s) if isinstance(mesh_s, float) else 10.0),
        http=http,
        balancer=Simple(Choice.PROVIDED) if discovery in _MADE_BY_ENVOY else balancer(policy.load_balancer, target.port.protocol),
        breakers=breakers(pool, policy.retry_budget),
        outlier=outlier(policy.outlier_detection),
        panic_percent=panic_percent(policy.outlier_detection, has_far_endpoints=bool(target.service.traffic_distribution)),
        localities=_localities(db, target.service, policy, discovery),
        keepalive=keepalive(pool, mesh_keepalive(db)),
        transport=replace(tls, proxy_protocol=_proxy_version(policy)),
        dns=_dns(db, caller, target, discovery, policy),
        service=(target.service.hostname, target.service.namespace, target.service.name),
        origins=frozenset((target.service.origin, *(rule.origins if rule else ()))),
        rule=rule.origins[0] if rule else None,
        subset=target.subset,
        stat_name=stat_name(db, "outbound_cluster_stat_name", target.service, target.port, target.subset),
    )
    if discovery in (Discovery.STRICT_DNS, Discovery.LOGICAL_DNS):
        return _with_names(db, found, target, labels, client_mode(db, caller, target))
    return found


def upstream_of(target: Target, rule: EffectiveRule | None, caller: Caller, discovery: Discovery) -> Upstream:
    """What TLS is chosen for. Sidecars may use `credentialName` only where the rule names its workloads."""
    has_credentials = caller.is_router or bool(rule and rule.selector)
    return Upstream(target.service, target.port.number, target.subset, discovery is Discovery.ORIGINAL_DST, has_credentials)


def _discovery(caller: Caller, target: Target, policy: TrafficPolicy) -> Discovery:
    """How endpoints are found. PASSTHROUGH leaves the choice to the client, whatever the service says."""
    chosen = policy.load_balancer
    is_passthrough = chosen is not None and chosen.simple is SimpleLb.PASSTHROUGH and chosen.consistent_hash is None and not target.is_sni
    match target.service.resolution:
        case Resolution.DYNAMIC_DNS:
            return Discovery.FORWARD
        case Resolution.DNS if not is_passthrough:
            return Discovery.STRICT_DNS
        case Resolution.DNS_ROUND_ROBIN if not is_passthrough:
            return Discovery.LOGICAL_DNS
        case Resolution.HEADLESS | Resolution.NONE if not caller.is_router:
            return Discovery.ORIGINAL_DST
        case _:
            return Discovery.ORIGINAL_DST if is_passthrough else Discovery.EDS


def _http(db: Db, caller: Caller, target: Target, policy: TrafficPolicy, upstream: Upstream, labels: Labels) -> Http:
    pool = policy.connection_pool
    said = pool.http if pool else None
    port = target.port.protocol
    if target.is_sni:
        return pooled_http(Http(), pool)
    if said is not None and said.use_client_protocol:
        protocol = Hypertext.CLIENT
    elif port.is_http2:
        protocol = Hypertext.HTTP2
    elif port.is_detected and not caller.is_router:
        protocol = Hypertext.CLIENT
    elif port is Protocol.HTTP and _is_upgraded(db, target, policy, upstream, labels):
        protocol = Hypertext.HTTP2
    else:
        protocol = Hypertext.HTTP1
    return pooled_http(Http(protocol), pool)


def _is_upgraded(db: Db, target: Target, policy: TrafficPolicy, upstream: Upstream, labels: Labels) -> bool:
    """HTTP/2 to a port declared as HTTP: as h2UpgradePolicy says or, where nobody says, where every endpoint takes mesh TLS.
    Source: ours: house.md, ALPN and protocol."""
    http = policy.connection_pool.http if policy.connection_pool else None
    said = http.h2_upgrade_policy if http else H2UpgradePolicy.DEFAULT
    if said is not H2UpgradePolicy.DEFAULT:
        return said is H2UpgradePolicy.UPGRADE
    mesh = store.mesh_field(db, "h2_upgrade_policy")
    if mesh is not None:
        return mesh is MeshH2Upgrade.UPGRADE
    service = target.service
    is_static = service.resolution is Resolution.STATIC and not upstream.is_original and not service.is_node_local
    return is_static and is_mesh_tls(db, upstream, policy.tls) and is_all_meshed(db, service.namespace, service.hostname, target.port.name, labels)


def _speaks_http(target: Target, http: Http) -> bool:
    return target.port.protocol.is_http or http.protocol is not Hypertext.HTTP1


def _with_server_names(db: Db, http: Http, policy: TrafficPolicy, tls: Transport, discovery: Discovery) -> Http:
    """Server name and its check from the request's Host, where TLS has no fixed name."""
    written, socket = policy.tls, tls.socket
    if discovery is Discovery.FORWARD and isinstance(socket, Raw):  # Envoy refuses it without them, even in the clear
        return http if http.is_plain else replace(http, has_auto_sni=True, has_auto_san_validation=True)
    if written is None or isinstance(socket, Raw) or socket.sni:
        return http
    if isinstance(socket, MeshTls) and discovery is not Discovery.FORWARD:
        return http
    names = written.subject_alt_names
    return replace(http, has_auto_sni=True, has_auto_san_validation=verifies(db, written) and not names)


def _proxy_version(policy: TrafficPolicy) -> int:
    return 0 if policy.proxy_protocol is None else int(policy.proxy_protocol.version.value[1:])


def mesh_keepalive(db: Db) -> TcpKeepalive | None:
    """The mesh's TCP keepalive."""
    said = store.mesh_field(db, "tcp_keepalive")
    return said if isinstance(said, TcpKeepalive) else None


def family_of(client: Client | Caller) -> Family:
    """The IP versions a client has."""
    if client.has_ipv6:
        return Family.ALL if client.has_ipv4 else Family.V6_ONLY
    return Family.V4_ONLY


def _dns(db: Db, caller: Caller, target: Target, discovery: Discovery, policy: TrafficPolicy) -> Dns | None:
    if discovery is Discovery.FORWARD:
        is_insecure = policy.tls is not None and bool(policy.tls.insecure_skip_verify or policy.tls.sni or policy.tls.subject_alt_names)
        return Dns(family_of(caller), cache=f"{target.service.hostname}_dfp_dns_cache", is_insecure=is_insecure)
    if discovery in (Discovery.STRICT_DNS, Discovery.LOGICAL_DNS):
        refresh = store.mesh_field(db, "dns_refresh_rate")
        return Dns(family_of(caller), float(refresh) if isinstance(refresh, float) and refresh > 0 else 60.0)
    return None


def _with_names(db: Db, cluster: Cluster, target: Target, labels: Labels, mode: ClientMode) -> Cluster | None:
    """The cluster with the names it resolves; None: there are none. A logical DNS cluster takes exactly one, wherever it is."""
    service = target.service
    port, near, network = target.port, target.placement, target.network
    key = AssignmentKey(cluster.name, service.namespace, service.hostname, port.name, labels, mode, None, near, port.number, network)
    found = load_assignment(db, key)
    if found.is_empty and cluster.discovery is Discovery.LOGICAL_DNS:
        found = load_assignment(db, replace(key, placement=None))
    if found.is_empty and load_assignment(db, replace(key, placement=None)).is_empty:
        return None
    if cluster.discovery is Discovery.LOGICAL_DNS:
        first = next(group for group in found.groups if group.hosts)
        found = replace(found, groups=(replace(first, hosts=first.hosts[:1], weight=first.hosts[0].weight, priority=0),))
    return replace(cluster, assignment=found)


def client_mode(db: Db, caller: Caller, target: Target) -> ClientMode:
    """What the client's policy says of mesh TLS to endpoints."""
    tls = policy_of(db, rule_of(db, caller.rule), target.port.number, target.subset).tls
    if tls is None:
        return ClientMode.AUTO
    if tls.mode is ClientTlsMode.ISTIO_MUTUAL:
        return ClientMode.ALWAYS
    return ClientMode.NEVER if tls.mode is ClientTlsMode.DISABLE else ClientMode.AUTO


def _own_setting(policy: TrafficPolicy) -> LocalityLb | ZoneAwareLb | None:
    """What a DestinationRule says of localities. Of both the zone-aware one counts."""
    chosen = policy.load_balancer
    return (chosen.zone_aware_lb_setting or chosen.locality_lb_setting) if chosen else None


def _setting(db: Db, service: Service, policy: TrafficPolicy) -> LocalityLb | ZoneAwareLb | None:
    """What is said of localities, switched on or off: the DestinationRule's, the service's trafficDistribution, the mesh's.

    Source: Istio, GetEffectiveLbSetting."""
    own = _own_setting(policy)
    if own is not None:
        return own
    nearest = DISTRIBUTIONS.get(service.traffic_distribution)
    if nearest is not None:
        return LocalityLb(failover_priority=nearest)
    zones, mesh = store.mesh_field(db, "zone_aware_lb_setting"), store.mesh_field(db, "locality_lb_setting")
    return zones if isinstance(zones, ZoneAwareLb) else mesh if isinstance(mesh, LocalityLb) else None


def locality_setting(db: Db, service: Service, policy: TrafficPolicy) -> LocalityLb | ZoneAwareLb | None:
    """The setting in force; None: off."""
    found = _setting(db, service, policy)
    return None if found is None or found.enabled is False else found


def _has_failover(db: Db, service: Service, policy: TrafficPolicy) -> bool:
    if isinstance(_setting(db, service, policy), ZoneAwareLb):
        return True
    return policy.outlier_detection is not None or (_own_setting(policy) is None and service.traffic_distribution in DISTRIBUTIONS)


def _localities(db: Db, service: Service, policy: TrafficPolicy, discovery: Discovery) -> Localities | None:
    """What Envoy does of localities: weights, zones, or nothing. Where it makes endpoints itself, they have no zones."""
    setting = _setting(db, service, policy)
    if isinstance(setting, ZoneAwareLb):
        return ZoneAware(setting.enabled is False, setting.min_cluster_size) if discovery not in _MADE_BY_ENVOY else None
    if setting is None or setting.enabled is False:
        return None
    is_weighted = bool(setting.distribute) or (_has_failover(db, service, policy) and bool(setting.failover or setting.failover_priority))
    return Weighted() if is_weighted else None


_MADE_BY_ENVOY = (Discovery.ORIGINAL_DST, Discovery.FORWARD)


@dataclass(frozen=True)
class Nearness:
    """That the client's place counts for a cluster, and how. `has_failover`: ejected endpoints make room for farther ones."""

    setting: LocalityLb | ZoneAwareLb
    has_failover: bool

    def placement(self, view: View) -> Placement:
        """For clients at a view's place."""
        keys = {entry.partition("=")[0] for entry in self.setting.failover_priority}
        return Placement(self.setting, view.locality, tuple(pair for pair in view.labels if pair[0] in keys), self.has_failover)


def nearness(db: Db, caller: Caller, target: Target) -> Nearness | None:
    """How the client's place counts for a cluster; None: it does not, so that clients anywhere share its load assignment."""
    policy = policy_of(db, rule_of(db, caller.rule), target.port.number, target.subset)
    setting = locality_setting(db, target.service, policy)
    has_failover = _has_failover(db, target.service, policy)
    counts = setting is not None and (has_failover or (isinstance(setting, LocalityLb) and bool(setting.distribute)))
    return Nearness(setting, has_failover) if setting is not None and counts else None


def network_at(db: Db, view: View) -> str | None:
    """The network of a view, where it counts: some network is entered through gateways."""
    return view.network if scale(db) else None


def assignment_key(db: Db, caller: Caller, target: Target, node: str | None = None, placement: Placement | None = None) -> AssignmentKey:
    """What the load assignment of a cluster depends on. `node`: the client's, None: endpoints of all nodes count."""
    service = target.service
    rule = rule_of(db, caller.rule)
    subset = rule.subset(target.subset) if rule and target.subset else None
    return AssignmentKey(
        cluster=target.name,
        namespace=service.namespace,
        hostname=service.hostname,
        port_name=target.port.name,
        subset=label_pairs(subset.labels) if subset else (),
        mode=client_mode(db, caller, target),
        node=node,
        placement=placement,
        network=target.network,
    )


@query
def fixed_clusters(db: Db, client: Client, has_forward: bool) -> tuple[Cluster, ...]:
    """The clusters every proxy has: where traffic ends, and for sidecars where unknown destinations go. `has_forward`: unknown names are resolved."""
    mesh_s = store.mesh_field(db, "connect_timeout")
    timeout_s = float(mesh_s) if isinstance(mesh_s, float) else 10.0
    found = [Cluster(BLACK_HOLE, Discovery.STATIC, timeout_s, balancer=Simple(Choice.ROUND_ROBIN))]
    if not client.is_router:
        http = Http(Hypertext.CLIENT, idle_timeout_s=PASSTHROUGH_IDLE_S)
        found.append(Cluster(PASSTHROUGH, Discovery.ORIGINAL_DST, timeout_s, http, Simple(Choice.PROVIDED), keepalive=keepalive(None, mesh_keepalive(db))))
        if has_forward:
            found.append(_unknown_hosts(db, client, Cluster(ANY_NAME, Discovery.FORWARD, timeout_s, http, Simple(Choice.PROVIDED))))
    return tuple(found)


def _unknown_hosts(db: Db, client: Client, cluster: Cluster) -> Cluster:
    """The cluster of hosts of no known service, with the TLS that the mesh asks for: server name and its check follow the request, as far as nothing is
    written instead."""
    policy = store.mesh_field(db, "outbound_traffic_policy")
    written = policy.tls if isinstance(policy, MeshOutboundPolicy) else None
    tls = unknown_transport(db, written)
    http = cluster.http
    if written is not None and not isinstance(tls.socket, Raw) and not written.sni:
        http = replace(http, has_auto_sni=True, has_auto_san_validation=verifies(db, written) and not written.subject_alt_names)
    dns = Dns(family_of(client), cache="allow_any_dfp_dns_cache", max_hosts=1024, is_insecure=isinstance(tls.socket, Raw))
    return replace(cluster, http=http, transport=tls, dns=dns)


ANY_NAME = "AllowAnyDynamicDNSCluster"
"""Resolves unknown hosts by name. Source: Istio, outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS."""
