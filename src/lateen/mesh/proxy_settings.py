"""The ProxyConfig in force for a proxy: the mesh's defaultConfig, over which its own annotation goes field by field. Called by `plan` for what listeners take from it.

Source: Istio ProxyConfig, `proxy.istio.io/config`; a proxy says the merged value in its node metadata as PROXY_CONFIG.
"""

import msgspec

from lateen.config.kinds.istio.mesh_proxy import MeshProxyConfig
from lateen.config.store import mesh_field
from lateen.incremental import Db, query
from lateen.mesh.view import View


@query
def _merged(db: Db, said: str) -> MeshProxyConfig:
    default = mesh_field(db, "default_config")
    base = default if isinstance(default, MeshProxyConfig) else MeshProxyConfig()
    if not said:
        return base
    try:
        given = msgspec.json.decode(said)
        own = msgspec.convert(given, MeshProxyConfig, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return base
    names = {field.encode_name: field.name for field in msgspec.structs.fields(MeshProxyConfig)}
    return msgspec.structs.replace(base, **{names[key]: getattr(own, names[key]) for key in given if key in names})


def proxy_config(db: Db, view: View) -> MeshProxyConfig:
    """The ProxyConfig of a view. One that cannot be read counts as absent."""
    return _merged(db, dict(view.metadata).get("PROXY_CONFIG", ""))
