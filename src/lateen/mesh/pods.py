"""What the mesh reads of a Pod: addresses, labels, identity, place, readiness; and which pods a selector selects. Called by `endpoints` and `projection`.

Small queries, so that readiness of one pod re-runs nothing that reads labels, and the other way round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from lateen.base.names import ObjectRef
from lateen.config import store
from lateen.config.kinds.kubernetes.core import Node
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.objects import Meta
from lateen.incremental import Db, index, query
from lateen.mesh.model import Labels, Locality, label_pairs
from lateen.mesh.networks import network_of

TLS_MODE = "security.istio.io/tlsMode"
"""Label: `istio` where a sidecar takes mesh TLS. Set by injection. Source: Istio, labels."""
LOCALITY = "istio-locality"
REGIONS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
SUBZONE = "topology.istio.io/subzone"


@dataclass(frozen=True)
class PodFacts:
    """One pod. `addresses`: its IP addresses, the first one first; `ports`: (name, number) of its containers. `workload`: the name of what made it."""

    namespace: str
    name: str
    addresses: tuple[str, ...]
    labels: Labels
    service_account: str
    node: str
    locality: Locality
    ports: tuple[tuple[str, int], ...]
    is_ready: bool
    is_gone: bool
    hostname: str
    subdomain: str
    workload: str
    network: str

    @property
    def has_mesh_tls(self) -> bool:
        """It has a sidecar that takes mesh TLS."""
        return (TLS_MODE, "istio") in self.labels

    def address(self, family: int) -> str:
        """The first address of an IP version, 0: of any. Empty: none."""
        return next((one for one in self.addresses if not family or ip_address(one).version == family), "")

    def port(self, target: int | str | None) -> int | None:
        """The number of a target port, by number or container port name. None: the pod has no port of that name."""
        if isinstance(target, str):
            return int(target) if target.isdigit() else next((number for name, number in self.ports if name == target), None)
        return target


def written_locality(labels: Mapping[str, str]) -> Locality | None:
    """The locality a workload's own label gives; None: it has none. Dots stand for slashes. Source: Istio, label istio-locality."""
    text = labels.get(LOCALITY, "")
    return Locality.parse(text if "/" in text else text.replace(".", "/")) if text else None


@query
def node_locality(db: Db, name: str) -> Locality:
    """Where a node is, by its labels. Source: Kubernetes, well-known topology labels."""
    node = store.one(db, Node, "", name) if name else None
    labels: Mapping[str, str] = node.meta.labels if node else {}
    region = next((labels[key] for key in REGIONS if key in labels), "")
    zone = next((labels[key] for key in ZONES if key in labels), "")
    return Locality(region, zone, labels.get(SUBZONE, ""))


def workload_name(meta: Meta) -> str:
    """The name of what made a pod: a Deployment for a ReplicaSet of one, a CronJob's Job as it is, else the pod's own. Source: Istio, workload names."""
    owner = next((one for one in meta.owner_references if one.controller or len(meta.owner_references) == 1), None)
    if owner is None:
        return meta.name
    suffix = "-" + meta.labels.get("pod-template-hash", "")
    return owner.name.removesuffix(suffix) if owner.kind == "ReplicaSet" and len(suffix) > 1 else owner.name


@query
def pod_facts(db: Db, namespace: str, name: str) -> PodFacts | None:
    """One pod; None: there is none."""
    pod = store.one(db, Pod, namespace, name)
    if pod is None:
        return None
    status, spec = pod.status, pod.spec
    addresses = () if status is None else (status.pod_ip, *(one.ip for one in status.pod_ips))
    conditions = () if status is None else status.conditions
    return PodFacts(
        namespace=namespace,
        name=name,
        addresses=tuple(dict.fromkeys(one for one in addresses if one)),
        labels=label_pairs(pod.meta.labels),
        service_account=spec.service_account_name or spec.service_account,
        node=spec.node_name,
        locality=written_locality(pod.meta.labels) or node_locality(db, spec.node_name),
        ports=tuple((port.name, port.container_port) for container in spec.containers for port in container.ports),
        is_ready=any(one.type == "Ready" and one.status == "True" for one in conditions),
        is_gone=pod.meta.deleted is not None or (status is not None and status.phase in ("Succeeded", "Failed")),
        hostname=spec.hostname,
        subdomain=spec.subdomain,
        workload=workload_name(pod.meta),
        network=network_of(db, pod.meta.labels, next((one for one in addresses if one), "")),
    )


@query
def pod_labels(db: Db, namespace: str, name: str) -> Labels:
    """A pod's labels alone."""
    pod = store.one(db, Pod, namespace, name)
    return label_pairs(pod.meta.labels) if pod else ()


@query
def _pod_addresses(db: Db, namespace: str, name: str) -> tuple[str, ...]:
    facts = pod_facts(db, namespace, name)
    return facts.addresses if facts and not facts.is_gone else ()


@index
def _pods_by_label(db: Db, namespace: str) -> Mapping[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], list[str]] = {}
    for key in store.OBJECTS.keys(db, ("Pod", namespace)):
        for pair in pod_labels(db, namespace, key.name):
            found.setdefault(pair, []).append(key.name)
    return {pair: tuple(sorted(names)) for pair, names in found.items()}


@index
def pods_by_address(db: Db) -> Mapping[str, ObjectRef]:
    """Address → the pod that has it; pods that have ended are left out."""
    keys = sorted(store.OBJECTS.keys(db, ("Pod",)))
    return {address: key for key in keys for address in _pod_addresses(db, key.namespace, key.name)}


@query
def pods_selected(db: Db, namespace: str, selector: Labels) -> tuple[str, ...]:
    """Names of the pods of a namespace that a selector selects, sorted; an empty selector selects none."""
    sets = [frozenset(_pods_by_label.at(db, pair, namespace) or ()) for pair in selector]
    return tuple(sorted(frozenset.intersection(*sets))) if sets else ()
