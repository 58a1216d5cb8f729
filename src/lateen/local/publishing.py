"""Which ports of gateways this machine offers, and where they lead. Pure. Called by `daemon`; `edge` does it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lateen.local.pods import PodMachine
from lateen.local.podspec import Json
from lateen.local.services import target_port

HOST_PORT_OFFSET = 8000
_PUBLISHED_PORTS = "lateen.io/published-ports"
_STATUS_PORT = 15021
_LAST_PORT = 65535


@dataclass(frozen=True)
class Published:
    """Port `port` of a Service, offered on 127.0.0.1:`host_port`. `targets`: address and port of the gateway's ready pods. `problem`: why it is not offered."""

    namespace: str
    service: str
    port: int
    host_port: int
    targets: tuple[tuple[str, int], ...] = ()
    problem: str = ""

    def shown(self) -> Json:
        """As control and the command line are told."""
        return {
            "namespace": self.namespace,
            "service": self.service,
            "port": self.port,
            "host_port": self.host_port,
            "url": "" if self.problem else f"http{'s' if self.port in (443, 8443) else ''}://127.0.0.1:{self.host_port}",
            "problem": self.problem,
        }


def published(services: Iterable[Json], machines: Iterable[PodMachine], publish: Mapping[int, int]) -> tuple[Published, ...]:
    """What to offer: every TCP port of every Service that selects a gateway's pod, the older Service first where two want one host port."""
    gateways = [machine for machine in machines if machine.pod.is_gateway]
    found: list[Published] = []
    owners: dict[int, str] = {}
    for item in sorted(services, key=_age):
        metadata, spec = item.get("metadata") or {}, item.get("spec") or {}
        selected = _selected(item, gateways)
        for entry in spec.get("ports") or () if selected else ():
            port = int(entry.get("port", 0))
            if port == _STATUS_PORT or entry.get("protocol", "TCP") != "TCP" or not _is_offered(metadata, port):
                continue
            host_port = publish.get(port, HOST_PORT_OFFSET + port)
            name = f"{metadata.get('namespace')}/{metadata.get('name')}"
            problem = ""
            if host_port > _LAST_PORT:
                problem = f"port {port} would be offered on {host_port}, which is no port; choose one: --publish {port}={port % 10000 + 10000}"
            elif host_port in owners:
                problem = f"port {host_port} is offered for {owners[host_port]} already; choose another: --publish {port}={host_port + 1000}"
            else:
                owners[host_port] = name
            targets = tuple(
                (machine.state.addresses[0], number)
                for machine in selected
                if machine.is_ready and machine.state.addresses and (number := target_port(entry, machine)) is not None
            )
            found.append(Published(metadata.get("namespace", ""), metadata.get("name", ""), port, host_port, tuple(sorted(targets)), problem))
    return tuple(found)


def _is_offered(metadata: Json, port: int) -> bool:
    """Made-up gateways say which of their ports some Gateway serves; a Service that somebody wrote offers all."""
    ports = (metadata.get("annotations") or {}).get(_PUBLISHED_PORTS)
    return ports is None or str(port) in ports.split(",")


def _age(item: Json) -> tuple[str, str, str]:
    metadata = item.get("metadata") or {}
    return (str(metadata.get("creationTimestamp") or ""), metadata.get("name", ""), metadata.get("namespace", ""))


def _selected(service: Json, machines: list[PodMachine]) -> list[PodMachine]:
    selector = (service.get("spec") or {}).get("selector") or {}
    namespace = (service.get("metadata") or {}).get("namespace")
    if not selector:
        return []
    return [
        machine
        for machine in machines
        if machine.pod.metadata.namespace == namespace and all(machine.pod.metadata.labels.get(key) == value for key, value in selector.items())
    ]
