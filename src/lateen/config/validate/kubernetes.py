"""What the API server of Kubernetes refuses in objects that the mesh reads, where it would break what comes of them. Source: Kubernetes, validation."""

from lateen.base.addresses import is_ip
from lateen.base.findings import Finding
from lateen.config.kinds.kubernetes.service import Service, ServicePort
from lateen.config.validate.report import Report

HIGHEST_PORT = 65535
NO_ADDRESS = "None"
"""`clusterIP` of a headless service."""


def check_service(item: Service) -> tuple[Finding, ...]:
    """All findings about one Service."""
    report = Report(item)
    places = [("spec.clusterIP", item.spec.cluster_ip), *((f"spec.clusterIPs[{at}]", one) for at, one in enumerate(item.spec.cluster_ips))]
    for field, address in places:
        if address not in ("", NO_ADDRESS) and not is_ip(address):
            report.error(field, f"not an IP address: {address!r}", f"leave it out, or {NO_ADDRESS} for a headless service")
    for at, port in enumerate(item.spec.ports):
        if not 1 <= port.port <= HIGHEST_PORT:
            report.error(f"spec.ports[{at}].port", f"not a port: {port.port}", f"1 to {HIGHEST_PORT}")
        if isinstance(port.target_port, int) and not 0 <= port.target_port <= HIGHEST_PORT:
            report.error(f"spec.ports[{at}].targetPort", f"not a port: {port.target_port}", f"1 to {HIGHEST_PORT}")
    _check_distinct(report, item.spec.ports)
    return report.findings


def _check_distinct(report: Report, ports: tuple[ServicePort, ...]) -> None:
    """A number once for each transport protocol; several ports have names, each its own."""
    numbers: dict[tuple[str, int], str] = {}
    names: set[str] = set()
    for at, port in enumerate(ports):
        if (key := (port.protocol, port.port)) in numbers:
            other = f" (`{numbers[key]}` has it)" if numbers[key] else ""
            report.error(f"spec.ports[{at}].port", f"twice in one Service: {port.port}{other}", "one port speaks one protocol; give the other its own")
        numbers.setdefault(key, port.name)
        if len(ports) > 1 and not port.name:
            report.error(f"spec.ports[{at}].name", "a Service with several ports must name each")
        elif port.name and port.name in names:
            report.error(f"spec.ports[{at}].name", f"twice in one Service: `{port.name}`")
        names.add(port.name)
