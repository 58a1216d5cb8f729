"""Filters that look a request's or connection's host up as it comes, for dynamic forward proxies. Called by `order` and `tcp_proxy`."""

from lateen.plan.listener import NameCache
from lateen.wire.pb.envoy.config.listener.v3 import listener_components_pb2
from lateen.wire.pb.envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2
from lateen.wire.pb.envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2
from lateen.wire.pb.envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3 import sni_dynamic_forward_proxy_pb2
from lateen.xds.any import packed


def _config(cache: NameCache) -> dns_cache_pb2.DnsCacheConfig:
    config = dns_cache_pb2.DnsCacheConfig(name=cache.name, dns_lookup_family=cache.family)
    if cache.max_hosts is not None:
        config.max_hosts.value = cache.max_hosts
    return config


def by_host(cache: NameCache) -> dynamic_forward_proxy_pb2.FilterConfig:
    """The HTTP filter's message: the host is the request's authority."""
    return dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=_config(cache))


def by_server_name(cache: NameCache, port: int) -> listener_components_pb2.Filter:
    """The network filter: the host is the connection's SNI."""
    message = sni_dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=_config(cache), port_value=port)
    return listener_components_pb2.Filter(name="envoy.filters.network.sni_dynamic_forward_proxy", typed_config=packed(message))
