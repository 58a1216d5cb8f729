"""Where a proxy takes what is redirected to it. Called by the planners of listeners.

What the proxy says it was started with counts before the mesh configuration: its pod's redirect rules stay as they are, while the mesh may change its mind.
"""

from lateen.config.capture_ports import CapturePorts
from lateen.config.capture_ports import capture_ports as configured
from lateen.config.store import mesh_config
from lateen.incremental import Db, query
from lateen.mesh.view import View

OUTBOUND, INBOUND = "OUTBOUND_LISTEN_PORT", "INBOUND_LISTEN_PORT"
"""Node metadata of proxies that tell their ports. Ours: Istio's are told nothing."""


def capture_ports(db: Db, view: View) -> CapturePorts:
    """The ports of a view's proxy."""
    said = dict(view.metadata)
    outbound, inbound = said.get(OUTBOUND, ""), said.get(INBOUND, "")
    return CapturePorts(int(outbound), int(inbound)) if outbound.isdigit() and inbound.isdigit() else _of_mesh(db)


@query
def _of_mesh(db: Db) -> CapturePorts:
    return configured(mesh_config(db))
