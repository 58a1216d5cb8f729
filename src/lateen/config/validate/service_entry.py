"""ServiceEntry, WorkloadEntry, WorkloadGroup. Source: Istio, ValidateServiceEntry, ValidateWorkloadEntry, ValidateWorkloadGroup."""

from collections.abc import Mapping

from lateen.base.addresses import is_ip, is_range
from lateen.base.findings import Finding
from lateen.config.kinds.istio.service_entry import Resolution, ServiceEntry, ServiceEntrySpec
from lateen.config.kinds.istio.workload_entry import WorkloadEntry, WorkloadEntrySpec, WorkloadGroup, WorkloadProbe
from lateen.config.validate.destinations import MAX_WEIGHTS
from lateen.config.validate.names import (
    HTTP_PROTOCOLS,
    TLS_PROTOCOLS,
    check_export_to,
    check_labels,
    check_port,
    check_protocol,
    check_selector,
    check_unix_path,
    host_problem,
    is_header_token,
    is_label,
)
from lateen.config.validate.report import Report

_DNS = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
NAMED_PROTOCOLS = frozenset({"http", "http2", "grpc", "tls"})
"""What resolution DYNAMIC_DNS serves: traffic that says whom it is for. Source: Istio."""


def check(item: ServiceEntry) -> tuple[Finding, ...]:
    """All findings about one ServiceEntry."""
    report = Report(item)
    spec = item.spec
    if spec.workload_selector is not None:
        if spec.endpoints:
            report.error("spec.workloadSelector", "either workloadSelector or endpoints")
        check_selector(report, "spec.workloadSelector.labels", spec.workload_selector.labels)
    if not spec.hosts:
        report.error("spec.hosts", "a ServiceEntry needs at least one host")
    for index, host in enumerate(spec.hosts):
        if host == "*":
            report.error(f"spec.hosts[{index}]", "`*` is no host of a ServiceEntry")
        elif problem := host_problem(host):
            report.error(f"spec.hosts[{index}]", problem)
    _addresses(report, spec)
    _ports(report, spec)
    _endpoints(report, spec)
    _distinguishable(report, spec)
    check_export_to(report, spec.export_to, item.meta.namespace, is_entry=True)
    return report.findings


def _addresses(report: Report, spec: ServiceEntrySpec) -> None:
    for index, address in enumerate(spec.addresses):
        field = f"spec.addresses[{index}]"
        if not is_range(address):
            report.error(field, f"not an IP address or CIDR block: `{address}`")
        if "/" in address and spec.resolution not in (Resolution.NONE, Resolution.STATIC):
            report.error(field, f"a CIDR block goes with resolution NONE or STATIC only: `{address}`")


def _ports(report: Report, spec: ServiceEntrySpec) -> None:
    names: set[str] = set()
    numbers: set[int] = set()
    for index, port in enumerate(spec.ports):
        field = f"spec.ports[{index}]"
        if not is_label(port.name):
            report.error(f"{field}.name", f"not a port's name: `{port.name}`")
        if port.name in names:
            report.error(f"{field}.name", f"twice in one ServiceEntry: `{port.name}`")
        if port.number in numbers:
            report.error(f"{field}.number", f"twice in one ServiceEntry: {port.number}")
        names.add(port.name)
        numbers.add(port.number)
        check_port(report, f"{field}.number", port.number)
        if port.target_port:
            check_port(report, f"{field}.targetPort", port.target_port)
        check_protocol(report, f"{field}.protocol", port.protocol)


def _endpoints(report: Report, spec: ServiceEntrySpec) -> None:
    names = {port.name for port in spec.ports}
    if (total := sum(endpoint.weight or 0 for endpoint in spec.endpoints)) > MAX_WEIGHTS:
        report.error("spec.endpoints", f"weights may sum to {MAX_WEIGHTS}, these to {total}", "what counts is their proportion: divide them all")
    if spec.resolution is Resolution.NONE and spec.endpoints:
        report.error("spec.endpoints", "resolution NONE takes the address the caller used: it has no endpoints", "use STATIC or DNS")
    if spec.resolution is Resolution.DYNAMIC_DNS:
        _by_name(report, spec)
    if spec.resolution is Resolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        report.error("spec.endpoints", "resolution DNS_ROUND_ROBIN has at most one endpoint")
    if spec.resolution in _DNS and not spec.endpoints:
        for index, host in enumerate(spec.hosts):
            if host.startswith("*"):
                report.error(f"spec.hosts[{index}]", f"a wildcard cannot be looked up, and there are no endpoints: `{host}`")
    for index, endpoint in enumerate(spec.endpoints):
        field = f"spec.endpoints[{index}]"
        _endpoint(report, field, endpoint, allows_names=spec.resolution is not Resolution.STATIC)
        if endpoint.address.startswith("unix://"):
            if len(spec.ports) != 1:
                report.error(f"{field}.address", "a Unix socket serves a ServiceEntry of exactly one port")
            continue
        for name in endpoint.ports:
            if name not in names:
                report.error(f"{field}.ports[{name}]", f"no such port of the ServiceEntry: `{name}`", ", ".join(sorted(names)))


def _by_name(report: Report, spec: ServiceEntrySpec) -> None:
    """Resolution DYNAMIC_DNS: wildcards alone, no addresses and no endpoints, protocols that say a name."""
    if spec.endpoints:
        report.error("spec.endpoints", "resolution DYNAMIC_DNS takes the name the caller used: it has no endpoints")
    if spec.addresses:
        report.error("spec.addresses", "resolution DYNAMIC_DNS takes the name the caller used: it has no addresses")
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            report.error(f"spec.hosts[{index}]", f"resolution DYNAMIC_DNS is for wildcard hosts: `{host}`", "use DNS")
    for index, port in enumerate(spec.ports):
        if port.protocol.lower() not in NAMED_PROTOCOLS:
            report.error(
                f"spec.ports[{index}].protocol", f"resolution DYNAMIC_DNS needs a protocol that says a name: `{port.protocol}`", "HTTP, HTTP2, GRPC or TLS"
            )


def _endpoint(report: Report, field: str, endpoint: WorkloadEntrySpec, allows_names: bool) -> None:
    address = endpoint.address
    if address.startswith("unix://"):
        check_unix_path(report, f"{field}.address", address)
        if endpoint.ports:
            report.error(f"{field}.ports", "a Unix socket has no ports")
    elif not address:
        if not endpoint.network:
            report.error(f"{field}.address", "an address is missing", "or set network")
    elif not is_ip(address):
        problem = host_problem(address, allows_wildcard=False)
        if not allows_names:
            report.error(f"{field}.address", f"resolution STATIC needs IP addresses: `{address}`", "use resolution DNS")
        elif problem:
            report.error(f"{field}.address", f"neither an IP address nor a DNS name: `{address}`")
    _named_ports(report, f"{field}.ports", endpoint.ports)
    check_labels(report, f"{field}.labels", endpoint.labels)


def _named_ports(report: Report, field: str, ports: Mapping[str, int]) -> None:
    for name, number in ports.items():
        if not is_label(name):
            report.error(f"{field}[{name}]", f"not a port's name: `{name}`")
        check_port(report, f"{field}[{name}]", number)


def _distinguishable(report: Report, spec: ServiceEntrySpec) -> None:
    """Several hosts on a TCP port are the same to a proxy, unless the caller's address decides. Source: Istio, ValidateServiceEntry."""
    if spec.resolution is Resolution.NONE or len(spec.hosts) < 2:
        return
    for index, port in enumerate(spec.ports):
        if port.protocol.lower() not in HTTP_PROTOCOLS | TLS_PROTOCOLS:
            message = f"several hosts cannot be told apart on a port of protocol {port.protocol.upper() or '(none)'}"
            report.error(f"spec.ports[{index}].protocol", message, "one ServiceEntry per host, or an HTTP or TLS port")
            return


def check_workload_entry(item: WorkloadEntry) -> tuple[Finding, ...]:
    """All findings about one WorkloadEntry."""
    report = Report(item)
    _endpoint(report, "spec", item.spec, allows_names=True)
    return report.findings


def check_workload_group(item: WorkloadGroup) -> tuple[Finding, ...]:
    """All findings about one WorkloadGroup."""
    report = Report(item)
    spec = item.spec
    if spec.template is None:
        report.error("spec.template", "a template is missing")
    else:
        template = spec.template
        if template.address.startswith("unix://"):
            check_unix_path(report, "spec.template.address", template.address)
            if template.ports:
                report.error("spec.template.ports", "a Unix socket has no ports")
        _named_ports(report, "spec.template.ports", template.ports)
        check_labels(report, "spec.template.labels", template.labels)
    if spec.metadata is not None:
        check_labels(report, "spec.metadata.labels", spec.metadata.labels)
    if spec.probe is not None:
        _probe(report, spec.probe)
    return report.findings


def _probe(report: Report, probe: WorkloadProbe) -> None:
    numbers = {
        "initialDelaySeconds": probe.initial_delay_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    for name, value in numbers.items():
        if value < 0:
            report.error(f"spec.probe.{name}", f"must not be negative: {value}")
    if probe.http_get is not None:
        check_port(report, "spec.probe.httpGet.port", probe.http_get.port)
        if probe.http_get.scheme not in ("", "HTTP", "HTTPS"):
            report.error("spec.probe.httpGet.scheme", f"HTTP or HTTPS: `{probe.http_get.scheme}`")
        for index, header in enumerate(probe.http_get.http_headers):
            if not is_header_token(header.name):
                report.error(f"spec.probe.httpGet.httpHeaders[{index}].name", f"not a header's name: `{header.name}`")
    if probe.tcp_socket is not None:
        check_port(report, "spec.probe.tcpSocket.port", probe.tcp_socket.port)
    if probe.grpc is not None:
        check_port(report, "spec.probe.grpc.port", probe.grpc.port)
    if probe.exec is not None and not probe.exec.command:
        report.error("spec.probe.exec.command", "a command is missing")
