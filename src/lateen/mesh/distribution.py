"""trafficDistribution: where a service's clients go first. Called by `services` and `service_entries` to read it, by `plan` for what it comes to."""

from collections.abc import Mapping

from lateen.config import store
from lateen.config.kinds.kubernetes.core import Namespace
from lateen.incremental import Db

ANNOTATION = "networking.istio.io/traffic-distribution"
_ZONE = ("topology.istio.io/network", "topology.kubernetes.io/region", "topology.kubernetes.io/zone")
DISTRIBUTIONS = {
    "PreferClose": _ZONE,
    "PreferSameZone": _ZONE,
    "PreferSameNode": (*_ZONE, "topology.istio.io/subzone", "kubernetes.io/hostname"),
}
"""Each → the labels of a failoverPriority that comes to the same. Source: Istio, trafficDistribution."""


def distribution(db: Db, namespace: str, annotations: Mapping[str, str], written: str = "") -> str:
    """A service's trafficDistribution: of its `written` field, its annotation, its namespace's; one of DISTRIBUTIONS, empty: any. Annotations in any case."""
    if written in DISTRIBUTIONS:
        return written
    home = store.one(db, Namespace, "", namespace)
    said = annotations.get(ANNOTATION, "") or (home.meta.annotations.get(ANNOTATION, "") if home else "")
    return next((one for one in DISTRIBUTIONS if one.lower() == said.lower()), "")
