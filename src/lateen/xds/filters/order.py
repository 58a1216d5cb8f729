"""Which HTTP filters a connection manager has, and in what order. The tables below are the order; a new filter is one file and one line here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lateen.plan.http_settings import HttpSettings
from lateen.plan.listener import Http, Role
from lateen.wire.pb.envoy.extensions.filters.http.cors.v3 import cors_pb2
from lateen.wire.pb.envoy.extensions.filters.http.fault.v3 import fault_pb2
from lateen.wire.pb.envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2
from lateen.wire.pb.envoy.extensions.filters.http.router.v3 import router_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from lateen.xds.any import packed
from lateen.xds.filters.alpn import offered_protocol
from lateen.xds.filters.dynamic_dns import by_host
from lateen.xds.filters.on_demand import for_requests


@dataclass(frozen=True)
class HttpFilter:
    """A kind of filter: its name, and the messages of those that are wanted here, mostly one or none."""

    name: str
    messages: Callable[[Http, HttpSettings], Iterable[object]]


ON_DEMAND = HttpFilter("envoy.filters.http.on_demand", lambda _, settings: [for_requests()] if settings.finds_clusters else [])
GRPC_WEB = HttpFilter("envoy.filters.http.grpc_web", lambda http, _: [grpc_web_pb2.GrpcWeb()] if http.has_grpc_web else [])
ALPN = HttpFilter("lateen.filters.http.alpn", lambda http, _: offered_protocol(http))
FAULT = HttpFilter("envoy.filters.http.fault", lambda *_: [fault_pb2.HTTPFault()])
CORS = HttpFilter("envoy.filters.http.cors", lambda *_: [cors_pb2.Cors()])
NAMES = HttpFilter("envoy.filters.http.dynamic_forward_proxy", lambda http, _: map(by_host, http.names))
ROUTER = HttpFilter("envoy.filters.http.router", lambda _, settings: [router_pb2.Router(suppress_envoy_headers=not settings.tells_upstream)])

OUTBOUND = (ON_DEMAND, GRPC_WEB, ALPN, FAULT, CORS, NAMES, ROUTER)
INBOUND = (GRPC_WEB, FAULT, CORS, ROUTER)
GATEWAY = (GRPC_WEB, FAULT, CORS, NAMES, ROUTER)
ORDER = {Role.CLIENT: OUTBOUND, Role.SERVER: INBOUND, Role.GATEWAY: GATEWAY}
"""Source: Istio, order of HTTP filters. `fault` and `cors` do nothing but where a route says so;
they are always there so that a route change touches no listener. `on_demand` is the first: a request that waited for its cluster passes all filters anew."""


def http_filters(http: Http, settings: HttpSettings) -> list[hcm.HttpFilter]:
    """The filters of one connection manager, the router last."""
    return [hcm.HttpFilter(name=one.name, typed_config=packed(message)) for one in ORDER[http.role] for message in one.messages(http, settings)]
