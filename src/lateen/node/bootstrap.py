"""What an Envoy is started with: who it is, where its configuration comes from, its own health and metrics ports. JSON, never YAML.

Every path is relative to the directory Envoy is started in, so that nothing but the node block differs between pods. Called by `node.sidecar`;
everything else an Envoy does comes to it over the relay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lateen.base.names import PROXY_MARK, VIRTUAL_INBOUND
from lateen.node.pod import Interception, PodIdentity, ProxyType
from lateen.node.settings import ProxySettings

Json = dict[str, Any]
"""A JSON object for Envoy: its shape is Envoy's Bootstrap message, checked by Envoy itself in the tests."""

ADS_SOCKET: Final = "ads.sock"
ADMIN_SOCKET: Final = "admin.sock"
OWN_LISTENER: Final = "envoy-"
"""How the names of a proxy's own listeners begin."""
READY_PORT: Final = 15021
METRICS_PORT: Final = 15090
PROXY_DNS_PORT: Final = 15054
"""Where the node answers the proxy's own lookups: a view without the virtual addresses of ServiceEntries, which only applications may see."""
ISTIO_VERSION: Final = "1.32.0"
"""The Istio whose configuration API we speak: EnvoyFilters match proxies by it."""
_SO_MARK: Final = (1, 36)
_STATS_PREFIXES: Final = ("cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "istio", "main_thread", "workers", "sds")
"""`istio`: the scope of the mesh's own metrics. Full statistics cost seconds of start-up at a thousand services."""
PROXY_CONFIG_ANNOTATION: Final = "proxy.istio.io/config"
"""The pod's own ProxyConfig, which control lays over the mesh's."""
OPEN_CONNECTIONS: Final = ".downstream_cx_active"
"""The end of the names of listeners' gauges of open connections. (`server.total_connections` is as old as the last flush, up to 5 s.)"""
_BUCKETS_MS: Final = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000)
"""Source: Istio, buckets of its standard histograms."""
_TYPES: Final = "type.googleapis.com/envoy."


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """What the machine adds to every proxy. `settings`: what the mesh's owner chose for this one. `uses_node_dns`: the node's DNS server listens in the pod."""

    domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    cluster_id: str = "Kubernetes"
    network: str = ""
    uses_node_dns: bool = True
    has_mark: bool = True
    has_own_ports: bool = True
    """Readiness and metrics have ports of their own. False: the machine's addresses are others' too, the admin socket tells both."""
    settings: ProxySettings = field(default_factory=ProxySettings)


def bootstrap(pod: PodIdentity, options: BootstrapOptions) -> Json:
    """The bootstrap of the pod's proxy."""
    has_ipv6 = any(":" in address for address in pod.addresses)
    settings = options.settings
    own_ports = [_ready_listener(has_ipv6), _metrics_listener(has_ipv6, settings.compresses_stats)] if options.has_own_ports else []
    if settings.admin_port is not None:
        own_ports.append(_administration_listener(settings.admin_port, pod))
    config: Json = {
        "node": node_block(pod, options),
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {"lds_config": _ads_source(), "cds_config": _ads_source(), "ads_config": _ads()},
        "static_resources": {"listeners": own_ports, "clusters": [_relay_cluster(), _admin_cluster()]},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _runtime(options)}, {"name": "admin", "admin_layer": {}}]},
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": [*_kept(settings), _open(pod, settings)]}},
            "histogram_bucket_settings": [{"match": {"prefix": "istio"}, "buckets": list(_BUCKETS_MS)}],
        },
        "stats_eviction_interval": "60s",
        "overload_manager": {"resource_monitors": [_connection_monitor(settings.most_connections)]},
    }
    if options.has_mark:
        config["cluster_manager"] = {"upstream_bind_config": {"socket_options": [mark_option()]}}
    if options.uses_node_dns:
        config["typed_dns_resolver_config"] = _node_resolver()
    return config


def _kept(settings: ProxySettings) -> list[Json]:
    """Which statistics there are besides open connections. Source: Istio, proxyStatsMatcher: what is named comes to what is always kept."""
    kept: list[Json] = [{"prefix": prefix} for prefix in (*_STATS_PREFIXES, *settings.stats_prefixes)]
    kept += [{"suffix": suffix} for suffix in settings.stats_suffixes]
    return kept + [{"safe_regex": {"regex": pattern}} for pattern in settings.stats_regexps]


def _open(pod: PodIdentity, settings: ProxySettings) -> Json:
    """The gauges that say whether somebody still talks to a leaving pod: of a sidecar its inbound listeners', of a gateway, or without capture, every one's."""
    is_any = pod.proxy_type is ProxyType.ROUTER or pod.interception is Interception.NONE
    return {"suffix": OPEN_CONNECTIONS if is_any else f"_{settings.inbound_port}{OPEN_CONNECTIONS}"}


def node_block(pod: PodIdentity, options: BootstrapOptions) -> Json:
    """Envoy's `node`: id, metadata and locality as Istio's proxies have them, so that control need not know who started the proxy."""
    place = pod.locality
    locality = {key: value for key, value in (("region", place.region), ("zone", place.zone), ("sub_zone", place.sub_zone)) if value}
    metadata: Json = {
        "NAME": pod.name,
        "NAMESPACE": pod.namespace,
        "SERVICE_ACCOUNT": pod.service_account,
        "LABELS": dict(sorted(pod.labels.items())),
        "ANNOTATIONS": dict(sorted(pod.annotations.items())),
        "INSTANCE_IPS": ",".join(pod.addresses),
        "ISTIO_VERSION": ISTIO_VERSION,
        "CLUSTER_ID": options.cluster_id,
        "INTERCEPTION_MODE": pod.interception.value,
        "WORKLOAD_NAME": pod.workload or pod.name,
        "ENVOY_STATUS_PORT": READY_PORT,
        "ENVOY_PROMETHEUS_PORT": METRICS_PORT,
        "OUTBOUND_LISTEN_PORT": str(options.settings.outbound_port),
        "INBOUND_LISTEN_PORT": str(options.settings.inbound_port),
        "MESH_ID": options.settings.mesh_id or options.trust_domain,
        "DNS_CAPTURE": "true" if options.uses_node_dns and pod.proxy_type is ProxyType.SIDECAR else "false",
    }
    own = pod.annotations.get(PROXY_CONFIG_ANNOTATION, "")
    for key, value in (("NETWORK", options.network), ("OWNER", pod.owner), ("NODE_NAME", pod.node_name), ("PROXY_CONFIG", own)):
        if value:
            metadata[key] = value
    metadata = {**options.settings.metadata, **metadata}
    block: Json = {"id": pod.node_id(options.domain), "cluster": _cluster(pod, options.settings), "metadata": metadata}
    return block | {"locality": locality} if locality else block


def _cluster(pod: PodIdentity, settings: ProxySettings) -> str:
    """What the proxy's application is called. Source: Istio, serviceCluster and tracingServiceName."""
    if settings.service_cluster:
        return settings.service_cluster
    return pod.app if settings.naming == "CANONICAL_NAME_ONLY" else f"{pod.app}.{pod.namespace}"


def mark_option() -> Json:
    """The socket option that lets a proxy's own connections pass the redirect rules."""
    level, name = _SO_MARK
    return {"description": "mark of the proxy", "level": level, "name": name, "int_value": PROXY_MARK, "state": "STATE_PREBIND"}


def _ads_source() -> Json:
    """Without a timeout: an Envoy without configuration waits for it rather than start empty."""
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _ads() -> Json:
    """The stream ends in the node's relay, a local socket: so Envoy may come back at once when the node has restarted."""
    back_off = {"base_interval": "0.1s", "max_interval": "1s"}
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc", "retry_policy": {"retry_back_off": back_off}}}],
    }


def _relay_cluster() -> Json:
    """The node's relay. No keep-alive pings: a local socket says when its other end is gone."""
    protocol = {"@type": f"{_TYPES}extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        "load_assignment": _at_socket("xds-grpc", ADS_SOCKET),
    }


def _admin_cluster() -> Json:
    return {"name": "prometheus_stats", "type": "STATIC", "connect_timeout": "1s", "load_assignment": _at_socket("prometheus_stats", ADMIN_SOCKET)}


def _at_socket(cluster: str, path: str) -> Json:
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}]}


def _ready_listener(has_ipv6: bool) -> Json:
    """`/healthz/ready` on 15021: 200 when Envoy has its configuration. Source: Istio, readiness of its proxies."""
    return _admin_listener("envoy-ready", READY_PORT, {"/healthz/ready": "/ready"}, has_ipv6)


def _metrics_listener(has_ipv6: bool, compresses: bool) -> Json:
    """`/stats/prometheus` on 15090. Source: Istio, the port of Envoy's own metrics, and statsCompression."""
    listener = _admin_listener("envoy-metrics", METRICS_PORT, {"/stats/prometheus": ""}, has_ipv6)
    if compresses:
        filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        filters[:0] = [_compressor(name, kind) for name, kind in _COMPRESSIONS]
    return listener


_COMPRESSIONS: Final = (("brotli", "Brotli"), ("zstd", "Zstd"), ("gzip", "Gzip"))
"""What a scraper may ask for. Its own order of preference counts."""


def _compressor(name: str, kind: str) -> Json:
    """Plain text is compressed where who asks takes it."""
    library = {"name": name, "typed_config": {"@type": f"{_TYPES}extensions.compression.{name}.compressor.v3.{kind}"}}
    config = {
        "@type": f"{_TYPES}extensions.filters.http.compressor.v3.Compressor",
        "compressor_library": library,
        "response_direction_config": {"common_config": {"content_type": ["text/plain"]}},
    }
    return {"name": f"envoy.filters.http.compressor.{name}", "typed_config": config}


def _administration_listener(port: int, pod: PodIdentity) -> Json:
    """All of Envoy's admin, for who is in the pod. Source: Istio, proxyAdminPort."""
    host = "127.0.0.1" if any("." in address for address in pod.addresses) else "::1"
    listener = _admin_listener("envoy-admin", port, {}, False)
    listener["address"]["socket_address"]["address"] = host
    return listener


def _admin_listener(name: str, port: int, paths: Mapping[str, str], has_ipv6: bool) -> Json:
    """A port that shows paths of Envoy's admin socket and nothing else. `paths`: the path asked for → the one on the socket, empty: the same; none: all."""
    routes = []
    for path, rewritten in paths.items():
        action: Json = {"cluster": "prometheus_stats", "timeout": "10s"}
        if rewritten:
            action["regex_rewrite"] = {"pattern": {"regex": "^.*$"}, "substitution": rewritten}
        routes.append({"match": {"path": path}, "route": action})
    if not paths:
        routes.append({"match": {"prefix": "/"}, "route": {"cluster": "prometheus_stats", "timeout": "60s"}})
    manager = {
        "@type": f"{_TYPES}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPES}extensions.filters.http.router.v3.Router"}}],
    }
    address: Json = {"address": "::", "port_value": port, "ipv4_compat": True} if has_ipv6 else {"address": "0.0.0.0", "port_value": port}
    return {
        "name": name,
        "address": {"socket_address": address},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
    }


def _runtime(options: BootstrapOptions) -> Json:
    """`re2…`: users' regular expressions are bounded when they are read, not here. Source: Istio, the runtime of its proxies."""
    most = options.settings.most_listener_connections
    limits = {} if most is None else {listener_limit(VIRTUAL_INBOUND): most}
    return {"re2.max_program_size.error_level": 32768, **limits, **options.settings.runtime}


def listener_limit(name: str) -> str:
    """The runtime key of the connections that a listener may have. Source: Envoy, runtime of listeners."""
    return f"envoy.resource_limits.listener.{name}.connection_limit"


def _connection_monitor(most: int | None) -> Json:
    """How many connections clients may have open; with None it says that there is no limit, which Envoy otherwise warns about."""
    kind = f"{_TYPES}extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    limit = {"@type": kind, "max_active_downstream_connections": most or 2**31 - 1}
    return {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": limit}


def _node_resolver() -> Json:
    resolver = {"socket_address": {"address": "127.0.0.1", "port_value": PROXY_DNS_PORT}}
    config = {
        "@type": f"{_TYPES}extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [resolver],
        "dns_resolver_options": {"no_default_search_domain": True},
    }
    return {"name": "envoy.network.dns_resolver.cares", "typed_config": config}
