"""Everything the objects of the mesh have wrong together. The door for `control` and `insight`; each rule sits where it is decided."""

from lateen.base.findings import Finding
from lateen.incremental import Db, query
from lateen.mesh import gateway_findings, peer_authentication, sidecars, virtual_services
from lateen.mesh.route_findings import route_findings


@query
def mesh_findings(db: Db) -> tuple[Finding, ...]:
    """All findings about objects in force, in order of their kinds."""
    return (*virtual_services.findings(db), *route_findings(db), *sidecars.findings(db), *peer_authentication.findings(db), *gateway_findings.findings(db))
