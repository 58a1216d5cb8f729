"""Networks of the mesh: where a workload is, and the gateways through which clients of other networks reach it. Called by `endpoints`, `projection`,
`plan` (load assignments) and findings.

Source: Istio, MeshNetworks and the label `topology.istio.io/network`. Without gateways for a network its endpoints are called directly, whatever is written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from math import lcm

from lateen.base.addresses import is_ip, is_range
from lateen.base.findings import Finding, Severity
from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config.defaults import NETWORKS_KEY, mesh_networks_of
from lateen.config.kinds.istio.mesh_networks import MeshNetworks, Network, NetworkGateway
from lateen.config.kinds.kubernetes.core import ConfigMap, Namespace
from lateen.config.store import one
from lateen.incremental import Db, index, query

NETWORK = "topology.istio.io/network"
"""Label of a pod, and of the root namespace for all pods."""
REGISTRIES = frozenset({"Kubernetes"})
"""The one cluster that there is."""
MESH_CONFIG = ObjectRef(ConfigMap.__name__, ROOT_NAMESPACE, "istio")


@dataclass(frozen=True)
class Gateway:
    """Where a network is entered from outside: mesh TLS is passed through by server name."""

    address: str
    port: int


@query
def _read(db: Db) -> tuple[MeshNetworks, tuple[Finding, ...]]:
    return mesh_networks_of(one(db, ConfigMap, MESH_CONFIG.namespace, MESH_CONFIG.name))


@query
def _written(db: Db) -> MeshNetworks:
    return _read(db)[0]


def _is_usable(gateway: NetworkGateway) -> bool:
    return gateway.port > 0 and is_ip(gateway.address or "")


@index
def gateways(db: Db) -> Mapping[str, tuple[Gateway, ...]]:
    """Network → its gateways, sorted; networks without one are left out."""
    found = {}
    for name, network in _written(db).networks.items():
        usable = {Gateway(one.address or "", one.port) for one in network.gateways if _is_usable(one)}
        if usable:
            found[name] = tuple(sorted(usable, key=lambda gateway: (gateway.address, gateway.port)))
    return found


@query
def scale(db: Db) -> int:
    """By what weights are multiplied so that each network's can be shared among its gateways. 0: no network has one, so that where a client is
    does not matter."""
    found = gateways.whole(db)
    return lcm(*(len(one) for one in found.values())) if found else 0


@query
def _root_network(db: Db) -> str:
    home = one(db, Namespace, "", ROOT_NAMESPACE)
    return home.meta.labels.get(NETWORK, "") if home else ""


@query
def _ranges(db: Db) -> tuple[tuple[str, str], ...]:
    """(CIDR, empty: everything of the cluster; network) in order of the networks' names."""
    found = []
    for name, network in sorted(_written(db).networks.items()):
        for written in network.endpoints:
            if written.from_registry in REGISTRIES:
                found.append(("", name))
            elif written.from_cidr and is_range(written.from_cidr):
                found.append((written.from_cidr, name))
    return tuple(sorted(found, key=lambda pair: not pair[0]))


def network_of(db: Db, labels: Mapping[str, str], address: str) -> str:
    """The network of a pod or a proxy: its label's, the root namespace's, the one that `meshNetworks` gives its address. Empty: none is said."""
    said = labels.get(NETWORK, "") or _root_network(db)
    if said or not is_ip(address):
        return said
    place = ip_address(address)
    for text, name in _ranges(db):
        if not text or (place.version == ip_network(text, strict=False).version and place in ip_network(text, strict=False)):
            return name
    return ""


@query
def findings(db: Db) -> tuple[Finding, ...]:
    """What `meshNetworks` says that leads nowhere."""
    networks, mistakes = _read(db)
    return (*mistakes, *(found for name, network in networks.networks.items() for found in _of_network(name, network)))


def _of_network(name: str, network: Network) -> Iterator[Finding]:
    for at, written in enumerate(network.endpoints):
        place = f"networks[{name}].endpoints[{at}]"
        if written.from_registry and written.from_registry not in REGISTRIES:
            text = f"{place}.fromRegistry: there is no such registry: `{written.from_registry}`"
            yield _finding("IST0126", Severity.ERROR, text, f"there is one cluster: {', '.join(sorted(REGISTRIES))}")
        if written.from_cidr and not is_range(written.from_cidr):
            yield _finding("LTN0228", Severity.ERROR, f"{place}.fromCidr: not a range of addresses: `{written.from_cidr}`", "as in 10.1.0.0/16")
    for at, gateway in enumerate(network.gateways):
        place = f"networks[{name}].gateways[{at}]"
        if not _is_usable(gateway):
            text = f"{place} is left out: a gateway needs an `address` that is an IP address, and a `port`"
            hint = "15443 is the usual port" if is_ip(gateway.address or "") else "write the address that clients of other networks reach, not a name"
            yield _finding("LTN0228", Severity.WARNING, text, hint)


def _finding(code: str, severity: Severity, text: str, hint: str) -> Finding:
    return Finding(code, severity, text, MESH_CONFIG, f"data.{NETWORKS_KEY}", hint)
