"""Which connections to a Service's address go to which pods, where no proxy takes them: from pods without a proxy, and past one. Pure. Called by `fleet`.

On a cluster this is kube-proxy's. It knows the pods of this machine only, and Services with an address.
"""

from collections.abc import Iterable, Mapping, Sequence

from lateen.local.isolation.nat import Forward
from lateen.local.pods import PodMachine
from lateen.local.podspec import Json, Port


def forwards(services: Iterable[Json], machines: Sequence[PodMachine], addresses: Mapping[str, Sequence[str]]) -> tuple[Forward, ...]:
    """A forward per address and port. `addresses`: full name → addresses, as the mesh's names have them. Services without a ready pod are left out."""
    named: dict[str, Sequence[str]] = {".".join(host.split(".")[:3]): found for host, found in addresses.items()}
    result: list[Forward] = []
    for item in services:
        metadata, spec = item.get("metadata") or {}, item.get("spec") or {}
        selector, namespace = spec.get("selector") or {}, metadata.get("namespace")
        own = named.get(f"{metadata.get('name')}.{namespace}.svc", ())
        if not selector or not own or spec.get("clusterIP") == "None":
            continue
        ready = [
            machine
            for machine in machines
            if machine.is_ready
            and machine.pod.metadata.namespace == namespace
            and all(machine.pod.metadata.labels.get(key) == value for key, value in selector.items())
        ]
        for entry in spec.get("ports") or ():
            protocol = entry.get("protocol", "TCP")
            targets = tuple(sorted((address, port) for machine in ready if (port := target_port(entry, machine)) for address in machine.state.addresses))
            result += [Forward(address, protocol, int(entry["port"]), targets) for address in own if targets]
    return tuple(sorted(result))


def target_port(entry: Json, machine: PodMachine) -> int | None:
    """The number of a target port in a pod. None: the pod names no such port."""
    target = entry.get("targetPort") or entry.get("port")
    if isinstance(target, int) or (isinstance(target, str) and target.isdigit()):
        return int(target)
    ports: Iterable[Port] = (port for container in machine.pod.spec.containers for port in container.ports)
    return next((port.container_port for port in ports if port.name == target), None)
