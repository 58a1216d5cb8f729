"""How much of a connection a proxy holds in memory at most, by its ProxyConfig. Called by `xds.listeners` and `xds.clusters`.

Source: Istio ProxyConfig.connectionSettings; sizes in bytes, None: Envoy's own (1 MiB).
"""

from lateen.config.kinds.istio.mesh_proxy import ConnectionProfile, ConnectionSettings
from lateen.incremental import Db, query
from lateen.mesh.proxy_settings import proxy_config
from lateen.mesh.view import View

EDGE_BYTES = 32768
"""At the edge of the mesh, where clients are strangers. Source: Istio, profile EDGE."""


@query
def client_side_bytes(db: Db, view: View) -> int | None:
    """Of connections that clients open."""
    return _limit(view, said := _settings(db, view), said.listener_per_connection_buffer_limit_bytes)


@query
def server_side_bytes(db: Db, view: View) -> int | None:
    """Of connections to endpoints."""
    return _limit(view, said := _settings(db, view), said.cluster_per_connection_buffer_limit_bytes)


def _settings(db: Db, view: View) -> ConnectionSettings:
    return proxy_config(db, view).connection_settings or ConnectionSettings()


def _limit(view: View, said: ConnectionSettings, own: int | None) -> int | None:
    if own is None and view.is_router and said.profile is ConnectionProfile.EDGE:
        return EDGE_BYTES
    return own
