"""The names of the mesh and their addresses, for the node's DNS and hosts files. Pure, one query: recomputed when a service or a headless endpoint changes."""

from collections.abc import Iterable
from dataclasses import dataclass

from lateen.config.kinds.istio.service_entry import ServiceEntry
from lateen.incremental import Db, query
from lateen.mesh.endpoints import endpoints, kubernetes_endpoints
from lateen.mesh.model import Endpoint, Health, Resolution, Service
from lateen.mesh.pods import pod_facts
from lateen.mesh.services import all_services, foreign_services

EVERYBODY = "*"


@dataclass(frozen=True)
class DnsTable:
    """`entries`: host (may start with `*.`) → addresses. `headless`: host of a Service without address → (pod's hostname, addresses).
    `aliases`: host → the host it stands for. `scoped`: namespace → entries that it alone, or with some others, may see."""

    entries: tuple[tuple[str, tuple[str, ...]], ...]
    headless: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...]
    aliases: tuple[tuple[str, str], ...]
    scoped: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = ()

    def as_json(self) -> dict[str, object]:
        """The object the node gets."""
        headless = {host: {name: list(addresses) for name, addresses in pods} for host, pods in self.headless}
        scoped = {namespace: _lists(found) for namespace, found in self.scoped}
        spec = {"entries": _lists(self.entries), "headless": headless, "aliases": dict(self.aliases), "scoped": scoped}
        return {"kind": "DnsTable", "metadata": {"name": "mesh"}, "spec": spec}


def _lists(entries: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, list[str]]:
    return {host: list(addresses) for host, addresses in entries}


@query
def dns_table(db: Db) -> DnsTable:
    """Every name. Services whose name is an address range, or that have none, are left to the next resolver.

    Services that the mesh takes no notice of are among them.

    A Service's name is every pod's, as on a cluster; a ServiceEntry's belongs to the namespaces it is exported to. Source: Istio, NDS and exportTo.
    """
    entries: dict[str, tuple[str, ...]] = {}
    headless: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}
    aliases: dict[str, str] = {}
    scoped: dict[str, dict[str, tuple[str, ...]]] = {}
    for one in all_services(db):
        if one.origin.kind == ServiceEntry.__name__ and EVERYBODY not in one.export_to:
            for namespace in one.export_to if (addresses := _addresses(one)) else ():
                scoped.setdefault(namespace, {}).setdefault(one.hostname, addresses)
            continue
        if one.hostname in entries:
            continue
        if one.resolution is Resolution.ALIAS:
            aliases[one.hostname] = one.external_name
        elif one.is_headless:
            entries[one.hostname], headless[one.hostname] = _headless(db, endpoints(db, one.namespace, one.hostname), one.publishes_not_ready)
        elif addresses := _addresses(one):
            entries[one.hostname] = addresses
    for one in foreign_services(db):
        if one.resolution is Resolution.ALIAS:
            aliases.setdefault(one.hostname, one.external_name)
        elif one.is_headless:
            entries[one.hostname], headless[one.hostname] = _headless(db, kubernetes_endpoints(db, one.namespace, one.name), one.publishes_not_ready)
        else:
            entries[one.hostname] = _addresses(one)
    kept = tuple((namespace, tuple(sorted(found.items()))) for namespace, found in sorted(scoped.items()))
    return DnsTable(tuple(sorted(entries.items())), tuple(sorted(headless.items())), tuple(sorted(aliases.items())), kept)


def _addresses(one: Service) -> tuple[str, ...]:
    return tuple(address for address in one.addresses or one.auto_addresses if "/" not in address)


def _headless(db: Db, members: Iterable[Endpoint], has_unready: bool) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    addresses: dict[str, None] = {}
    pods: dict[str, dict[str, None]] = {}
    for one in members:
        if one.health is not Health.HEALTHY and not has_unready:
            continue
        addresses[one.address] = None
        pod = pod_facts(db, one.pod.namespace, one.pod.name) if one.pod is not None else None
        name = one.hostname or (pod.hostname or pod.name if pod is not None else "")
        if name:
            pods.setdefault(name, {})[one.address] = None
            if pod is not None:
                pods[name].update(dict.fromkeys(pod.addresses))
    if not addresses:
        return (), ()
    return tuple(sorted(addresses)), tuple(sorted((name, tuple(found)) for name, found in pods.items()))
