"""Traffic policies: of DestinationRules, their subsets and ports; connection pools of Sidecars too. Source: Istio, validateTrafficPolicy."""

from itertools import pairwise

from lateen.base.addresses import is_ip
from lateen.config.kinds.istio.traffic_policy import (
    ClientTls,
    ClientTlsMode,
    ConnectionPool,
    ConsistentHash,
    H2UpgradePolicy,
    LoadBalancer,
    LocalityLb,
    OutlierDetection,
    PortTrafficPolicy,
    SimpleLb,
    TrafficPolicy,
    Tunnel,
    ZoneAwareLb,
)
from lateen.config.validate.names import MAX_HOST, check_duration, check_header_name, check_matched, check_percentage, check_port, host_problem
from lateen.config.validate.report import Report

MAX_TABLE = 5_000_011
"""Maglev's largest table. Source: Envoy."""
TOPOLOGY_LABELS = frozenset({"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"})


def check_traffic_policy(report: Report, field: str, policy: TrafficPolicy | None) -> None:
    """A policy says something, and each part is right."""
    if policy is None:
        return
    parts = (policy.load_balancer, policy.connection_pool, policy.outlier_detection, policy.tls, policy.tunnel, policy.proxy_protocol, policy.retry_budget)
    if all(part is None for part in parts) and not policy.port_level_settings:
        report.error(field, "a traffic policy must say something")
    _parts(report, field, policy)
    for index, port in enumerate(policy.port_level_settings):
        _port(report, f"{field}.portLevelSettings[{index}]", port)
    if ports := ", ".join(str(one.port.number) for one in policy.port_level_settings if one.port is not None):
        for name, part in (("tunnel", policy.tunnel), ("proxyProtocol", policy.proxy_protocol), ("retryBudget", policy.retry_budget)):
            if part is not None:
                report.warning(f"{field}.{name}", f"has no effect on the ports of portLevelSettings: {ports}")
    if policy.tunnel is not None:
        _tunnel(report, f"{field}.tunnel", policy.tunnel)
    if policy.retry_budget is not None:
        if policy.retry_budget.percent is not None:
            check_percentage(report, f"{field}.retryBudget.percent", policy.retry_budget.percent)
        check_duration(report, f"{field}.retryBudget.budgetInterval", policy.retry_budget.budget_interval)


def _port(report: Report, field: str, policy: PortTrafficPolicy) -> None:
    if policy.port is None:
        report.error(f"{field}.port", "a port is missing")
    elif policy.port.number:
        check_port(report, f"{field}.port.number", policy.port.number)
    if all(part is None for part in (policy.load_balancer, policy.connection_pool, policy.outlier_detection, policy.tls)):
        report.error(field, "a port's traffic policy must say something")
    _parts(report, field, policy)


def _parts(report: Report, field: str, policy: TrafficPolicy | PortTrafficPolicy) -> None:
    if policy.outlier_detection is not None:
        _outlier_detection(report, f"{field}.outlierDetection", policy.outlier_detection)
    check_connection_pool(report, f"{field}.connectionPool", policy.connection_pool)
    if policy.load_balancer is not None:
        _load_balancer(report, f"{field}.loadBalancer", policy.load_balancer, policy.outlier_detection is not None)
    if policy.tls is not None:
        _tls(report, f"{field}.tls", policy.tls)


def check_connection_pool(report: Report, field: str, pool: ConnectionPool | None) -> None:
    """No negative limits, no durations below a millisecond."""
    if pool is None:
        return
    if pool.http is None and pool.tcp is None:
        report.error(field, "a connection pool must say something", "set http or tcp")
    if (http := pool.http) is not None:
        limits = {
            "http1MaxPendingRequests": http.http1_max_pending_requests,
            "http2MaxRequests": http.http2_max_requests,
            "maxRequestsPerConnection": http.max_requests_per_connection,
            "maxRetries": http.max_retries,
            "maxConcurrentStreams": http.max_concurrent_streams,
        }
        for name, value in limits.items():
            if value < 0:
                report.error(f"{field}.http.{name}", f"must not be negative: {value}")
        check_duration(report, f"{field}.http.idleTimeout", http.idle_timeout)
        if http.http2_keep_alive is not None:
            check_duration(report, f"{field}.http.http2KeepAlive.interval", http.http2_keep_alive.interval)
            check_duration(report, f"{field}.http.http2KeepAlive.timeout", http.http2_keep_alive.timeout)
        if http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE and http.use_client_protocol:
            report.error(f"{field}.http.useClientProtocol", "does not go with h2UpgradePolicy UPGRADE")
    if (tcp := pool.tcp) is not None:
        if tcp.max_connections < 0:
            report.error(f"{field}.tcp.maxConnections", f"must not be negative: {tcp.max_connections}")
        check_duration(report, f"{field}.tcp.connectTimeout", tcp.connect_timeout)
        check_duration(report, f"{field}.tcp.maxConnectionDuration", tcp.max_connection_duration)
        if tcp.idle_timeout is not None and tcp.idle_timeout < 0:
            report.error(f"{field}.tcp.idleTimeout", f"must not be negative: {tcp.idle_timeout}")
        if tcp.tcp_keepalive is not None:
            check_duration(report, f"{field}.tcp.tcpKeepalive.time", tcp.tcp_keepalive.time)
            check_duration(report, f"{field}.tcp.tcpKeepalive.interval", tcp.tcp_keepalive.interval)


def _outlier_detection(report: Report, field: str, outlier: OutlierDetection) -> None:
    check_duration(report, f"{field}.interval", outlier.interval)
    check_duration(report, f"{field}.baseEjectionTime", outlier.base_ejection_time)
    if outlier.consecutive_errors:
        report.deprecated(f"{field}.consecutiveErrors", "consecutiveGatewayErrors or consecutive5xxErrors")
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        message = "local failures are counted only with splitExternalLocalOriginErrors"
        report.error(f"{field}.consecutiveLocalOriginFailures", message, "set splitExternalLocalOriginErrors: true")
    check_percentage(report, f"{field}.maxEjectionPercent", outlier.max_ejection_percent)
    check_percentage(report, f"{field}.minHealthPercent", outlier.min_health_percent)


def _load_balancer(report: Report, field: str, balancer: LoadBalancer, has_outlier_detection: bool) -> None:
    if balancer.simple is SimpleLb.LEAST_CONN:
        report.deprecated(f"{field}.simple", "LEAST_REQUEST")
    if balancer.consistent_hash is not None:
        _consistent_hash(report, f"{field}.consistentHash", balancer.consistent_hash)
    if balancer.warmup_duration_secs is not None:
        report.deprecated(f"{field}.warmupDurationSecs", "warmup")
    check_duration(report, f"{field}.warmupDurationSecs", balancer.warmup_duration_secs)
    if balancer.warmup is not None:
        if balancer.warmup.duration is None:
            report.error(f"{field}.warmup.duration", "a duration is missing")
        check_duration(report, f"{field}.warmup.duration", balancer.warmup.duration)
        if balancer.warmup.minimum_percent is not None:
            check_percentage(report, f"{field}.warmup.minimumPercent", balancer.warmup.minimum_percent)
        if balancer.warmup.aggression is not None and balancer.warmup.aggression < 1:
            report.error(f"{field}.warmup.aggression", f"must be at least 1: {balancer.warmup.aggression:g}")
    if balancer.locality_lb_setting is not None:
        _locality(report, f"{field}.localityLbSetting", balancer.locality_lb_setting, has_outlier_detection)
    if balancer.zone_aware_lb_setting is not None:
        if balancer.locality_lb_setting is not None:
            report.error(f"{field}.zoneAwareLbSetting", "either localityLbSetting or zoneAwareLbSetting")
        _zone_aware(report, f"{field}.zoneAwareLbSetting", balancer.zone_aware_lb_setting, has_outlier_detection)


def _consistent_hash(report: Report, field: str, chosen: ConsistentHash) -> None:
    keys = (chosen.http_header_name, chosen.http_cookie, chosen.use_source_ip, chosen.http_query_parameter_name)
    if sum(key is not None for key in keys) > 1:
        report.error(field, "one key only: httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName")
    if chosen.http_header_name:
        check_header_name(report, f"{field}.httpHeaderName", chosen.http_header_name)
    if chosen.http_cookie is not None:
        check_matched(report, f"{field}.httpCookie.name", chosen.http_cookie.name)
    check_matched(report, f"{field}.httpQueryParameterName", chosen.http_query_parameter_name)
    if chosen.ring_hash is not None and chosen.maglev is not None:
        report.error(field, "either ringHash or maglev")
    if chosen.http_cookie is not None and not chosen.http_cookie.name:
        report.error(f"{field}.httpCookie.name", "a cookie needs a name")
    if chosen.http_cookie is not None and chosen.http_cookie.ttl is not None and chosen.http_cookie.ttl < 0:
        report.error(f"{field}.httpCookie.ttl", f"must not be negative: {chosen.http_cookie.ttl}")
    if chosen.maglev is not None and chosen.maglev.table_size:
        size = chosen.maglev.table_size
        if size > MAX_TABLE:
            report.error(f"{field}.maglev.tableSize", f"at most {MAX_TABLE}: {size}")
        elif not is_prime(size):
            report.error(f"{field}.maglev.tableSize", f"must be a prime number: {size}")


def is_prime(number: int) -> bool:
    """Whether it is a prime; for numbers up to MAX_TABLE."""
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


def _locality(report: Report, field: str, setting: LocalityLb, has_outlier_detection: bool) -> None:
    """Distribution and failover. Source: Istio, validateLocalityLbSetting."""
    if setting.distribute and setting.failover:
        report.error(f"{field}.failover", "either distribute or failover")
    if setting.failover and any(label.partition("=")[0] in TOPOLOGY_LABELS for label in setting.failover_priority):
        report.error(f"{field}.failoverPriority", "topology labels do not go with failover")
    _localities(report, f"{field}.distribute", [item.from_ for item in setting.distribute])
    for index, item in enumerate(setting.distribute):
        here = f"{field}.distribute[{index}].to"
        for locality, weight in item.to.items():
            if not 1 <= weight <= 100:
                report.error(f"{here}[{locality}]", f"a weight is between 1 and 100: {weight}")
        if sum(item.to.values()) != 100:
            report.error(here, f"the weights must sum to 100: {sum(item.to.values())}")
        _localities(report, here, list(item.to))
    for index, over in enumerate(setting.failover):
        here = f"{field}.failover[{index}]"
        if over.from_ == over.to:
            report.error(here, f"fails over to itself: `{over.to}`")
        if "*" in over.to or "/" in over.to:
            report.error(f"{here}.to", f"a region, without zone or wildcard: `{over.to}`")
    if (setting.failover or setting.failover_priority) and not has_outlier_detection:
        report.warning(field, "without outlierDetection no endpoint is ever found bad, so nothing fails over", "add outlierDetection")


def _zone_aware(report: Report, field: str, setting: ZoneAwareLb, has_outlier_detection: bool) -> None:
    """Regions to fail over to; zones are Envoy's. Source: Istio, ValidateZoneAwareLbSetting."""
    for index, label in enumerate(setting.failover_priority):
        if label.partition("=")[0] in TOPOLOGY_LABELS:
            report.error(
                f"{field}.failoverPriority[{index}]", f"regions and zones are told apart without it: `{label}`", "say with `failover` which region comes next"
            )
    for index, over in enumerate(setting.failover):
        here = f"{field}.failover[{index}]"
        if over.from_ == over.to:
            report.error(here, f"fails over to itself: `{over.to}`")
        for name, region in (("from", over.from_), ("to", over.to)):
            if "*" in region or "/" in region:
                report.error(f"{here}.{name}", f"a region, without zone or wildcard: `{region}`")
    if (setting.failover or setting.failover_priority) and not has_outlier_detection:
        report.warning(field, "without outlierDetection no endpoint is ever found bad, so nothing fails over", "add outlierDetection")


def _localities(report: Report, field: str, names: list[str]) -> None:
    """None within another; `*` only at an end. Source: Istio, validateLocalities."""
    for name in names:
        if not name or "*" in name[:-1]:
            report.error(field, f"not a locality: `{name}`", "region, region/zone, region/zone/subzone, or one of these with a last part `*`")
    prefixes = sorted(name.removesuffix("*").rstrip("/") + "/" for name in names)
    for one, other in pairwise(prefixes):
        if other.startswith(one) or one == "/":
            report.error(field, f"localities overlap: `{one.rstrip('/') or '*'}` and `{other.rstrip('/')}`")


def _tls(report: Report, field: str, tls: ClientTls) -> None:
    """Files that a mode needs, and what does not go together. Source: Istio, validateTLS."""
    if len(tls.sni.encode()) > MAX_HOST:
        report.error(f"{field}.sni", f"a server's name may have {MAX_HOST} bytes, this has {len(tls.sni.encode())}")
    is_origination = tls.mode in (ClientTlsMode.SIMPLE, ClientTlsMode.MUTUAL)
    if is_origination and tls.insecure_skip_verify:
        for name, value in (("caCertificates", tls.ca_certificates), ("subjectAltNames", tls.subject_alt_names), ("caCrl", tls.ca_crl)):
            if value:
                report.error(f"{field}.{name}", "is not looked at with insecureSkipVerify: give one or the other")
    if is_origination and tls.credential_name:
        files = (("clientCertificate", tls.client_certificate), ("privateKey", tls.private_key), ("caCertificates", tls.ca_certificates), ("caCrl", tls.ca_crl))
        for name, value in files:
            if value:
                report.error(f"{field}.{name}", "either credentialName or files")
        return
    if tls.mode is ClientTlsMode.MUTUAL:
        for name, value in (("clientCertificate", tls.client_certificate), ("privateKey", tls.private_key)):
            if not value:
                report.error(f"{field}.{name}", "mode MUTUAL needs it", "or set credentialName")


def _tunnel(report: Report, field: str, tunnel: Tunnel) -> None:
    if tunnel.protocol not in ("", "CONNECT", "POST"):
        report.error(f"{field}.protocol", f"CONNECT or POST: `{tunnel.protocol}`")
    if (problem := host_problem(tunnel.target_host, allows_wildcard=False)) and not is_ip(tunnel.target_host):
        report.error(f"{field}.targetHost", problem)
    check_port(report, f"{field}.targetPort", tunnel.target_port)
