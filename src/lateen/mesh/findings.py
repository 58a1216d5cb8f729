"""Everything the objects of the mesh have wrong together. The door for `control` and `insight`; each rule sits where it is decided."""

from lateen.base.findings import Finding
from lateen.incremental import Db, query
from lateen.mesh import (
    discovery_findings,
    gateway_findings,
    log_formats,
    networks,
    peer_authentication,
    proxyless_findings,
    settings_findings,
    sidecar_findings,
    virtual_services,
)
from lateen.mesh.destination_findings import destination_findings
from lateen.mesh.route_findings import route_findings
from lateen.mesh.service_findings import service_findings


@query
def mesh_findings(db: Db) -> tuple[Finding, ...]:
    """All findings about objects in force, in order of their kinds."""
    of_routes = (*virtual_services.findings(db), *route_findings(db))
    of_destinations = (*destination_findings(db), *service_findings(db))
    return (
        *of_routes,
        *of_destinations,
        *sidecar_findings.findings(db),
        *peer_authentication.findings(db),
        *gateway_findings.findings(db),
        *log_formats.findings(db),
        *settings_findings.findings(db),
        *networks.findings(db),
        *discovery_findings.findings(db),
        *proxyless_findings.findings(db),
    )
