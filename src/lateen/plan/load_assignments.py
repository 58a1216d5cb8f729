"""Which endpoints a kind of client gets of a cluster: by port, subset and node, grouped by locality, with priorities and weights. Called for EDS by
`xds.endpoints` and for clusters that carry their endpoints by `outbound_clusters`.

Source: Istio, locality and zone-aware load balancing (failover, failoverPriority, distribute). Clients whose keys are equal share the result.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from math import ceil

from lateen.base.addresses import is_callable
from lateen.config.kinds.istio.traffic_policy import Distribute, Failover, LocalityLb, ZoneAwareLb
from lateen.incremental import Db
from lateen.mesh.endpoints import endpoints
from lateen.mesh.model import Endpoint, Health, Labels, Locality, MtlsMode, selects
from lateen.mesh.networks import Gateway, gateways, scale
from lateen.mesh.peer_authentication import mtls_mode
from lateen.plan.assignment import Assignment, Group, Host

MAX_WEIGHT = 4294967295
"""Envoy refuses endpoints whose weights sum to more."""
_SCALED = 1 << 31
"""An IPv4 address, told ten times as fast as by parsing it."""


class ClientMode(Enum):
    """What a client's own policy says of mesh TLS. AUTO: endpoints decide. ALWAYS: asked for. NEVER: TLS is off, or not the mesh's."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class Placement:
    """How the client's place counts. `has_failover`: ejected endpoints make room for farther ones. `labels`: the client's, of `setting.failover_priority`."""

    setting: LocalityLb | ZoneAwareLb
    locality: Locality
    labels: Labels
    has_failover: bool

    @property
    def distribute(self) -> tuple[Distribute, ...]:
        """Shares of localities; empty: priorities alone count."""
        return self.setting.distribute if isinstance(self.setting, LocalityLb) else ()


@dataclass(frozen=True)
class AssignmentKey:
    """All that a load assignment depends on besides endpoints and peer authentication. `node`: only endpoints there, None: of all nodes.
    `placement` None: the client's place does not count. `named_port`: the client resolves names, of
    endpoints for a port of this number; None: endpoints are addresses, for a port of that name. Source: Istio, which keys the two so."""

    cluster: str
    namespace: str
    hostname: str
    port_name: str
    subset: Labels = ()
    mode: ClientMode = ClientMode.AUTO
    node: str | None = None
    placement: Placement | None = None
    named_port: int | None = None
    network: str | None = None
    """The client's: endpoints of other networks are reached through their gateways. None: no network has gateways."""


def load_assignment(db: Db, key: AssignmentKey) -> Assignment:
    """The endpoints for a key. O(endpoints of the service); whoever emits them keeps the bytes."""
    groups = _groups(db, (one for one in endpoints(db, key.namespace, key.hostname) if _is_chosen(one, key)), key)
    placement = key.placement
    if placement is None:
        return Assignment(key.cluster, groups)
    setting = placement.setting
    if isinstance(setting, ZoneAwareLb):
        groups = _by_region(groups, placement.locality, setting.failover)
    elif setting.distribute:
        groups = _distributed(groups, placement.locality, setting.distribute)
    elif placement.has_failover and (setting.failover or not setting.failover_priority):
        groups = _failed_over(groups, placement.locality, setting.failover)
    return Assignment(key.cluster, _compacted(groups))


def _is_chosen(one: Endpoint, key: AssignmentKey) -> bool:
    is_for_port = one.port_name == key.port_name if key.named_port is None else one.service_port == key.named_port
    if not is_for_port or (key.node is not None and one.node != key.node):
        return False
    if key.subset and not selects(key.subset, _labels(one)):
        return False
    return key.named_port is not None or is_callable(one.address)


def _labels(endpoint: Endpoint) -> Labels:
    """An endpoint's labels with those of its place, as selectors and priorities read them. Source: Istio, labels added to endpoints."""
    place = endpoint.locality
    extra = {
        "topology.kubernetes.io/region": place.region,
        "topology.kubernetes.io/zone": place.zone,
        "topology.istio.io/subzone": place.subzone,
        "topology.istio.io/network": endpoint.network,
        "topology.istio.io/cluster": "Kubernetes",
        "kubernetes.io/hostname": endpoint.node,
    }
    return (*endpoint.labels, *((key, value) for key, value in extra.items() if value))


def takes_mesh_tls(db: Db, endpoint: Endpoint, mode: ClientMode) -> bool:
    """Whether a client speaks mesh TLS to an endpoint: it has a sidecar, and its PeerAuthentication does not switch TLS off at that port."""
    if mode is ClientMode.NEVER or not endpoint.has_mesh_tls:
        return False
    return mode is ClientMode.ALWAYS or mtls_mode(db, endpoint.namespace, endpoint.labels, endpoint.port) is not MtlsMode.DISABLE


def _groups(db: Db, chosen: Iterable[Endpoint], key: AssignmentKey) -> tuple[Group, ...]:
    by_place: dict[tuple[Locality, int], list[Host]] = {}
    wanted = _wanted_labels(key.placement)
    times = 1 if key.network is None else scale(db)
    shares: dict[tuple[Locality, int, Gateway], int] = {}
    for one in chosen:
        weight, has_mesh_tls = (one.weight or 1) * times, takes_mesh_tls(db, one, key.mode)
        entrances = gateways.at(db, one.network) if key.network not in (None, one.network) else None
        if entrances is None:
            host = Host(one.address, one.port, weight, one.health, has_mesh_tls)
            by_place.setdefault((one.locality, _label_priority(one, wanted)), []).append(host)
        elif has_mesh_tls and one.health is Health.HEALTHY:  # a gateway finds its way by the server name of mesh TLS
            for gateway in entrances:
                seen = Endpoint(gateway.address, gateway.port, one.service_port, network=one.network)
                at = (one.locality, _label_priority(seen, wanted), gateway)
                shares[at] = shares.get(at, 0) + weight // len(entrances)
    for (locality, priority, gateway), weight in shares.items():
        by_place.setdefault((locality, priority), []).append(Host(gateway.address, gateway.port, weight, has_mesh_tls=True))
    total = sum(host.weight for hosts in by_place.values() for host in hosts)
    if total > MAX_WEIGHT:
        by_place = {place: [replace(host, weight=max(1, host.weight * _SCALED // total)) for host in hosts] for place, hosts in by_place.items()}
    return tuple(Group(*place, sum(host.weight for host in by_place[place]), tuple(by_place[place])) for place in sorted(by_place))


def _wanted_labels(placement: Placement | None) -> tuple[tuple[str, str], ...]:
    """The labels of a failoverPriority with the values the client has; empty where none is in force."""
    if placement is None or not placement.has_failover or placement.distribute:
        return ()
    own = dict(placement.labels)
    parts = (entry.partition("=") for entry in placement.setting.failover_priority)
    return tuple((name, value if sign else own.get(name, "")) for name, sign, value in parts)


def _label_priority(endpoint: Endpoint, wanted: tuple[tuple[str, str], ...]) -> int:
    """How many labels are left from the first one on that the endpoint does not share; 0: it shares all."""
    labels = dict(_labels(endpoint)) if wanted else {}
    return next((len(wanted) - at for at, (name, value) in enumerate(wanted) if labels.get(name, "") != value), 0)


def is_at(locality: Locality, rule: str) -> bool:
    """Whether a place is within `region/zone/subzone` of a rule; `*` and absent parts match anything. Source: Istio, locality matching."""
    wanted = Locality.parse(rule)
    pairs = ((locality.region, wanted.region), (locality.zone, wanted.zone), (locality.subzone, wanted.subzone))
    return all(want in ("", "*") or want == have for have, want in pairs)


def _distributed(groups: tuple[Group, ...], client: Locality, rules: tuple[Distribute, ...]) -> tuple[Group, ...]:
    """Weights by the first rule for the client's place; localities it does not name get nothing."""
    rule = next((one for one in rules if is_at(client, one.from_)), None)
    if rule is None:
        return groups
    weights: dict[int, int] = {}
    for place in sorted(rule.to, key=lambda place: (-place.count("/") + place.count("*"), place)):
        at = [index for index, group in enumerate(groups) if index not in weights and is_at(group.locality, place)]
        total = sum(groups[index].weight for index in at)
        for index in at:
            weights[index] = ceil(groups[index].weight * rule.to[place] / total) if total else 0
    return tuple(replace(group, weight=weights[index]) for index, group in enumerate(groups) if weights.get(index))


def _distance(client: Locality, other: Locality) -> int:
    """0: same subzone; 1: same zone; 2: same region; 3: elsewhere."""
    if client.region != other.region:
        return 3
    if client.zone != other.zone:
        return 2
    return 1 if client.subzone != other.subzone else 0


def _failed_over(groups: tuple[Group, ...], client: Locality, rules: tuple[Failover, ...]) -> tuple[Group, ...]:
    """Priorities by distance, within those that labels gave. Where a rule names the client's region, regions it does not send to come last."""
    target = next((rule.to for rule in rules if rule.from_ == client.region), None)
    found = []
    for group in groups:
        distance = _distance(client, group.locality)
        if distance == 3 and target is not None and group.locality.region != target:
            distance = 4
        found.append(replace(group, priority=group.priority * 5 + distance))
    return tuple(found)


def _by_region(groups: tuple[Group, ...], client: Locality, rules: tuple[Failover, ...]) -> tuple[Group, ...]:
    """Priorities by region, within those that labels gave: the client's own, where Envoy weighs zones; the one that the first rule for it names; the rest."""
    target = next((rule.to for rule in rules if rule.from_ == client.region), None)
    found = []
    for group in groups:
        region = group.locality.region
        found.append(replace(group, priority=group.priority * 3 + (0 if region == client.region else 1 if region == target else 2)))
    return tuple(found)


def _compacted(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Priorities counted from 0 without a gap, as Envoy wants them; nearest first."""
    ranks: Mapping[int, int] = {priority: rank for rank, priority in enumerate(sorted({group.priority for group in groups}))}
    return tuple(sorted((replace(group, priority=ranks[group.priority]) for group in groups), key=lambda group: (group.priority, group.locality)))
