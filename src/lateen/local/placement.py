"""On which node a pod is said to run. Pure. Called by `fleet`.

There is one machine, but Node objects may be written, so that localities and failover can be tried:
a pod goes to one that its `nodeName` or `nodeSelector` picks.
"""

from collections.abc import Mapping
from typing import Any

from lateen.local.podspec import Place, PodSpec

_REGIONS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_SUB_ZONE = "topology.istio.io/subzone"


def place(spec: PodSpec, labels: Mapping[str, str], number: int, nodes: Mapping[str, Mapping[str, Any]], default: str) -> Place:
    """The place of a workload's pod number `number`: fitting nodes in turn, by name. `nodes`: name → labels. A label `istio-locality` on the pod wins."""
    fitting = sorted(name for name, has in nodes.items() if all(has.get(key) == value for key, value in spec.node_selector.items()))
    name = spec.node_name or (fitting[number % len(fitting)] if fitting else default)
    found = nodes.get(name, spec.node_selector)
    said = labels.get("istio-locality", "")
    if said:
        parts = ((said if "/" in said else said.replace(".", "/")) + "///").split("/")
        return Place(node=name, region=parts[0], zone=parts[1], sub_zone=parts[2])
    region = next((found[key] for key in _REGIONS if key in found), "")
    zone = next((found[key] for key in _ZONES if key in found), "")
    return Place(node=name, region=region, zone=zone, sub_zone=found.get(_SUB_ZONE, ""))
