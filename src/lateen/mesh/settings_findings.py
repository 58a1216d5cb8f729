"""What is wrong with the mesh's own settings, where Istio takes them without a word. Called by `mesh.findings`."""

from lateen.base.findings import Finding, Severity
from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config.store import mesh_field
from lateen.incremental import Db, query

MESH_CONFIG = ObjectRef("ConfigMap", ROOT_NAMESPACE, "istio")


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """A detection that waits for ever: connections to servers that speak first never begin on ports whose protocol is not declared."""
    said = mesh_field(db, "protocol_detection_timeout")
    if not isinstance(said, float) or said > 0:
        return ()
    text = "protocolDetectionTimeout: 0 waits for ever, so servers that speak first hang on ports without a protocol"
    return (Finding("LTN0222", Severity.WARNING, text, MESH_CONFIG, "data.mesh", "leave it out: 200 ms, then TCP; or declare the ports"),)
