"""Services that ServiceEntries declare: one per host. Called by `services`; endpoints of them are made in `endpoints`."""

from ipaddress import ip_network
from math import inf

from lateen.base.names import ObjectRef
from lateen.config import store
from lateen.config.kinds.istio.mesh_config import ServiceEntryVisibility, Visibility, VisibilityRule
from lateen.config.kinds.istio.service_entry import Location, ServiceEntry
from lateen.config.kinds.istio.service_entry import Resolution as EntryResolution
from lateen.config.kinds.values import Labels as WrittenLabels
from lateen.incremental import Db, query
from lateen.mesh.distribution import distribution
from lateen.mesh.model import Labels, Port, Registry, Resolution, Service, label_pairs
from lateen.mesh.protocols import declared_protocol

_RESOLUTIONS = {
    EntryResolution.NONE: Resolution.NONE,
    EntryResolution.STATIC: Resolution.STATIC,
    EntryResolution.DNS: Resolution.DNS,
    EntryResolution.DNS_ROUND_ROBIN: Resolution.DNS_ROUND_ROBIN,
    EntryResolution.DYNAMIC_DNS: Resolution.DYNAMIC_DNS,
}


def exported_to(namespaces: tuple[str, ...], own: str) -> frozenset[str]:
    """Namespaces of an exportTo, `.` replaced by the object's own."""
    return frozenset(own if namespace == "." else namespace for namespace in namespaces)


def bare_address(text: str) -> str:
    """A VIP without the length of a CIDR that holds one address only; any other text as it is."""
    if "/" not in text:
        return text
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return text
    return str(network.network_address) if network.num_addresses == 1 else text


@query
def entry_services(db: Db, namespace: str, name: str) -> tuple[Service, ...]:
    """The services of one ServiceEntry, a host each, in the order written. Empty: there is no such ServiceEntry."""
    entry = store.one(db, ServiceEntry, namespace, name)
    if entry is None:
        return ()
    spec = entry.spec
    defaults = store.mesh_field(db, "default_service_export_to")
    export_to = exported_to(spec.export_to or (defaults if isinstance(defaults, tuple) else ()), namespace)
    ports = tuple(Port(port.number, port.name, declared_protocol(port.protocol), port.target_port or None) for port in spec.ports)
    return tuple(
        Service(
            hostname=host.lower(),
            namespace=namespace,
            name=host.lower(),
            ports=ports,
            origin=ObjectRef("ServiceEntry", namespace, name),
            resolution=_RESOLUTIONS[spec.resolution],
            registered_in=Registry.EXTERNAL,
            addresses=tuple(bare_address(address) for address in spec.addresses),
            selector=entry_selector(entry),
            labels=label_pairs(entry.meta.labels),
            export_to=_capped(export_to, namespace, _visibility(db, namespace)),
            is_external=spec.location is Location.MESH_EXTERNAL,
            created=inf if entry.meta.created is None else entry.meta.created,
            subject_alt_names=spec.subject_alt_names,
            traffic_distribution=distribution(db, namespace, entry.meta.annotations),
        )
        for host in dict.fromkeys(spec.hosts)
    )


def entry_selector(entry: ServiceEntry) -> Labels:
    """The labels a ServiceEntry selects pods and WorkloadEntries by; empty: it selects none."""
    return label_pairs(entry.spec.workload_selector.labels) if entry.spec.workload_selector else ()


NOBODY = "~"
"""Of an exportTo: no namespace."""


@query
def _visibility(db: Db, namespace: str) -> Visibility:
    """How far ServiceEntries of a namespace may be seen; PUBLIC: as far as they say. Source: Istio MeshConfig.serviceEntryVisibility; sidecars go by it
    only where `applyToSidecars` asks for it."""
    said = store.mesh_field(db, "service_entry_visibility")
    if not isinstance(said, ServiceEntryVisibility) or not said.apply_to_sidecars:
        return Visibility.PUBLIC
    labels = store.namespace_labels(db, namespace)
    for policy in said.policies:
        if all(_matches(rule, labels) for rule in policy.matching_rules):
            return policy.visibility
    return said.default_visibility


def _matches(rule: VisibilityRule, labels: WrittenLabels) -> bool:
    """A rule that says nothing matches nothing."""
    return rule.namespace_selector is not None and rule.namespace_selector.matches(labels)


def _capped(export_to: frozenset[str], own: str, visibility: Visibility) -> frozenset[str]:
    """An exportTo within what is allowed: it only ever becomes narrower."""
    match visibility:
        case Visibility.NAMESPACE:
            return frozenset({own}) if export_to & {"*", own} else frozenset({NOBODY})
        case Visibility.NONE:
            return frozenset({NOBODY})
        case _:
            return export_to
