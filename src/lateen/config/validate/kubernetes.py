"""What the API server of Kubernetes refuses in objects that the mesh reads, where it would break what comes of them. Source: Kubernetes, validation."""

from ipaddress import ip_address

from lateen.base.findings import Finding
from lateen.config.kinds.kubernetes.service import Service
from lateen.config.validate.report import Report

HIGHEST_PORT = 65535
NO_ADDRESS = "None"
"""`clusterIP` of a headless service."""


def check_service(item: Service) -> tuple[Finding, ...]:
    """All findings about one Service."""
    report = Report(item)
    places = [("spec.clusterIP", item.spec.cluster_ip), *((f"spec.clusterIPs[{at}]", one) for at, one in enumerate(item.spec.cluster_ips))]
    for field, address in places:
        if address not in ("", NO_ADDRESS) and not _is_address(address):
            report.error(field, f"not an IP address: {address!r}", f"leave it out, or {NO_ADDRESS} for a headless service")
    for at, port in enumerate(item.spec.ports):
        if not 1 <= port.port <= HIGHEST_PORT:
            report.error(f"spec.ports[{at}].port", f"not a port: {port.port}", f"1 to {HIGHEST_PORT}")
        if isinstance(port.target_port, int) and not 0 <= port.target_port <= HIGHEST_PORT:
            report.error(f"spec.ports[{at}].targetPort", f"not a port: {port.target_port}", f"1 to {HIGHEST_PORT}")
    return report.findings


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
