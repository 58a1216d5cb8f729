"""Clusters asked for when the first request or connection needs them. Called by `order` and `tcp_proxy`. Envoy: OnDemand, TcpProxy.OnDemand."""

from lateen.wire.pb.envoy.config.core.v3 import config_source_pb2
from lateen.wire.pb.envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2
from lateen.wire.pb.envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from lateen.xds.any import duration

PATIENCE_S = 8.0
"""How long a request waits for its cluster before it gets 503. Control answers within milliseconds, and the node within five seconds when control does not."""


def _source() -> config_source_pb2.ConfigSource:
    return config_source_pb2.ConfigSource(ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3)


def for_requests() -> on_demand_pb2.OnDemand:
    """The HTTP filter's message."""
    return on_demand_pb2.OnDemand(odcds=on_demand_pb2.OnDemandCds(source=_source(), timeout=duration(PATIENCE_S)))


def for_connections() -> tcp_proxy_pb2.TcpProxy.OnDemand:
    """The part of a TCP proxy."""
    return tcp_proxy_pb2.TcpProxy.OnDemand(odcds_config=_source(), timeout=duration(PATIENCE_S))
