"""Names of clusters in statistics, where the mesh configuration gives a pattern. Called by `outbound_clusters` and `inbound_clusters`.

Source: Istio MeshConfig.outboundClusterStatName, inboundClusterStatName.
"""

from lateen.config import store
from lateen.incremental import Db
from lateen.mesh.model import Port, Service

DELIMITER = ";"
"""Ends the name, so that tags can be read off a statistic. Source: Istio."""


def stat_name(db: Db, field: str, service: Service, port: Port, subset: str = "", target: int = 0) -> str:
    """The name by the mesh's pattern in `field`; empty: there is no pattern, so the cluster's own name counts."""
    pattern = str(store.mesh_field(db, field))
    if not pattern:
        return ""
    short = service.hostname.removesuffix(".svc.cluster.local")
    values = {
        "%SERVICE_FQDN%": service.hostname,
        "%SERVICE_NAME%": service.name,
        "%SERVICE_PORT_NAME%": port.name,
        "%SERVICE_PORT%": str(port.number),
        "%TARGET_PORT%": str(target),
        "%SUBSET_NAME%": subset,
        "%SERVICE%": short,
    }
    for key, value in values.items():
        pattern = pattern.replace(key, value)
    return pattern + DELIMITER
