"""DestinationRules in force: which one counts for a client and a host, how several of one host merge, and the policy of a port and subset.

Called by `plan` (clusters, load assignments, hash policies). Source: Istio, DestinationRule lookup (client's namespace, service's, root) and merging.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from lateen.base.names import ObjectRef, full_host
from lateen.config import store
from lateen.config.kinds.istio.destination_rule import DestinationRule, Subset
from lateen.config.kinds.istio.mesh_config import DefaultTrafficPolicy
from lateen.config.kinds.istio.traffic_policy import PortTrafficPolicy, TrafficPolicy
from lateen.incremental import Db, index, query
from lateen.mesh.model import Labels, label_pairs, selects
from lateen.mesh.service_entries import exported_to


@dataclass(frozen=True)
class EffectiveRule:
    """One DestinationRule, or several of one host and namespace merged. `host`: fully qualified. `origins`: the rules it is made of, oldest first.
    `selector`: empty: for every client; else only for clients of its namespace with these labels."""

    host: str
    namespace: str
    traffic_policy: TrafficPolicy | None
    subsets: tuple[Subset, ...]
    origins: tuple[ObjectRef, ...]
    export_to: frozenset[str]
    selector: Labels = ()

    def subset(self, name: str) -> Subset | None:
        """The subset of that name; None: there is none."""
        return next((one for one in self.subsets if one.name == name), None)

    def is_visible_to(self, namespace: str) -> bool:
        """Exported to a client's namespace. Rules with a selector never leave their own."""
        return not self.selector and bool(self.export_to & {"*", namespace})


class Pool(Enum):
    """The rules of a namespace that count for some clients. LOCAL: for its own. EXPORTED: for those of other namespaces. PRIVATE: only for its own, which is
    all that a proxy of the root namespace takes from there first. Source: Istio, destination rule index."""

    LOCAL = "local"
    EXPORTED = "exported"
    PRIVATE = "private"

    def takes(self, heading: "_Heading", namespace: str) -> bool:
        """Whether a rule of `namespace` is in it."""
        is_private = heading.has_selector or heading.export_to == {namespace}
        match self:
            case Pool.LOCAL:
                return heading.has_selector or bool(heading.export_to & {"*", namespace})
            case Pool.EXPORTED:
                return not is_private
            case Pool.PRIVATE:
                return is_private
            case _ as never:
                assert_never(never)


@dataclass(frozen=True)
class _Heading:
    host: str
    export_to: frozenset[str]
    has_selector: bool


@query
def _heading(db: Db, namespace: str, name: str) -> _Heading | None:
    """What lookups read of one rule; None: there is none."""
    rule = store.one(db, DestinationRule, namespace, name)
    return _Heading(full_host(rule.spec.host.lower(), namespace), _export_to(db, rule), bool(_selector(rule))) if rule else None


def _export_to(db: Db, rule: DestinationRule) -> frozenset[str]:
    defaults = store.mesh_field(db, "default_destination_rule_export_to")
    return exported_to(rule.spec.export_to or (defaults if isinstance(defaults, tuple) else ()), rule.meta.namespace)


@index
def _names_by_host(db: Db, namespace: str, pool: Pool) -> Mapping[str, tuple[str, ...]]:
    """Host → names of the namespace's DestinationRules for it, unordered."""
    found: dict[str, list[str]] = {}
    for key in store.OBJECTS.keys(db, ("DestinationRule", namespace)):
        heading = _heading(db, namespace, key.name)
        if heading is not None and pool.takes(heading, namespace):
            found.setdefault(heading.host, []).append(key.name)
    return {host: tuple(sorted(names)) for host, names in found.items()}


@query
def _wild_hosts(db: Db, namespace: str, pool: Pool) -> tuple[str, ...]:
    """Hosts with a wildcard, longest first."""
    return tuple(sorted((host for host in _names_by_host.whole(db, namespace, pool) if host.startswith("*")), key=lambda host: (-len(host), host)))


@query
def merged_rules(db: Db, namespace: str, pool: Pool, host: str) -> tuple[EffectiveRule, ...]:
    """The rules of a namespace written for exactly this host, merged: those with a selector first. Policies are the oldest's that has one, of two subsets
    of one name the older one counts. Rules of different exportTo stay apart."""
    found = (store.one(db, DestinationRule, namespace, name) for name in _names_by_host.at(db, host, namespace, pool) or ())
    written = sorted((rule for rule in found if rule is not None), key=lambda rule: (not _selector(rule), store.age(rule)))
    merged: list[EffectiveRule] = []
    for rule in written:
        new = _alone(db, rule, host)
        is_own = True
        for at, old in enumerate(merged):
            if old.selector and new.selector and old.selector != new.selector:
                continue
            if not old.selector and not new.selector:
                if old.export_to == new.export_to:
                    is_own = False
                elif not old.export_to <= new.export_to:
                    continue
            elif old.selector and new.selector:
                is_own = False
            merged[at] = _merged(old, new)
        if is_own:
            merged.append(new)
    return tuple(merged)


def _selector(rule: DestinationRule) -> Labels:
    return label_pairs(rule.spec.workload_selector.match_labels) if rule.spec.workload_selector else ()


def _alone(db: Db, rule: DestinationRule, host: str) -> EffectiveRule:
    subsets: dict[str, Subset] = {}
    for subset in rule.spec.subsets:
        subsets.setdefault(subset.name, subset)
    return EffectiveRule(
        host=host,
        namespace=rule.meta.namespace,
        traffic_policy=rule.spec.traffic_policy,
        subsets=tuple(subsets.values()),
        origins=(store.ref(rule),),
        export_to=_export_to(db, rule),
        selector=_selector(rule),
    )


def _merged(old: EffectiveRule, new: EffectiveRule) -> EffectiveRule:
    known = {subset.name for subset in old.subsets}
    return EffectiveRule(
        host=old.host,
        namespace=old.namespace,
        traffic_policy=new.traffic_policy if old.traffic_policy is None else old.traffic_policy,
        subsets=(*old.subsets, *(subset for subset in new.subsets if subset.name not in known)),
        origins=(*old.origins, *new.origins),
        export_to=old.export_to,
        selector=old.selector,
    )


def most_specific(hostname: str, exact: frozenset[str], wild: Iterable[str]) -> str | None:
    """The most specific of some hosts that covers `hostname`, itself a wildcard or not. `wild`: longest first. None: none does."""
    if hostname in exact:
        return hostname
    return next((host for host in wild if hostname == host or hostname.endswith(host[1:])), None)


@dataclass(frozen=True)
class RuleKey:
    """Names one rule in force: the one at `position` of `merged_rules`. Clients that share a rule share all that follows from it."""

    namespace: str
    pool: Pool
    host: str
    position: int


def _candidates(db: Db, namespace: str, pool: Pool, hostname: str) -> tuple[str, tuple[EffectiveRule, ...]]:
    """The most specific host a namespace has rules for that covers `hostname`, and those rules; empty: none. Reads an exact host by its key, so that a new
    rule for another host touches nothing."""
    if _names_by_host.at(db, hostname, namespace, pool):
        return hostname, merged_rules(db, namespace, pool, hostname)
    host = most_specific(hostname, frozenset(), _wild_hosts(db, namespace, pool))
    return (host, merged_rules(db, namespace, pool, host)) if host is not None else ("", ())


@dataclass(frozen=True)
class Ruling:
    """Which clients the DestinationRules that cover a host tell apart. `homes`: the namespaces the rules are in. `is_uneven`: some rule is exported to
    other single namespaces."""

    homes: frozenset[str] = frozenset()
    is_uneven: bool = False

    def parts(self, namespace: str) -> bool:
        """Whether clients of a namespace may have another rule than most."""
        return self.is_uneven or namespace in self.homes


@index
def _rulings(db: Db) -> Mapping[str, Ruling]:
    """Host, exact or wildcard → what the rules written for just that host come to."""
    found: dict[str, Ruling] = {}
    for key in store.OBJECTS.keys(db, (DestinationRule.__name__,)):
        heading = _heading(db, key.namespace, key.name)
        if heading is not None:
            is_even = heading.has_selector or "*" in heading.export_to or heading.export_to <= {key.namespace, "~"}
            held = found.get(heading.host, Ruling())
            found[heading.host] = Ruling(held.homes | {key.namespace}, held.is_uneven or not is_even)
    return found


@query
def _wild_rulings(db: Db) -> tuple[tuple[str, Ruling], ...]:
    return tuple(sorted((item for item in _rulings.whole(db).items() if item[0].startswith("*")), key=lambda item: item[0]))


@query
def ruling(db: Db, hostname: str) -> Ruling:
    """Of all rules that cover a host. One answer for all clients: where there is no rule, or one for everybody, none of them looks at its own namespace."""
    found = _rulings.at(db, hostname) or Ruling()
    for wild, other in _wild_rulings(db):
        if hostname.endswith(wild[1:]):
            found = Ruling(found.homes | other.homes, found.is_uneven or other.is_uneven)
    return found


def rule_key(db: Db, client_namespace: str, service_namespace: str, hostname: str, labels: Labels = ()) -> RuleKey | None:
    """Which rule is in force for a client's calls to a host: of the client's namespace, else the service's, else the root namespace's; the first that has
    any wins whole. `labels`: the client's, as `rule_labels` leaves them. None: none."""
    found = ruling(db, hostname)
    if found.parts(client_namespace):
        return _rule_key(db, client_namespace, service_namespace, hostname, labels)
    return common_key(db, service_namespace, hostname) if found.homes else None


@query
def common_key(db: Db, service_namespace: str, hostname: str) -> RuleKey | None:
    """The same for clients of any namespace that the host's `ruling` does not part from the others."""
    for namespace in dict.fromkeys((service_namespace, store.root_namespace(db))):
        host, found = _candidates(db, namespace, Pool.EXPORTED, hostname)
        exported = tuple((at, rule) for at, rule in enumerate(found) if "*" in rule.export_to)
        if exported:
            return _chosen(namespace, Pool.EXPORTED, host, exported, ())
    return None


@query
def _rule_key(db: Db, client_namespace: str, service_namespace: str, hostname: str, labels: Labels) -> RuleKey | None:
    root = store.root_namespace(db)
    pool = Pool.PRIVATE if client_namespace == root else Pool.LOCAL
    host, local = _candidates(db, client_namespace, pool, hostname)
    if local:
        return _chosen(client_namespace, pool, host, tuple(enumerate(local)), labels)
    for namespace in dict.fromkeys((service_namespace, root)):
        host, found = _candidates(db, namespace, Pool.EXPORTED, hostname)
        exported = tuple((at, rule) for at, rule in enumerate(found) if rule.is_visible_to(client_namespace))
        if exported:
            return _chosen(namespace, Pool.EXPORTED, host, exported, ())
    return None


def _chosen(namespace: str, pool: Pool, host: str, rules: tuple[tuple[int, EffectiveRule], ...], labels: Labels) -> RuleKey | None:
    """A rule whose selector takes the client, else the last one for all."""
    selecting = next((at for at, rule in rules if rule.selector and selects(rule.selector, labels)), None)
    general = next((at for at, rule in reversed(rules) if not rule.selector), None)
    position = general if selecting is None else selecting
    return None if position is None else RuleKey(namespace, pool, host, position)


def rule_of(db: Db, key: RuleKey | None) -> EffectiveRule | None:
    """The rule a key names."""
    rules = merged_rules(db, key.namespace, key.pool, key.host) if key is not None else ()
    return rules[key.position] if key is not None and key.position < len(rules) else None


def destination_rule(db: Db, client_namespace: str, service_namespace: str, hostname: str, labels: Labels = ()) -> EffectiveRule | None:
    """The rule in force for a client's calls to a host, as `rule_key` chooses it. None: none."""
    return rule_of(db, rule_key(db, client_namespace, service_namespace, hostname, labels))


@query
def _selector_keys(db: Db, namespace: str) -> frozenset[str]:
    names = (key.name for key in store.OBJECTS.keys(db, ("DestinationRule", namespace)))
    return frozenset(key for name in names for key in _rule_keys(db, namespace, name))


@query
def _rule_keys(db: Db, namespace: str, name: str) -> frozenset[str]:
    rule = store.one(db, DestinationRule, namespace, name)
    return frozenset(key for key, _ in _selector(rule)) if rule else frozenset()


@query
def rule_labels(db: Db, namespace: str, labels: Labels) -> Labels:
    """The part of a client's labels that selectors of its namespace's DestinationRules read; nearly always empty, so that clients share lookups."""
    keys = _selector_keys(db, namespace)
    return tuple(pair for pair in labels if pair[0] in keys)


def subset_names(rule: EffectiveRule | None) -> tuple[str, ...]:
    """The subsets that get clusters, in the rule's order."""
    return tuple(subset.name for subset in rule.subsets) if rule else ()


def policy_of(db: Db, rule: EffectiveRule | None, port: int, subset: str) -> TrafficPolicy:
    """A rule's policy for a port and subset, merged: mesh baseline, rule, rule's port, subset, subset's port. A port's settings replace the policy
    of its level whole; the others are taken field by field. Source: Istio, DestinationRule precedence."""
    policy = _baseline(db)
    if rule is None:
        return policy
    policy = _overlaid(policy, rule.traffic_policy, port)
    chosen = rule.subset(subset) if subset else None
    return _overlaid(policy, chosen.traffic_policy if chosen else None, port)


def _baseline(db: Db) -> TrafficPolicy:
    written = store.mesh_field(db, "default_traffic_policy")
    if not isinstance(written, DefaultTrafficPolicy):
        return TrafficPolicy()
    return TrafficPolicy(connection_pool=written.connection_pool, outlier_detection=written.outlier_detection)


def _overlaid(below: TrafficPolicy, over: TrafficPolicy | None, port: int) -> TrafficPolicy:
    if over is None:
        return below
    of_port = next((one for one in over.port_level_settings if one.port is not None and one.port.number == port), None)
    if of_port is not None:
        return TrafficPolicy(
            load_balancer=of_port.load_balancer,
            connection_pool=of_port.connection_pool,
            outlier_detection=of_port.outlier_detection,
            tls=of_port.tls,
            tunnel=below.tunnel,
            proxy_protocol=below.proxy_protocol,
            retry_budget=below.retry_budget,
        )
    return TrafficPolicy(
        load_balancer=over.load_balancer or below.load_balancer,
        connection_pool=over.connection_pool or below.connection_pool,
        outlier_detection=over.outlier_detection or below.outlier_detection,
        tls=over.tls or below.tls,
        tunnel=over.tunnel or below.tunnel,
        proxy_protocol=over.proxy_protocol or below.proxy_protocol,
        retry_budget=over.retry_budget or below.retry_budget,
    )


def written_policies(rule: DestinationRule) -> Iterator[tuple[str, TrafficPolicy | PortTrafficPolicy]]:
    """Every policy of a rule, with its path."""
    policies = [("spec.trafficPolicy", rule.spec.traffic_policy)]
    policies += [(f"spec.subsets[{at}].trafficPolicy", subset.traffic_policy) for at, subset in enumerate(rule.spec.subsets)]
    for path, policy in policies:
        if policy is not None:
            yield path, policy
            yield from ((f"{path}.portLevelSettings[{at}]", port) for at, port in enumerate(policy.port_level_settings))
