"""The ProxyConfig in force for a view: what the proxy said as PROXY_CONFIG counts as its pod's annotation. Called by `plan` for what listeners take from it."""

from lateen.config.kinds.istio.mesh_proxy import MeshProxyConfig
from lateen.config.kinds.values import Map
from lateen.config.proxy_settings import proxy_settings
from lateen.incremental import Db
from lateen.mesh.view import View


def proxy_config(db: Db, view: View) -> MeshProxyConfig:
    """The ProxyConfig of a view. Source: Istio, EffectiveProxyConfig; node metadata PROXY_CONFIG."""
    return proxy_settings(db, view.namespace, Map(view.labels), dict(view.metadata).get("PROXY_CONFIG", ""))
