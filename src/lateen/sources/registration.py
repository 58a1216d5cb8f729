"""Registrations: workloads outside the mesh's namespaces that came by themselves, and the WorkloadEntries they stand for. Without I/O.

A proxy whose metadata names a WorkloadGroup (`AUTO_REGISTER_GROUP`) becomes an entry of that group for as long as it is connected, and a grace
longer. What it is follows from the group as it stands now and from what the proxy says of itself: an edit of the group reaches its members.
Called by `control.registrar`, which knows who is connected. Source: Istio, automatic WorkloadEntry creation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from lateen.base.names import ObjectRef, registered_name
from lateen.config.kinds.istio.workload_entry import (
    HEALTH_CHECKED,
    HEALTHY,
    WorkloadCondition,
    WorkloadEntry,
    WorkloadEntrySpec,
    WorkloadEntryStatus,
    WorkloadGroup,
)
from lateen.config.kinds.objects import Meta
from lateen.config.kinds.values import Map

GROUP = "istio.io/autoRegistrationGroup"
"""Annotation of a registered entry: its WorkloadGroup. Istio's."""
NODE_GROUP = "AUTO_REGISTER_GROUP"
"""In a proxy's metadata. Istio's."""
DEFAULT_ACCOUNT = "default"


@dataclass(frozen=True, order=True)
class Registrant:
    """One workload that wants to be in a group. `locality`: `region/zone/subzone`, empty: not said. `labels`: its own, which win."""

    namespace: str
    group: str
    address: str
    network: str = ""
    service_account: str = DEFAULT_ACCOUNT
    labels: tuple[tuple[str, str], ...] = ()
    locality: str = ""

    @property
    def entry(self) -> ObjectRef:
        """The WorkloadEntry it is when it is one."""
        return ObjectRef(WorkloadEntry.__name__, self.namespace, registered_name(self.group, self.address, self.network))


def refusal(registrant: Registrant, group: WorkloadGroup | None) -> str:
    """Why it is no member, empty: it is one. Only the group's own service account may join: an entry draws the traffic of the group's services."""
    return refusal_of(registrant.namespace, registrant.group, registrant.service_account, group)


def refusal_of(namespace: str, name: str, service_account: str, group: WorkloadGroup | None) -> str:
    """Why a workload of this service account is no member of the group of that name, empty: it may be one."""
    if group is None:
        return f"there is no WorkloadGroup {namespace}/{name}"
    template = group.spec.template
    account = (template.service_account if template else "") or DEFAULT_ACCOUNT
    return "" if account == service_account else f"WorkloadGroup {namespace}/{name} is for service account {account}, not {service_account}"


def group_labels(group: WorkloadGroup) -> dict[str, str]:
    """The labels of every member."""
    return {**(group.spec.metadata.labels if group.spec.metadata else {}), **(group.spec.template.labels if group.spec.template else {})}


def registered_entry(registrant: Registrant, group: WorkloadGroup, health: bool | None) -> WorkloadEntry:
    """The entry of a member. `health`: its last report, None: none yet; counts only where the group has a probe."""
    template = group.spec.template or WorkloadEntrySpec()
    metadata = group.spec.metadata
    labels = group_labels(group) | dict(registrant.labels)
    annotations = {**(metadata.annotations if metadata else {}), GROUP: registrant.group}
    if group.spec.probe is not None:
        annotations[HEALTH_CHECKED] = "true"
    spec = msgspec.structs.replace(
        template,
        address=registrant.address,
        labels=Map(labels),
        network=registrant.network or template.network,
        locality=registrant.locality or template.locality,
        service_account=registrant.service_account,
    )
    conditions = () if health is None else (WorkloadCondition(type=HEALTHY, status="True" if health else "False"),)
    meta = Meta(name=registrant.entry.name, namespace=registrant.namespace, labels=Map(labels), annotations=Map(annotations))
    return WorkloadEntry(meta=meta, spec=spec, status=WorkloadEntryStatus(conditions=conditions) if conditions else None)


Groups = Mapping[tuple[str, str], WorkloadGroup]
"""(namespace, name) → the group."""


def member_entry(candidates: Mapping[Registrant, bool | None], groups: Groups) -> WorkloadEntry | None:
    """The entry of registrants (with their health) that would all be the same one: the last in order that its group takes. None: none is taken."""
    for one in sorted(candidates, reverse=True):
        group = groups.get((one.namespace, one.group))
        if group is not None and not refusal(one, group):
            return registered_entry(one, group, candidates[one])
    return None


def registered_entries(registrants: Mapping[Registrant, bool | None], groups: Iterable[WorkloadGroup]) -> tuple[WorkloadEntry, ...]:
    """Every entry there should be: registrants (with their health) that their group takes. Of two with one name the last in order is taken."""
    by_name = {(group.namespace, group.name): group for group in groups}
    alike: dict[ObjectRef, dict[Registrant, bool | None]] = {}
    for one in sorted(registrants):
        alike.setdefault(one.entry, {})[one] = registrants[one]
    found = (member_entry(each, by_name) for each in alike.values())
    return tuple(entry for entry in found if entry is not None)
