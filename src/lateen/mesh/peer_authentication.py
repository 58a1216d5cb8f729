"""Peer authentication: what a workload's ports accept, plaintext or mutual TLS, once mesh, namespace and workload policies are merged.

Called by `plan` (inbound chains), by the rules of clusters (whether a client may speak mutual TLS) and by findings. Writes nothing, knows no Envoy.
"""

from lateen.base.findings import Finding, Severity
from lateen.config.kinds.istio.peer_authentication import MutualTls, MutualTlsMode, PeerAuthentication
from lateen.config.store import everywhere, in_namespace, ref, root_namespace
from lateen.incremental import Db, query
from lateen.mesh.model import Labels, MtlsMode, label_pairs, selects

_MODES = {MutualTlsMode.DISABLE: MtlsMode.DISABLE, MutualTlsMode.PERMISSIVE: MtlsMode.PERMISSIVE, MutualTlsMode.STRICT: MtlsMode.STRICT}


def _selector(policy: PeerAuthentication) -> Labels:
    return label_pairs(policy.spec.selector.match_labels) if policy.spec.selector else ()


def _mode(setting: MutualTls | None) -> MtlsMode | None:
    return _MODES.get(setting.mode) if setting else None


def _by_age(db: Db, namespace: str) -> list[PeerAuthentication]:
    """The namespace's policies, oldest first. Source: Istio compares creation times themselves here, and none at all is before any."""
    return sorted(in_namespace(db, PeerAuthentication, namespace), key=lambda policy: (policy.meta.created or 0.0, policy.name))


@query
def _wide_mode(db: Db, namespace: str) -> MtlsMode | None:
    """The mode of the oldest policy for the whole namespace; None: there is none, or it inherits."""
    wide = (policy for policy in _by_age(db, namespace) if not _selector(policy))
    oldest = next(wide, None)
    return _mode(oldest.spec.mtls) if oldest else None


@query
def namespace_mode(db: Db, namespace: str) -> MtlsMode:
    """What workloads of the namespace accept where no policy selects them: namespace, then mesh, then PERMISSIVE. Source: Istio, PeerAuthentication scopes."""
    own = _wide_mode(db, namespace) if namespace != root_namespace(db) else None
    return own or _wide_mode(db, root_namespace(db)) or MtlsMode.PERMISSIVE


@query
def _workload_policies(db: Db, namespace: str) -> tuple[tuple[Labels, PeerAuthentication], ...]:
    """Selector and policy of those that select workloads, oldest first. In the root namespace a selector has no effect."""
    if namespace == root_namespace(db):
        return ()
    return tuple((_selector(policy), policy) for policy in _by_age(db, namespace) if _selector(policy))


def workload_policy(db: Db, namespace: str, labels: Labels) -> PeerAuthentication | None:
    """The oldest policy that selects a workload by its labels; None: none does."""
    return next((policy for selector, policy in _workload_policies(db, namespace) if selects(selector, labels)), None)


def mtls_mode(db: Db, namespace: str, labels: Labels, port: int | None = None) -> MtlsMode:
    """What a workload accepts at its own port `port`; None: at ports no policy names. Source: Istio PeerAuthentication,
    precedence workload > namespace > mesh."""
    policy = workload_policy(db, namespace, labels)
    if policy is None:
        return namespace_mode(db, namespace)
    by_port = _mode(policy.spec.port_level_mtls.get(str(port))) if port is not None else None
    return by_port or _mode(policy.spec.mtls) or namespace_mode(db, namespace)


def port_modes(db: Db, namespace: str, labels: Labels) -> tuple[tuple[int, MtlsMode], ...]:
    """Ports that a policy names for this workload, with their modes, by number; also ports that no service has."""
    policy = workload_policy(db, namespace, labels)
    ports = sorted(int(port) for port in policy.spec.port_level_mtls if port.isdigit()) if policy else []
    return tuple((port, mtls_mode(db, namespace, labels, port)) for port in ports)


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """Policies without effect: a second one for the same scope, port settings without a selector, a selector in the root namespace."""
    found: list[Finding] = []
    scopes: dict[tuple[str, Labels], PeerAuthentication] = {}
    for policy in everywhere(db, PeerAuthentication):
        selector, name = _selector(policy), ref(policy)
        if winner := scopes.get((policy.namespace, selector)):
            text = f"has no effect, an older policy has the same scope: `{winner.namespace}/{winner.name}`"
            found.append(Finding("LTN0201", Severity.WARNING, text, name, "spec.selector", "merge the two"))
            continue
        scopes[policy.namespace, selector] = policy
        if policy.spec.port_level_mtls and not selector:
            text = "port settings count only together with a selector"
            found.append(Finding("LTN0202", Severity.WARNING, text, name, "spec.portLevelMtls", "add `selector.matchLabels`"))
        if selector and policy.namespace == root_namespace(db):
            text = "a selector has no effect in the root namespace"
            found.append(Finding("LTN0203", Severity.WARNING, text, name, "spec.selector", "move the policy to the workload's namespace"))
    return tuple(found)
