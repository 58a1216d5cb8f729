"""The HTTP connection manager. Called by `xds.listeners`. Envoy: HttpConnectionManager; which filters it has is `order`'s."""

from lateen.plan.access_logs import AccessLog
from lateen.plan.http_settings import HttpSettings
from lateen.plan.listener import Http, InboundRoute, OpenRoute
from lateen.wire.pb.envoy.config.core.v3 import config_source_pb2, protocol_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_components_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2, route_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from lateen.wire.pb.envoy.extensions.http.header_formatters.preserve_case.v3 import preserve_case_pb2
from lateen.xds.any import duration, packed
from lateen.xds.filters.access_log import access_loggers
from lateen.xds.filters.order import http_filters

_Manager = hcm.HttpConnectionManager


def hcm_filter(http: Http, settings: HttpSettings, logs: tuple[AccessLog, ...]) -> listener_components_pb2.Filter:
    """The network filter of a chain that routes requests."""
    message = _Manager(stat_prefix=http.stat_prefix, access_log=access_loggers(logs), http_filters=http_filters(http, settings))
    if isinstance(http.route, str):
        ads = config_source_pb2.ConfigSource(ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3)
        message.rds.CopyFrom(hcm.Rds(config_source=ads, route_config_name=http.route))
    else:
        message.route_config.CopyFrom(inbound_routes(http.route) if isinstance(http.route, InboundRoute) else open_routes(http.route, settings.counts_attempts))
    _paths_and_headers(message, settings)
    _limits(message, settings)
    message.upgrade_configs.add(upgrade_type="websocket")
    if http.is_proxy:
        message.upgrade_configs.add(upgrade_type="CONNECT")
        message.http_protocol_options.allow_absolute_url.value = True
    message.http2_protocol_options.allow_connect = True
    return listener_components_pb2.Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(message))


def _paths_and_headers(message: _Manager, settings: HttpSettings) -> None:
    message.normalize_path.value = settings.normalizes_path
    message.merge_slashes = settings.merges_slashes
    message.path_with_escaped_slashes_action = getattr(_Manager, settings.escaped_slashes)
    message.proxy_100_continue = True
    message.use_remote_address.value = settings.uses_remote_address
    message.xff_num_trusted_hops = settings.trusted_hops
    message.append_x_forwarded_port = settings.appends_forwarded_port
    if settings.server_name:
        message.server_name = settings.server_name
    if settings.keeps_server:
        message.server_header_transformation = _Manager.PASS_THROUGH
    if not settings.makes_request_id:
        message.generate_request_id.value = False
    if settings.forward_client_cert:
        message.forward_client_cert_details = getattr(_Manager, settings.forward_client_cert)
        details = message.set_current_client_cert_details
        details.SetInParent()
        for name in settings.client_cert_details:
            if name == "subject":
                details.subject.value = True
            else:
                setattr(details, name, True)
    if settings.accepts_http10:
        message.http_protocol_options.accept_http_10 = True
    if settings.keeps_header_case:
        case = protocol_pb2.Http1ProtocolOptions.HeaderKeyFormat()
        case.stateful_formatter.name = "envoy.http.stateful_header_formatters.preserve_case"
        case.stateful_formatter.typed_config.CopyFrom(packed(preserve_case_pb2.PreserveCaseFormatterConfig()))
        message.http_protocol_options.header_key_format.CopyFrom(case)


def _limits(message: _Manager, settings: HttpSettings) -> None:
    message.stream_idle_timeout.CopyFrom(duration(settings.stream_idle_timeout_s))
    common = message.common_http_protocol_options
    for seconds, field in (
        (settings.drain_timeout_s, message.drain_timeout),
        (settings.request_timeout_s, message.request_timeout),
        (settings.headers_timeout_s, message.request_headers_timeout),
    ):
        if seconds is not None:
            field.CopyFrom(duration(seconds))
    if settings.idle_timeout_s is not None:
        common.idle_timeout.CopyFrom(duration(settings.idle_timeout_s))
    if settings.max_connection_s is not None:
        common.max_connection_duration.CopyFrom(duration(settings.max_connection_s))
    if settings.max_stream_s is not None:
        common.max_stream_duration.CopyFrom(duration(settings.max_stream_s))
    if settings.underscores:
        common.headers_with_underscores_action = getattr(protocol_pb2.HttpProtocolOptions, settings.underscores)
    streams = message.http2_protocol_options
    for size, wrapper in (
        (settings.max_streams, streams.max_concurrent_streams),
        (settings.stream_window_bytes, streams.initial_stream_window_size),
        (settings.connection_window_bytes, streams.initial_connection_window_size),
    ):
        if size is not None:
            wrapper.value = size


def inbound_routes(plan: InboundRoute) -> route_pb2.RouteConfiguration:
    """The inline routes of an inbound port: everything to the application, no limit on time, retried only before anything of it was sent."""
    action = route_components_pb2.RouteAction(cluster=plan.cluster, timeout=duration(0))
    action.max_stream_duration.max_stream_duration.CopyFrom(duration(0))
    action.max_stream_duration.grpc_timeout_header_max.CopyFrom(duration(0))
    if plan.retries is not None:
        policy = action.retry_policy
        policy.retry_on, policy.num_retries.value = plan.retries.on, plan.retries.attempts
        policy.retriable_status_codes.extend(plan.retries.codes)
        if plan.retries.per_try_timeout_s is not None:
            policy.per_try_timeout.CopyFrom(duration(plan.retries.per_try_timeout_s))
        if plan.retries.base_interval_s is not None:
            policy.retry_back_off.base_interval.CopyFrom(duration(plan.retries.base_interval_s))
    route = route_components_pb2.Route(name="default", match=route_components_pb2.RouteMatch(prefix="/"), route=action)
    route.decorator.operation = plan.operation
    host = route_components_pb2.VirtualHost(name=plan.host, domains=["*"], routes=[route])
    message = route_pb2.RouteConfiguration(name=plan.name, virtual_hosts=[host])
    message.validate_clusters.value = False
    return message


def open_routes(plan: OpenRoute, counts_attempts: bool = True) -> route_pb2.RouteConfiguration:
    """The inline routes for unknown hosts: everything to one cluster, without limit on time."""
    action = route_components_pb2.RouteAction(cluster=plan.cluster, timeout=duration(0), max_grpc_timeout=duration(0))
    route = route_components_pb2.Route(name=plan.host, match=route_components_pb2.RouteMatch(prefix="/"), route=action)
    host = route_components_pb2.VirtualHost(name=plan.host, domains=["*"], routes=[route], include_request_attempt_count=counts_attempts)
    message = route_pb2.RouteConfiguration(name=plan.name, virtual_hosts=[host])
    message.validate_clusters.value = False
    return message
