"""What is wrong with the mesh's own settings, where Istio takes them without a word. Called by `mesh.findings`."""

from collections.abc import Iterator

from lateen.base.findings import Finding, Severity
from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config.kinds.istio.mesh_config import MeshOutboundMode, MeshOutboundPolicy, ServiceEntryVisibility
from lateen.config.kinds.istio.traffic_policy import ClientTlsMode
from lateen.config.store import mesh_field
from lateen.incremental import Db, query

MESH_CONFIG = ObjectRef("ConfigMap", ROOT_NAMESPACE, "istio")


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """All of them, in order of the fields."""
    return (*_detection(db), *_unknown_hosts(db), *_visibility(db))


def _finding(code: str, severity: Severity, text: str, hint: str) -> Finding:
    return Finding(code, severity, text, MESH_CONFIG, "data.mesh", hint)


def _detection(db: Db) -> Iterator[Finding]:
    """A detection that waits for ever: connections to servers that speak first never begin on ports whose protocol is not declared."""
    said = mesh_field(db, "protocol_detection_timeout")
    if isinstance(said, float) and said <= 0:
        text = "protocolDetectionTimeout: 0 waits for ever, so servers that speak first hang on ports without a protocol"
        yield _finding("LTN0222", Severity.WARNING, text, "leave it out: 200 ms, then TCP; or declare the ports")


def _unknown_hosts(db: Db) -> Iterator[Finding]:
    """TLS to unknown hosts that is asked for and does not come about: requests leave in the clear."""
    policy = mesh_field(db, "outbound_traffic_policy")
    if not isinstance(policy, MeshOutboundPolicy) or policy.tls is None or policy.tls.mode is ClientTlsMode.DISABLE:
        return
    if policy.mode is not MeshOutboundMode.ALLOW_ANY_DYNAMIC_DNS:
        text = f"outboundTrafficPolicy.tls counts in mode ALLOW_ANY_DYNAMIC_DNS alone, and the mode is {policy.mode}"
        yield _finding("LTN0223", Severity.WARNING, text, "set the mode, or leave tls out")
    elif policy.tls.mode is not ClientTlsMode.ISTIO_MUTUAL and policy.tls.credential_name:
        text = "outboundTrafficPolicy.tls.credentialName is for no sidecar: requests to unknown hosts leave in the clear"
        yield _finding("LTN0223", Severity.WARNING, text, "name files instead: clientCertificate, privateKey, caCertificates")
    elif policy.tls.mode is ClientTlsMode.MUTUAL and not (policy.tls.client_certificate and policy.tls.private_key):
        text = "outboundTrafficPolicy.tls: MUTUAL without clientCertificate and privateKey: requests to unknown hosts leave in the clear"
        yield _finding("LTN0223", Severity.WARNING, text, "name both files")


def _visibility(db: Db) -> Iterator[Finding]:
    said = mesh_field(db, "service_entry_visibility")
    if isinstance(said, ServiceEntryVisibility) and not said.apply_to_sidecars:
        text = "serviceEntryVisibility without applyToSidecars concerns ambient mode alone: exportTo decides here"
        yield _finding("LTN0224", Severity.INFO, text, "set applyToSidecars: true")
