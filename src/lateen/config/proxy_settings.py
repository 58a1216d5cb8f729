"""The proxy configuration in force for a workload, as a query: who reads it re-runs only when it changes."""

from lateen.config.defaults import proxy_config_in_force
from lateen.config.kinds.istio.mesh_proxy import MeshProxyConfig
from lateen.config.kinds.istio.proxy_config import ProxyConfig
from lateen.config.kinds.values import Labels
from lateen.config.store import in_namespace, mesh_config, root_namespace
from lateen.config.validate.proxy_config import without_problems
from lateen.incremental import Db, query


@query
def proxy_settings(db: Db, namespace: str, labels: Labels, annotation: str = "") -> MeshProxyConfig:
    """`annotation`: the pod's `proxy.istio.io/config`, or empty. The oldest of several that apply counts. What cannot be (a port that is none, a bad regular
    expression) counts as not said. Source: Istio, EffectiveProxyConfig."""
    root = root_namespace(db)
    wide = [_without_selector(db, root)]
    if namespace != root:
        wide.append(_without_selector(db, namespace))
    own = next((item for item in in_namespace(db, ProxyConfig, namespace) if _selects(item, labels)), None)
    found, _ = proxy_config_in_force(mesh_config(db), tuple(item for item in wide if item is not None), annotation, own)
    return without_problems(found)


def _without_selector(db: Db, namespace: str) -> ProxyConfig | None:
    return next((item for item in in_namespace(db, ProxyConfig, namespace) if not _has_selector(item)), None)


def _has_selector(item: ProxyConfig) -> bool:
    return item.spec.selector is not None and len(item.spec.selector.match_labels) > 0


def _selects(item: ProxyConfig, labels: Labels) -> bool:
    return _has_selector(item) and item.spec.selector is not None and item.spec.selector.match_labels.selects(labels)
