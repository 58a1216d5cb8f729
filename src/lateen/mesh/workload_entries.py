"""WorkloadEntries as endpoints see them, and which of them a selector selects. Called by `endpoints`, and for the inline endpoints of ServiceEntries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lateen.config import store
from lateen.config.kinds.istio.workload_entry import HEALTH_CHECKED, HEALTHY, WorkloadEntry, WorkloadEntrySpec
from lateen.incremental import Db, index, query
from lateen.mesh.model import Labels, Locality, label_pairs
from lateen.mesh.networks import NETWORK
from lateen.mesh.pods import TLS_MODE, written_locality


@dataclass(frozen=True)
class EntryFacts:
    """One WorkloadEntry or inline endpoint. `ports`: service port name → number. `address`: IP, host name or `unix:///path`."""

    namespace: str
    name: str
    address: str
    ports: tuple[tuple[str, int], ...]
    labels: Labels
    locality: Locality
    weight: int
    service_account: str
    network: str
    is_healthy: bool = True
    """False: its health is checked, and it is not known to be well; it takes no traffic. Source: Istio, health checks of WorkloadEntries."""

    @property
    def has_mesh_tls(self) -> bool:
        """It takes mesh TLS: its label says so or, without that label, it has a service account. Source: Istio, WorkloadEntry."""
        said = dict(self.labels).get(TLS_MODE)
        return bool(self.service_account) if said is None else said == "istio"

    def port(self, name: str, number: int) -> int:
        """The port it serves a service's port at: its own by name, else `number`; 0 for a unix socket."""
        return 0 if self.address.startswith("unix://") else dict(self.ports).get(name, number)


def entry_facts(spec: WorkloadEntrySpec, namespace: str, name: str, labels: Mapping[str, str]) -> EntryFacts:
    """What an entry says. `labels`: those of its metadata; the spec's own win."""
    merged = {**labels, **spec.labels}
    locality = written_locality(merged) or Locality.parse(spec.locality)
    network = spec.network or merged.get(NETWORK, "")
    return EntryFacts(namespace, name, spec.address, tuple(spec.ports.items()), label_pairs(merged), locality, spec.weight, spec.service_account, network)


@query
def workload_entry(db: Db, namespace: str, name: str) -> EntryFacts | None:
    """One WorkloadEntry; None: there is none."""
    entry = store.one(db, WorkloadEntry, namespace, name)
    if entry is None:
        return None
    return replace(entry_facts(entry.spec, namespace, name, entry.meta.labels), is_healthy=_is_healthy(entry))


def _is_healthy(entry: WorkloadEntry) -> bool:
    if entry.meta.annotations.get(HEALTH_CHECKED, "").lower() != "true":
        return True
    return any(one.type == HEALTHY and one.status == "True" for one in (entry.status.conditions if entry.status else ()))


@query
def _labels(db: Db, namespace: str, name: str) -> Labels:
    entry = workload_entry(db, namespace, name)
    return entry.labels if entry else ()


@index
def _entries_by_label(db: Db, namespace: str) -> Mapping[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], list[str]] = {}
    for key in store.OBJECTS.keys(db, ("WorkloadEntry", namespace)):
        for pair in _labels(db, namespace, key.name):
            found.setdefault(pair, []).append(key.name)
    return {pair: tuple(sorted(names)) for pair, names in found.items()}


@query
def entries_selected(db: Db, namespace: str, selector: Labels) -> tuple[str, ...]:
    """Names of the WorkloadEntries of a namespace that a selector selects, sorted; an empty selector selects none."""
    sets = [frozenset(_entries_by_label.at(db, pair, namespace) or ()) for pair in selector]
    return tuple(sorted(frozenset.intersection(*sets))) if sets else ()
