"""What is wrong with DestinationRules in this mesh: hosts nobody has, subsets that select nothing, settings an older rule or a missing block leaves without
effect.

Each rule is looked at by a query of its own; traffic is not touched by any of it. Called by `mesh.findings`. Codes: Istio's analyzers; LTN: ours.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef, full_host
from lateen.config.kinds.istio.destination_rule import DestinationRule
from lateen.config.kinds.istio.traffic_policy import ClientTls, ClientTlsMode, ConsistentHash
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.kubernetes.workloads import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lateen.config.store import OBJECTS, in_namespace, one
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import written_policies
from lateen.mesh.endpoints import endpoints
from lateen.mesh.hosts import is_within
from lateen.mesh.model import Labels, label_pairs, selects
from lateen.mesh.pods import pods_selected
from lateen.mesh.services import service, services_by_host

MAX_TABLE = 5000011
"""The largest Maglev table Envoy takes."""


@query
def destination_findings(db: Db) -> tuple[Finding, ...]:
    """Of all DestinationRules, by namespace and name."""
    keys = sorted(OBJECTS.keys(db, (DestinationRule.__name__,)))
    return tuple(finding for key in keys for finding in rule_findings(db, key))


@query
def rule_findings(db: Db, key: ObjectRef) -> tuple[Finding, ...]:
    """Of one DestinationRule."""
    rule = one(db, DestinationRule, key.namespace, key.name)
    if rule is None:
        return ()
    host = full_host(rule.spec.host.lower(), key.namespace)
    found = (*_host(db, key, host), *_subsets(db, rule, key, host), *_rivals(db, rule, key, host), *_policies(rule, key))
    return tuple(found)


@query
def _known_hosts(db: Db) -> tuple[str, ...]:
    return tuple(sorted(services_by_host.whole(db)))


def _host(db: Db, key: ObjectRef, host: str) -> Iterator[Finding]:
    known = _known_hosts(db)
    if host in known or any(is_within(one, host) for one in known) or any(is_within(host, one) for one in known if one.startswith("*")):
        return
    near = get_close_matches(host, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else "the rule counts as soon as there is such a service"
    yield Finding("IST0174", Severity.WARNING, f"no service has this host: `{host}`", key, "spec.host", hint)


@query
def _label_sets(db: Db, namespace: str, hostname: str) -> frozenset[Labels]:
    """The different labels of a host's endpoints, and those that workloads will give pods that are not there yet."""
    found = service(db, namespace, hostname)
    selector = found.selector if found else ()
    templates = (labels for kind in TEMPLATED for labels in _template_labels(db, kind, namespace))
    expected = {labels for labels in templates if selector and selects(selector, labels)}
    pods = (one(db, Pod, namespace, name) for name in pods_selected(db, namespace, selector))
    expected |= {label_pairs(pod.meta.labels) for pod in pods if pod is not None}
    return frozenset(one.labels for one in endpoints(db, namespace, hostname)) | expected


TEMPLATED = (Deployment, StatefulSet, DaemonSet, ReplicaSet)
"""Kinds that make pods."""


@query
def _template_labels(db: Db, kind: type[Deployment | StatefulSet | DaemonSet | ReplicaSet], namespace: str) -> frozenset[Labels]:
    return frozenset(label_pairs(item.spec.template.metadata.labels) for item in in_namespace(db, kind, namespace))


def _subsets(db: Db, rule: DestinationRule, key: ObjectRef, host: str) -> Iterator[Finding]:
    sets = [labels for found in services_by_host.at(db, host) or () for labels in _label_sets(db, found.namespace, host)]
    seen: set[str] = set()
    for at, subset in enumerate(rule.spec.subsets):
        field = f"spec.subsets[{at}]"
        if subset.name in seen:
            yield Finding("LTN0501", Severity.WARNING, f"a subset of that name is there already: `{subset.name}`", key, f"{field}.name", "the first one counts")
        seen.add(subset.name)
        wanted = label_pairs(subset.labels)
        if sets and wanted and not any(selects(wanted, labels) for labels in sets):
            text = f"the subset selects no endpoint of the host; calls to it answer 503: `{subset.name}`"
            yield Finding("IST0173", Severity.ERROR, text, key, f"{field}.labels", "give workloads these labels")


def _rivals(db: Db, rule: DestinationRule, key: ObjectRef, host: str) -> Iterator[Finding]:
    """What older rules for the same host in the same namespace leave without effect."""
    own_selector = rule.spec.workload_selector
    for other in in_namespace(db, DestinationRule, key.namespace):
        if other.meta.name == rule.meta.name:
            return
        if full_host(other.spec.host.lower(), key.namespace) != host or other.spec.workload_selector != own_selector:
            continue
        name = f"`{other.meta.namespace}/{other.meta.name}`"
        if other.spec.traffic_policy is not None and rule.spec.traffic_policy is not None:
            text = f"has no effect, an older rule for this host has a policy: {name}"
            yield Finding("LTN0502", Severity.WARNING, text, key, "spec.trafficPolicy", "merge the two rules")
        taken = {subset.name for subset in other.spec.subsets}
        for at, subset in enumerate(rule.spec.subsets):
            if subset.name in taken:
                text = f"an older rule for this host has a subset of that name, which counts: {name}"
                yield Finding("LTN0501", Severity.WARNING, text, key, f"spec.subsets[{at}].name", "merge the two rules")


def _policies(rule: DestinationRule, key: ObjectRef) -> Iterator[Finding]:
    for path, policy in written_policies(rule):
        balancer = policy.load_balancer
        setting = balancer.locality_lb_setting if balancer else None
        if setting is not None and policy.outlier_detection is None and (setting.failover or setting.failover_priority):
            text = "failover has no effect without outlier detection: nothing ever counts as failed"
            yield Finding("LTN0503", Severity.WARNING, text, key, f"{path}.loadBalancer.localityLbSetting", "add `outlierDetection: {}` beside it")
        if policy.tls is not None and policy.tls.credential_name and rule.spec.workload_selector is None:
            text = "gateways use it; sidecars only under a rule with a workloadSelector, and send in the clear under this one"
            yield Finding("LTN0504", Severity.INFO, text, key, f"{path}.tls.credentialName", "add `workloadSelector` if sidecars are meant")
        if policy.tls is not None:
            yield from _verification(policy.tls, rule.spec.workload_selector is not None, key, path)
        if balancer is not None and balancer.consistent_hash is not None:
            yield from _table(balancer.consistent_hash, key, f"{path}.loadBalancer.consistentHash")


def _verification(tls: ClientTls, has_selector: bool, key: ObjectRef, path: str) -> Iterator[Finding]:
    """TLS to a server whose certificate no root of the user's vouches for."""
    is_own = tls.mode in (ClientTlsMode.SIMPLE, ClientTlsMode.MUTUAL)
    if not is_own or tls.ca_certificates or tls.insecure_skip_verify or (tls.credential_name and has_selector):
        return
    code = "IST0129" if ".portLevelSettings" in path else "IST0128"
    text = "names no root for the server's certificate: sidecars take what the machine's own roots vouch for"
    yield Finding(code, Severity.INFO, text, key, f"{path}.tls", "name the server's root in `caCertificates`")


def _table(hashing: ConsistentHash, key: ObjectRef, path: str) -> Iterator[Finding]:
    size = hashing.maglev.table_size if hashing.maglev else 0
    if size and (size > MAX_TABLE or any(size % factor == 0 for factor in range(2, int(size**0.5) + 1))):
        text = f"no prime up to {MAX_TABLE}; the next one is taken: `{size}`"
        yield Finding("LTN0505", Severity.WARNING, text, key, f"{path}.maglev.tableSize", "65537 is the usual size")
