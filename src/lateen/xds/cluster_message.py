"""One planned cluster as its message. Called by `xds.clusters`. Envoy: cluster.v3.Cluster, upstreams.http.v3.HttpProtocolOptions."""

from typing import assert_never

from lateen.base.names import PROXY_MARK
from lateen.plan.cluster import (
    Balancer,
    Bind,
    Breakers,
    Choice,
    Cluster,
    Discovery,
    Dns,
    Family,
    Http,
    Hypertext,
    Localities,
    Maglev,
    Outlier,
    RingHash,
    Simple,
    SlowStart,
    Weighted,
    ZoneAware,
)
from lateen.wire.pb.envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from lateen.wire.pb.envoy.config.common.matcher.v3 import matcher_pb2
from lateen.wire.pb.envoy.config.core.v3 import address_pb2, config_source_pb2, protocol_pb2, socket_option_pb2
from lateen.wire.pb.envoy.extensions.clusters.common.dns.v3 import dns_pb2 as family_pb2
from lateen.wire.pb.envoy.extensions.clusters.dns.v3 import dns_cluster_pb2 as dns_pb2
from lateen.wire.pb.envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2 as forward_pb2
from lateen.wire.pb.envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from lateen.xds.any import duration, packed
from lateen.xds.assignment_message import assignment_message
from lateen.xds.transport import apply_transport

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
FORWARD_TYPE = "envoy.clusters.dynamic_forward_proxy"
DNS_TYPE = "envoy.clusters.dns"
DNS_JITTER_S = 0.1
NEVER_S = 9223372035
"""The longest interval of a clean-up that Envoy takes."""
_TYPES = {
    Discovery.EDS: cluster_pb2.Cluster.EDS,
    Discovery.STATIC: cluster_pb2.Cluster.STATIC,
    Discovery.ORIGINAL_DST: cluster_pb2.Cluster.ORIGINAL_DST,
}
_CHOICES = {
    Choice.LEAST_REQUEST: cluster_pb2.Cluster.LEAST_REQUEST,
    Choice.ROUND_ROBIN: cluster_pb2.Cluster.ROUND_ROBIN,
    Choice.RANDOM: cluster_pb2.Cluster.RANDOM,
    Choice.PROVIDED: cluster_pb2.Cluster.CLUSTER_PROVIDED,
}
_FAMILIES = {Family.V4_ONLY: cluster_pb2.Cluster.V4_ONLY, Family.V6_ONLY: cluster_pb2.Cluster.V6_ONLY, Family.ALL: cluster_pb2.Cluster.ALL}
_FAMILIES_OF_DNS = {Family.V4_ONLY: family_pb2.V4_ONLY, Family.V6_ONLY: family_pb2.V6_ONLY, Family.ALL: family_pb2.ALL}
SOL_SOCKET, SO_MARK = 1, 36


def cluster_message(cluster: Cluster) -> cluster_pb2.Cluster:
    """The message of a cluster."""
    message = cluster_pb2.Cluster(name=cluster.name, alt_stat_name=cluster.stat_name)
    message.connect_timeout.CopyFrom(duration(cluster.connect_timeout_s))
    _apply_discovery(message, cluster)
    _apply_http(message, cluster.http)
    _apply_balancer(message, cluster.balancer)
    message.circuit_breakers.thresholds.append(_thresholds(cluster.breakers))
    if cluster.outlier is not None:
        message.outlier_detection.CopyFrom(_outlier(cluster.outlier))
    if cluster.panic_percent is not None:
        message.common_lb_config.healthy_panic_threshold.value = cluster.panic_percent
    if cluster.localities is not None:
        _apply_localities(message, cluster.localities)
    if cluster.keepalive is not None:
        keepalive = message.upstream_connection_options.tcp_keepalive
        keepalive.SetInParent()
        for field, value in (
            (keepalive.keepalive_probes, cluster.keepalive.probes),
            (keepalive.keepalive_time, cluster.keepalive.time_s),
            (keepalive.keepalive_interval, cluster.keepalive.interval_s),
        ):
            if value is not None:
                field.value = value
    if cluster.bind is not None:
        message.upstream_bind_config.CopyFrom(_bind(cluster.bind))
    apply_transport(message, cluster.transport)
    _apply_metadata(message, cluster)
    return message


def _apply_discovery(message: cluster_pb2.Cluster, cluster: Cluster) -> None:
    if cluster.discovery in _TYPES:
        message.type = _TYPES[cluster.discovery]
    elif cluster.dns is not None:
        is_forward = cluster.discovery is Discovery.FORWARD
        message.cluster_type.name = FORWARD_TYPE if is_forward else DNS_TYPE
        is_single = cluster.discovery is Discovery.LOGICAL_DNS
        message.cluster_type.typed_config.CopyFrom(packed(_forward(cluster.dns, cluster.http)) if is_forward else packed(_resolving(cluster.dns, is_single)))
    if cluster.discovery is Discovery.EDS:
        message.eds_cluster_config.service_name = cluster.name
        message.eds_cluster_config.eds_config.ads.SetInParent()
        message.eds_cluster_config.eds_config.resource_api_version = config_source_pb2.V3
    if cluster.assignment is not None:
        message.load_assignment.CopyFrom(assignment_message(cluster.assignment))
    if cluster.keeps_hosts:
        message.cleanup_interval.seconds = NEVER_S


def _resolving(dns: Dns, is_single: bool) -> dns_pb2.DnsCluster:
    """`is_single`: all addresses of the one name are one endpoint (logical DNS)."""
    config = dns_pb2.DnsCluster(dns_lookup_family=_FAMILIES_OF_DNS[dns.family], respect_dns_ttl=True, all_addresses_in_single_endpoint=is_single)
    config.dns_refresh_rate.CopyFrom(duration(dns.refresh_s))
    config.dns_jitter.CopyFrom(duration(DNS_JITTER_S))
    return config


def _forward(dns: Dns, http: Http) -> forward_pb2.ClusterConfig:
    """Envoy wants both the server name and its check to follow the request, wherever HTTP is set up, or to be told that they may not."""
    follows = http.is_plain or (http.has_auto_sni and http.has_auto_san_validation)
    config = forward_pb2.ClusterConfig(allow_insecure_cluster_options=dns.is_insecure or not follows)
    config.dns_cache_config.name = dns.cache
    config.dns_cache_config.dns_lookup_family = _FAMILIES[dns.family]
    if dns.max_hosts is not None:
        config.dns_cache_config.max_hosts.value = dns.max_hosts
    return config


def _apply_http(message: cluster_pb2.Cluster, http: Http) -> None:
    if http.is_plain:
        return
    options = http_protocol_options_pb2.HttpProtocolOptions()
    common = options.common_http_protocol_options
    if http.idle_timeout_s is not None:
        common.idle_timeout.CopyFrom(duration(http.idle_timeout_s))
    if http.max_connection_duration_s is not None:
        common.max_connection_duration.CopyFrom(duration(http.max_connection_duration_s))
    if http.max_requests_per_connection is not None:
        common.max_requests_per_connection.value = http.max_requests_per_connection
    match http.protocol:
        case Hypertext.HTTP1:
            options.explicit_http_config.http_protocol_options.SetInParent()
        case Hypertext.HTTP2:
            options.explicit_http_config.http2_protocol_options.CopyFrom(_http2(http))
        case Hypertext.CLIENT:
            options.use_downstream_protocol_config.http_protocol_options.SetInParent()
            options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(_http2(http))
        case _ as never:
            assert_never(never)
    if http.has_auto_sni:
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = http.has_auto_san_validation
    if http.error_codes:
        options.outlier_detection.error_matcher.CopyFrom(_errors(http.error_codes))
    message.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(packed(options))


def _errors(codes: tuple[int, ...]) -> matcher_pb2.MatchPredicate:
    """A response of one of these status codes."""
    found = matcher_pb2.MatchPredicate()
    rules = [found] if len(codes) == 1 else [found.or_match.rules.add() for _ in codes]
    for rule, code in zip(rules, codes, strict=True):
        header = rule.http_response_headers_match.headers.add(name=":status")
        header.string_match.exact = str(code)
    return found


def _http2(http: Http) -> protocol_pb2.Http2ProtocolOptions:
    """WebSockets over HTTP/2 are CONNECT requests, which both ends must allow."""
    options = protocol_pb2.Http2ProtocolOptions(allow_connect=True)
    if http.max_concurrent_streams is not None:
        options.max_concurrent_streams.value = http.max_concurrent_streams
    if http.keepalive_interval_s is not None:
        options.connection_keepalive.interval.CopyFrom(duration(http.keepalive_interval_s))
        options.connection_keepalive.timeout.CopyFrom(duration(http.keepalive_timeout_s or 10.0))
    return options


def _apply_balancer(message: cluster_pb2.Cluster, balancer: Balancer) -> None:
    match balancer:
        case RingHash():
            message.lb_policy = cluster_pb2.Cluster.RING_HASH
            message.ring_hash_lb_config.minimum_ring_size.value = balancer.minimum_size
        case Maglev():
            message.lb_policy = cluster_pb2.Cluster.MAGLEV
            if balancer.table_size is not None:
                message.maglev_lb_config.table_size.value = balancer.table_size
        case Simple():
            message.lb_policy = _CHOICES[balancer.choice]
            if balancer.slow_start is not None:
                is_least = balancer.choice is Choice.LEAST_REQUEST
                config = message.least_request_lb_config.slow_start_config if is_least else message.round_robin_lb_config.slow_start_config
                _apply_slow_start(config, balancer.slow_start)
        case _ as never:
            assert_never(never)


def _apply_localities(message: cluster_pb2.Cluster, localities: Localities) -> None:
    match localities:
        case Weighted():
            message.common_lb_config.locality_weighted_lb_config.SetInParent()
        case ZoneAware():
            config = message.common_lb_config.zone_aware_lb_config
            config.SetInParent()
            if localities.is_off:
                config.routing_enabled.value = 0
            if localities.min_size is not None:
                config.min_cluster_size.value = localities.min_size
        case _ as never:
            assert_never(never)


def _apply_slow_start(config: cluster_pb2.Cluster.SlowStartConfig, slow: SlowStart) -> None:
    config.slow_start_window.CopyFrom(duration(slow.window_s))
    if slow.aggression is not None:
        config.aggression.default_value = slow.aggression
        config.aggression.runtime_key = "upstream.slow_start.aggression"
    if slow.min_weight_percent is not None:
        config.min_weight_percent.value = slow.min_weight_percent


def _thresholds(breakers: Breakers) -> circuit_breaker_pb2.CircuitBreakers.Thresholds:
    """Every limit is said: Envoy's own are 1024 and 3."""
    message = circuit_breaker_pb2.CircuitBreakers.Thresholds()
    message.max_connections.value = breakers.max_connections
    message.max_pending_requests.value = breakers.max_pending_requests
    message.max_requests.value = breakers.max_requests
    message.max_retries.value = breakers.max_retries
    if breakers.retry_budget_percent is not None:
        message.retry_budget.budget_percent.value = breakers.retry_budget_percent
        if breakers.retry_budget_interval_s is not None:
            message.retry_budget.budget_interval.CopyFrom(duration(breakers.retry_budget_interval_s))
        if breakers.min_retry_concurrency is not None:
            message.retry_budget.min_retry_concurrency.value = breakers.min_retry_concurrency
    return message


def _outlier(outlier: Outlier) -> outlier_detection_pb2.OutlierDetection:
    message = outlier_detection_pb2.OutlierDetection()
    message.enforcing_success_rate.value = 0
    limits = (
        (outlier.consecutive_5xx, message.consecutive_5xx, message.enforcing_consecutive_5xx),
        (outlier.consecutive_gateway_errors, message.consecutive_gateway_failure, message.enforcing_consecutive_gateway_failure),
        (outlier.consecutive_local_failures, message.consecutive_local_origin_failure, message.enforcing_consecutive_local_origin_failure),
    )
    for value, limit, enforcing in limits:
        if value is not None:
            limit.value = value
            enforcing.value = 100 if value > 0 else 0
    if outlier.interval_s:
        message.interval.CopyFrom(duration(outlier.interval_s))
    if outlier.base_ejection_s:
        message.base_ejection_time.CopyFrom(duration(outlier.base_ejection_s))
    if outlier.max_ejection_percent is not None:
        message.max_ejection_percent.value = min(100, outlier.max_ejection_percent)
    if outlier.splits_local_errors:
        message.split_external_local_origin_errors = True
        message.enforcing_local_origin_success_rate.value = 0
    return message


def _bind(bind: Bind) -> address_pb2.BindConfig:
    """The source address; and the proxy's mark once more, which a cluster's own binding would otherwise take from it."""
    message = address_pb2.BindConfig()
    message.source_address.address = bind.address
    message.source_address.port_value = 0
    if bind.extra:
        extra = message.extra_source_addresses.add()
        extra.address.address = bind.extra
        extra.address.port_value = 0
        extra.socket_options.socket_options.append(_mark())
    message.socket_options.append(_mark())
    return message


def _mark() -> socket_option_pb2.SocketOption:
    return socket_option_pb2.SocketOption(
        description="proxy mark", level=SOL_SOCKET, name=SO_MARK, int_value=PROXY_MARK, state=socket_option_pb2.SocketOption.STATE_PREBIND
    )


def _apply_metadata(message: cluster_pb2.Cluster, cluster: Cluster) -> None:
    """Which rule, subset and service it is of, as Istio's tools read it."""
    if cluster.rule is None and cluster.service is None:
        return
    fields = message.metadata.filter_metadata["istio"].fields
    if cluster.rule is not None:
        rule = cluster.rule
        fields["config"].string_value = f"/apis/networking.istio.io/v1/namespaces/{rule.namespace}/destination-rule/{rule.name}"
    if cluster.subset:
        fields["subset"].string_value = cluster.subset
    if cluster.service is not None:
        host, namespace, name = cluster.service
        one = fields["services"].list_value.values.add().struct_value.fields
        one["host"].string_value, one["name"].string_value, one["namespace"].string_value = host, name, namespace
