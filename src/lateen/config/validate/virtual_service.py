"""VirtualService: hosts, gateways, and the three kinds of routes. Source: Istio, ValidateVirtualService."""

from collections.abc import Mapping, Sequence

from lateen.base.addresses import is_ip, is_range
from lateen.base.findings import Finding
from lateen.base.names import MESH_GATEWAY
from lateen.config.kinds.istio.virtual_service import (
    TcpMatch,
    TcpRoute,
    TlsMatch,
    TlsRoute,
    VirtualService,
)
from lateen.config.validate.destinations import check_gateways, check_weights
from lateen.config.validate.http_route import check_http_route
from lateen.config.validate.names import (
    check_export_to,
    check_labels,
    check_port,
    host_problem,
)
from lateen.config.validate.report import Report


def check(item: VirtualService) -> tuple[Finding, ...]:
    """All findings about one VirtualService."""
    report = Report(item)
    spec = item.spec
    is_delegate = not spec.hosts
    if is_delegate:
        _delegate(report, item)
    check_gateways(report, "spec.gateways", spec.gateways)
    applies_to_mesh = (not spec.gateways and not is_delegate) or MESH_GATEWAY in spec.gateways
    _hosts(report, spec.hosts, applies_to_mesh)
    if not (spec.http or spec.tls or spec.tcp):
        report.error("spec", "it has no route", "add http, tls or tcp")
    for index, http in enumerate(spec.http):
        check_http_route(report, f"spec.http[{index}]", http, is_delegate)
    for index, tls in enumerate(spec.tls):
        _tls_route(report, f"spec.tls[{index}]", tls, spec.hosts)
    for index, tcp in enumerate(spec.tcp):
        _tcp_route(report, f"spec.tcp[{index}]", tcp)
    check_export_to(report, spec.export_to, item.meta.namespace)
    return report.findings


def _delegate(report: Report, item: VirtualService) -> None:
    """Without hosts it is a delegate: HTTP only, bound to no gateway."""
    if item.spec.gateways:
        report.error("spec.gateways", "a VirtualService without hosts is a delegate, and a delegate names no gateways")
    for name, routes in (("tls", item.spec.tls), ("tcp", item.spec.tcp)):
        if routes:
            report.error(f"spec.{name}", "a VirtualService without hosts is a delegate, and a delegate has only http routes")


def _hosts(report: Report, hosts: Sequence[str], applies_to_mesh: bool) -> None:
    good: list[str] = []
    for index, host in enumerate(hosts):
        field = f"spec.hosts[{index}]"
        problem = host_problem(host)
        if problem and not is_ip(host):
            report.error(field, problem)
        elif host == "*" and applies_to_mesh:
            report.error(field, "the host `*` is not for sidecars", "name a gateway other than mesh, or name hosts")
        else:
            good.append(host)
    if len(good) < len(hosts):
        return
    for index, host in enumerate(good):
        for other in good[index + 1 :]:
            if hosts_overlap(host, other):
                report.error("spec.hosts", f"two hosts that overlap: `{host}` and `{other}`")


def hosts_overlap(one: str, other: str) -> bool:
    """Whether some name is meant by both; at most one leading wildcard each. Source: Istio, host.Name.Matches."""
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    if other.startswith("*"):
        return one.endswith(other[1:])
    return one == other


def is_within(host: str, of: str) -> bool:
    """Whether every name that `host` means is meant by `of`. Source: Istio, host.Name.SubsetOf."""
    if of.startswith("*"):
        return host.removeprefix("*").endswith(of[1:])
    return host == of


def _matches(report: Report, field: str, match: TlsMatch | TcpMatch) -> None:
    for index, subnet in enumerate(match.destination_subnets):
        if not is_range(subnet):
            report.error(f"{field}.destinationSubnets[{index}]", f"not an address or a CIDR block: `{subnet}`")
    if match.port:
        check_port(report, f"{field}.port", match.port)
    _source(report, field, match.source_labels, match.gateways)


def _source(report: Report, field: str, labels: Mapping[str, str], gateways: Sequence[str]) -> None:
    check_labels(report, f"{field}.sourceLabels", labels)
    check_gateways(report, f"{field}.gateways", gateways)


def _tls_route(report: Report, field: str, route: TlsRoute, hosts: Sequence[str]) -> None:
    if not route.match:
        report.error(f"{field}.match", "a tls route needs a match", "name sniHosts")
    for index, match in enumerate(route.match):
        here = f"{field}.match[{index}]"
        if not match.sni_hosts:
            report.error(f"{here}.sniHosts", "a tls match needs at least one host")
        for number, name in enumerate(match.sni_hosts):
            problem = host_problem(name)
            if problem and not is_ip(name):
                report.error(f"{here}.sniHosts[{number}]", problem)
            elif hosts and not any(is_within(name, host) for host in hosts):
                report.error(f"{here}.sniHosts[{number}]", f"none of the VirtualService's hosts: `{name}`", ", ".join(hosts))
        _matches(report, here, match)
    if not route.route:
        report.error(f"{field}.route", "a tls route needs a destination")
    check_weights(report, f"{field}.route", route.route)


def _tcp_route(report: Report, field: str, route: TcpRoute) -> None:
    for index, match in enumerate(route.match):
        here = f"{field}.match[{index}]"
        _matches(report, here, match)
        if match.source_subnet and not is_range(match.source_subnet):
            report.error(f"{here}.sourceSubnet", f"not an address or a CIDR block: `{match.source_subnet}`")
    if not route.route:
        report.error(f"{field}.route", "a tcp route needs a destination")
    check_weights(report, f"{field}.route", route.route)
