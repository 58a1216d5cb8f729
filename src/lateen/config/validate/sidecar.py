"""Sidecar: listeners in and out, egress hosts, the outbound policy. Source: Istio, ValidateSidecar."""

from lateen.base.addresses import is_ip
from lateen.base.findings import Finding
from lateen.config.kinds.istio.gateway import ServerTlsMode
from lateen.config.kinds.istio.sidecar import CaptureMode, EgressListener, IngressListener, OutboundMode, Sidecar, SidecarSpec
from lateen.config.validate.destinations import check_destination
from lateen.config.validate.gateway import check_server_tls
from lateen.config.validate.names import (
    TLS_PROTOCOLS,
    check_gateway_host,
    check_port,
    check_protocol,
    check_selector,
    check_unix_path,
    is_label,
)
from lateen.config.validate.report import Report
from lateen.config.validate.traffic_policy import check_connection_pool

LOCAL_ADDRESSES = frozenset({"127.0.0.1", "0.0.0.0", "::1", "::"})
_ENDPOINT_FORM = "127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or unix:///PATH"


def check(item: Sidecar) -> tuple[Finding, ...]:
    """All findings about one Sidecar."""
    report = Report(item)
    spec = item.spec
    if spec.workload_selector is not None:
        check_selector(report, "spec.workloadSelector.labels", spec.workload_selector.labels)
    if not spec.egress and not spec.ingress and spec.outbound_traffic_policy is None and spec.inbound_connection_pool is None:
        report.error("spec", "it says nothing", "add egress, ingress, outboundTrafficPolicy or inboundConnectionPool")
    _ingress(report, spec)
    _egress(report, spec)
    check_connection_pool(report, "spec.inboundConnectionPool", spec.inbound_connection_pool)
    policy = spec.outbound_traffic_policy
    if policy is not None and policy.egress_proxy is not None:
        field = "spec.outboundTrafficPolicy.egressProxy"
        if policy.mode is not OutboundMode.ALLOW_ANY:
            report.error(field, "an egress proxy is for mode ALLOW_ANY only")
        if policy.egress_proxy.port is None:
            report.error(f"{field}.port", "a port is missing")
        check_destination(report, field, policy.egress_proxy)
    return report.findings


def _ingress(report: Report, spec: SidecarSpec) -> None:
    seen: set[int] = set()
    for index, listener in enumerate(spec.ingress):
        field = f"spec.ingress[{index}]"
        if listener.port is None:
            report.error(f"{field}.port", "a port is missing")
            continue
        check_port(report, f"{field}.port.number", listener.port.number)
        check_protocol(report, f"{field}.port.protocol", listener.port.protocol)
        if listener.port.name and not is_label(listener.port.name):
            report.error(f"{field}.port.name", f"not a port's name: `{listener.port.name}`")
        if listener.bind and not is_ip(listener.bind):
            report.error(f"{field}.bind", f"not an IP address: `{listener.bind}`")
        if listener.port.number in seen:
            report.error(f"{field}.port.number", f"two listeners on one port: {listener.port.number}")
        seen.add(listener.port.number)
        _default_endpoint(report, f"{field}.defaultEndpoint", listener.default_endpoint)
        _ingress_tls(report, f"{field}.tls", listener)
        check_connection_pool(report, f"{field}.connectionPool", listener.connection_pool)


def _default_endpoint(report: Report, field: str, endpoint: str) -> None:
    if not endpoint:
        return
    if endpoint.startswith("unix://"):
        check_unix_path(report, field, endpoint)
        return
    host, _, port = endpoint.rpartition(":")
    if host.strip("[]") not in LOCAL_ADDRESSES or not port.isdigit():
        report.error(field, f"must be of the form {_ENDPOINT_FORM}: `{endpoint}`", "or leave it out")
        return
    check_port(report, field, int(port))


def _ingress_tls(report: Report, field: str, listener: IngressListener) -> None:
    tls = listener.tls
    if tls is None or listener.port is None:
        return
    if tls.subject_alt_names:
        report.error(f"{field}.subjectAltNames", "not for a Sidecar's ingress")
    if tls.https_redirect:
        report.error(f"{field}.httpsRedirect", "not for a Sidecar's ingress")
    if tls.credential_name:
        report.error(f"{field}.credentialName", "not for a Sidecar's ingress", "name files")
    if tls.mode in (ServerTlsMode.ISTIO_MUTUAL, ServerTlsMode.AUTO_PASSTHROUGH):
        report.error(f"{field}.mode", f"not for a Sidecar's ingress: {tls.mode}")
    if listener.port.protocol.lower() not in TLS_PROTOCOLS:
        report.error(f"{field}", f"protocol {listener.port.protocol} has no tls settings", "use protocol TLS or HTTPS")
    check_server_tls(report, field, tls)


def _egress(report: Report, spec: SidecarSpec) -> None:
    seen: set[tuple[str, int]] = set()
    for index, listener in enumerate(spec.egress):
        field = f"spec.egress[{index}]"
        if listener.port is None:
            if index != len(spec.egress) - 1:
                report.error(f"{field}.port", "only the last egress listener may be without a port")
        else:
            _egress_port(report, field, listener)
            key = ("", listener.port.number) if listener.port.number else (listener.bind, 0)
            if key in seen:
                report.error(f"{field}.port.number", f"two listeners on one address: {listener.port.number or listener.bind}")
            seen.add(key)
        if not listener.hosts:
            report.error(f"{field}.hosts", "an egress listener needs at least one host")
        for number, host in enumerate(listener.hosts):
            check_gateway_host(report, f"{field}.hosts[{number}]", host, is_gateway=False)


def _egress_port(report: Report, field: str, listener: EgressListener) -> None:
    port = listener.port
    assert port is not None
    if port.name and not is_label(port.name):
        report.error(f"{field}.port.name", f"not a port's name: `{port.name}`")
    check_protocol(report, f"{field}.port.protocol", port.protocol)
    if listener.bind.startswith("unix://"):
        check_unix_path(report, f"{field}.bind", listener.bind)
        if listener.capture_mode is CaptureMode.IPTABLES:
            report.error(f"{field}.captureMode", "nothing captures traffic to a Unix socket", "DEFAULT or NONE")
        if port.number:
            report.error(f"{field}.port.number", "a Unix socket has no port: 0")
        return
    check_port(report, f"{field}.port.number", port.number)
    if listener.bind and not is_ip(listener.bind):
        report.error(f"{field}.bind", f"not an IP address: `{listener.bind}`")
