"""What gRPC clients without a proxy do not do, of what VirtualServices and DestinationRules ask: told only where such clients are. Called by `mesh.findings`.

Each object is looked at by a query of its own. Workloads count by their pod templates. Source: gRPC A28, A31, A42, A44, A50; what gRPC reads is listed there.
"""

from collections.abc import Callable, Iterator
from typing import Any

from lateen.base.findings import Finding, Severity
from lateen.base.names import MESH_GATEWAY, ObjectRef, is_proxyless
from lateen.config.kinds.istio.destination_rule import DestinationRule
from lateen.config.kinds.istio.peer_authentication import MutualTlsMode, PeerAuthentication
from lateen.config.kinds.istio.traffic_policy import ClientTlsMode, LoadBalancer, PortTrafficPolicy, SimpleLb, TrafficPolicy
from lateen.config.kinds.istio.virtual_service import HttpRoute, VirtualService
from lateen.config.kinds.kubernetes.workloads import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lateen.config.store import OBJECTS, everywhere, in_namespace, one, ref, root_namespace
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import written_policies
from lateen.mesh.model import Labels, label_pairs, selects

ROUTES, DESTINATIONS, UNHELD = "LTN0711", "LTN0712", "LTN0713"
RETRIED = frozenset(("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"))
"""The conditions that gRPC retries on. Source: gRPC A44."""
_TEMPLATED = (Deployment, StatefulSet, DaemonSet, ReplicaSet)


def _has_header_operations(route: HttpRoute) -> bool:
    return route.headers is not None or any(to.headers is not None for to in route.route)


def _never_retries(route: HttpRoute) -> bool:
    if route.retries is None or route.retries.attempts <= 0 or not route.retries.retry_on:
        return False
    return RETRIED.isdisjoint(part.strip() for part in route.retries.retry_on.split(","))


_OF_ROUTES: tuple[tuple[str, Callable[[HttpRoute], bool], str], ...] = (
    ("mirror", lambda route: route.mirror is not None, "copy no requests"),
    ("mirrors", lambda route: bool(route.mirrors), "copy no requests"),
    ("redirect", lambda route: route.redirect is not None, "follow no redirects: the call fails with UNAVAILABLE"),
    ("directResponse", lambda route: route.direct_response is not None, "know no direct responses: the call fails with UNAVAILABLE"),
    ("rewrite", lambda route: route.rewrite is not None, "rewrite neither path nor authority"),
    ("headers", _has_header_operations, "change no headers"),
    ("retries.perTryTimeout", lambda route: route.retries is not None and route.retries.per_try_timeout is not None, "have no timeout of a single try"),
    ("retries.retryOn", _never_retries, f"retry on none of these conditions, only on {', '.join(sorted(RETRIED))}"),
)


def _is_other_balancer(policy: TrafficPolicy | PortTrafficPolicy) -> bool:
    chosen = policy.load_balancer
    return chosen is not None and chosen.simple not in (None, SimpleLb.UNSPECIFIED, SimpleLb.ROUND_ROBIN)


def _is_other_hash(policy: TrafficPolicy | PortTrafficPolicy) -> bool:
    hashing = (policy.load_balancer or LoadBalancer()).consistent_hash
    return hashing is not None and (not hashing.http_header_name or hashing.maglev is not None)


def _is_other_tls(policy: TrafficPolicy | PortTrafficPolicy) -> bool:
    return policy.tls is not None and policy.tls.mode in (ClientTlsMode.SIMPLE, ClientTlsMode.MUTUAL)


_OF_POLICIES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (  # Any: a policy, or a port's
    ("loadBalancer.simple", _is_other_balancer, "take endpoints in turn"),
    ("loadBalancer.consistentHash", _is_other_hash, "hash by a header and on a ring, and else choose as they like"),
    ("outlierDetection", lambda policy: policy.outlier_detection is not None, "count no consecutive errors: no endpoint is ejected"),
    ("tls", _is_other_tls, "use the mesh's certificates or none: they send in the clear"),
)


@query
def proxyless_namespaces(db: Db) -> frozenset[str]:
    """Where workloads are whose gRPC library is configured itself."""
    return frozenset(key.namespace for kind in _TEMPLATED for key in OBJECTS.keys(db, (kind.__name__,)) if _has_proxyless(db, kind, key.namespace))


@query
def _has_proxyless(db: Db, kind: type[Deployment | StatefulSet | DaemonSet | ReplicaSet], namespace: str) -> bool:
    return any(is_proxyless(item.spec.template.metadata.annotations) for item in in_namespace(db, kind, namespace))


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """Of all VirtualServices and DestinationRules that such clients see."""
    homes = proxyless_namespaces(db)
    if not homes:
        return ()
    routes = (finding for key in sorted(OBJECTS.keys(db, (VirtualService.__name__,))) for finding in route_findings(db, key, homes))
    rules = (finding for key in sorted(OBJECTS.keys(db, (DestinationRule.__name__,))) for finding in rule_findings(db, key, homes))
    return (*routes, *rules, *_unheld(db))


@query
def route_findings(db: Db, key: ObjectRef, homes: frozenset[str]) -> tuple[Finding, ...]:
    """Of one VirtualService. `homes`: namespaces of such clients."""
    service = one(db, VirtualService, key.namespace, key.name)
    if service is None or (service.spec.gateways and MESH_GATEWAY not in service.spec.gateways) or not _reaches(service.spec.export_to, key, homes):
        return ()
    found = []
    for at, route in enumerate(service.spec.http):
        for path, holds, what in _OF_ROUTES:
            if holds(route):
                found.append(_finding(ROUTES, key, f"spec.http[{at}].{path}", what))
    return tuple(found)


@query
def rule_findings(db: Db, key: ObjectRef, homes: frozenset[str]) -> tuple[Finding, ...]:
    """Of one DestinationRule."""
    rule = one(db, DestinationRule, key.namespace, key.name)
    if rule is None or not _reaches(rule.spec.export_to, key, homes):
        return ()
    return tuple(
        _finding(DESTINATIONS, key, f"{path}.{part}", what) for path, policy in written_policies(rule) for part, holds, what in _OF_POLICIES if holds(policy)
    )


@query
def _proxyless_servers(db: Db, kind: type[Deployment | StatefulSet | DaemonSet | ReplicaSet], namespace: str) -> tuple[tuple[str, Labels], ...]:
    """Name and labels of workloads without a proxy that declare a port."""
    found = []
    for item in in_namespace(db, kind, namespace):
        template = item.spec.template
        if is_proxyless(template.metadata.annotations) and any(container.ports for container in template.spec.containers):
            found.append((item.meta.name, label_pairs(template.metadata.labels)))
    return tuple(found)


def _unheld(db: Db) -> Iterator[Finding]:
    """STRICT at workloads that have no proxy to hold it."""
    servers = [
        (namespace, name, labels)
        for namespace in sorted(proxyless_namespaces(db))
        for kind in _TEMPLATED
        for name, labels in _proxyless_servers(db, kind, namespace)
    ]
    for policy in everywhere(db, PeerAuthentication) if servers else ():
        if policy.spec.mtls is None or policy.spec.mtls.mode is not MutualTlsMode.STRICT:
            continue
        selector = label_pairs(policy.spec.selector.match_labels) if policy.spec.selector else ()
        scope = {policy.namespace} if policy.namespace != root_namespace(db) or selector else {namespace for namespace, _, _ in servers}
        held = [f"`{namespace}/{name}`" for namespace, name, labels in servers if namespace in scope and selects(selector, labels)]
        if held:
            text = (
                f"no proxy holds it at {', '.join(held[:3])}{' …' if len(held) > 3 else ''}: a gRPC server does if it serves with xDS credentials, nothing else"
            )
            hint = "callers need a DestinationRule with `tls: {mode: ISTIO_MUTUAL}`"
            yield Finding(UNHELD, Severity.WARNING, text, ref(policy), "spec.mtls.mode", hint)


def _reaches(export_to: tuple[str, ...], key: ObjectRef, homes: frozenset[str]) -> bool:
    targets = {key.namespace if target == "." else target for target in export_to}
    return not targets or "*" in targets or not targets.isdisjoint(homes)


def _finding(code: str, key: ObjectRef, field: str, what: str) -> Finding:
    hint = "workloads that need it want a sidecar: no `grpc-agent` among `inject.istio.io/templates`"
    return Finding(code, Severity.INFO, f"gRPC clients without a proxy {what}", key, field, hint)
