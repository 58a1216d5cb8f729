"""The names of the mesh and their addresses, for the node's DNS and hosts files. Pure, one query: recomputed when a service or a headless endpoint changes."""

from dataclasses import dataclass

from lateen.incremental import Db, query
from lateen.mesh.endpoints import endpoints
from lateen.mesh.model import Health, Resolution
from lateen.mesh.pods import pod_facts
from lateen.mesh.services import all_services


@dataclass(frozen=True)
class DnsTable:
    """`entries`: host (may start with `*.`) → addresses. `headless`: host of a Service without address → (pod's hostname, addresses).
    `aliases`: host → the host it stands for."""

    entries: tuple[tuple[str, tuple[str, ...]], ...]
    headless: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...]
    aliases: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, object]:
        """The object the node gets."""
        headless = {host: {name: list(addresses) for name, addresses in pods} for host, pods in self.headless}
        spec = {"entries": {host: list(addresses) for host, addresses in self.entries}, "headless": headless, "aliases": dict(self.aliases)}
        return {"kind": "DnsTable", "metadata": {"name": "mesh"}, "spec": spec}


@query
def dns_table(db: Db) -> DnsTable:
    """Every name. Services whose name is an address range, or that have none, are left to the next resolver."""
    entries: dict[str, tuple[str, ...]] = {}
    headless: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}
    aliases: dict[str, str] = {}
    for one in all_services(db):
        if one.hostname in entries:
            continue
        if one.resolution is Resolution.ALIAS:
            aliases[one.hostname] = one.external_name
        elif one.is_headless:
            entries[one.hostname], headless[one.hostname] = _headless(db, one.namespace, one.hostname, one.publishes_not_ready)
        else:
            addresses = tuple(address for address in one.addresses or one.auto_addresses if "/" not in address)
            if addresses:
                entries[one.hostname] = addresses
    return DnsTable(tuple(sorted(entries.items())), tuple(sorted(headless.items())), tuple(sorted(aliases.items())))


def _headless(db: Db, namespace: str, host: str, has_unready: bool) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    addresses: dict[str, None] = {}
    pods: dict[str, dict[str, None]] = {}
    for one in endpoints(db, namespace, host):
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
