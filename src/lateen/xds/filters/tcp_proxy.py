"""The TCP proxy filter. Called by `xds.listeners`. Envoy: TcpProxy; Istio: TCP routes, connection pools, tunnels."""

from lateen.plan.access_logs import AccessLog
from lateen.plan.listener import Tcp
from lateen.wire.pb.envoy.config.listener.v3 import listener_components_pb2
from lateen.wire.pb.envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2
from lateen.wire.pb.envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from lateen.wire.pb.envoy.type.v3 import hash_policy_pb2
from lateen.xds.any import duration, packed
from lateen.xds.filters.access_log import access_loggers
from lateen.xds.filters.dynamic_dns import by_server_name
from lateen.xds.filters.on_demand import for_connections

EARLY_DATA_BYTES = 64 * 1024
"""How much a client may send before its handshake is done and the application connected; then it waits. Envoy: TcpProxy.max_early_data_bytes."""


def tcp_filters(tcp: Tcp, logs: tuple[AccessLog, ...], *, needs_client: bool, finds_clusters: bool) -> list[listener_components_pb2.Filter]:
    """The network filters of a chain that forwards bytes. `needs_client`: its TLS asks for a certificate; who shows none causes no connection behind it.
    `finds_clusters`: one that is not there is asked for."""
    message = tcp_proxy_pb2.TcpProxy(stat_prefix=tcp.stat_prefix or "tcp", access_log=access_loggers(logs))
    if finds_clusters:
        message.on_demand.CopyFrom(for_connections())
    if len(tcp.targets) == 1:
        message.cluster = tcp.targets[0].cluster
    for target in tcp.targets if len(tcp.targets) > 1 else ():
        message.weighted_clusters.clusters.add(name=target.cluster, weight=target.weight)
    if needs_client:
        message.upstream_connect_mode = tcp_proxy_pb2.ON_DOWNSTREAM_TLS_HANDSHAKE
        message.max_early_data_bytes.value = EARLY_DATA_BYTES
    if tcp.idle_timeout_s is not None:
        message.idle_timeout.CopyFrom(duration(tcp.idle_timeout_s))
    if tcp.max_duration_s is not None:
        message.max_downstream_connection_duration.CopyFrom(duration(tcp.max_duration_s))
    if tcp.is_hashed_by_source:
        message.hash_policy.add(source_ip=hash_policy_pb2.HashPolicy.SourceIp())
    if tcp.tunnel is not None:
        message.tunneling_config.hostname = tcp.tunnel.host.replace("%", "%%")  # it is read as a format
        message.tunneling_config.use_post = tcp.tunnel.method == "POST"
    filters = [by_server_name(tcp.names, tcp.names_port)] if tcp.names is not None else []
    if tcp.takes_server_name:
        message.cluster = "unused"
        filters.append(listener_components_pb2.Filter(name="envoy.filters.network.sni_cluster", typed_config=packed(sni_cluster_pb2.SniCluster())))
    filters.append(listener_components_pb2.Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(message)))
    return filters
