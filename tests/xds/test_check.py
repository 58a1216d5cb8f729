"""What `xds.check` finds wrong is what the real Envoy refuses; what it takes, Envoy takes."""

import pytest
from google.protobuf.json_format import ParseDict

from lateen.base.addresses import is_plain_ip
from lateen.insight.scratch import Scratch, Suspect
from lateen.plan.server_tls import CURVES
from lateen.wire.binary import envoy_path
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.wire.pb.envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from lateen.xds.any import packed
from lateen.xds.check import nameless, problem
from lateen.xds.resource import ResourceType


def cluster(**more):
    return ParseDict({"name": "c", "connect_timeout": "1s"} | more, cluster_pb2.Cluster())


def endpoints(*groups):
    return ParseDict({"cluster_name": "c", "endpoints": list(groups)}, endpoint_pb2.ClusterLoadAssignment())


def endpoint(address="10.0.0.1", weight=1, port=80):
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}, "load_balancing_weight": weight}


def routes(*items, domains=("*",), **host):
    hosts = [{"name": "v", "domains": list(domains), "routes": list(items)} | host]
    return ParseDict({"name": "r", "virtual_hosts": hosts}, route_pb2.RouteConfiguration())


def route(match=None, **more):
    action = {} if "redirect" in more or "direct_response" in more else {"route": {"cluster": "c"} | more.pop("to", {})}
    return {"match": match or {"prefix": "/"}} | action | more


def listener(*matches, address="127.0.0.1"):
    found = ParseDict({"name": "l", "address": {"socket_address": {"address": address, "port_value": 0}}}, listener_pb2.Listener())
    for match in matches:
        chain = found.filter_chains.add()
        ParseDict(match, chain.filter_chain_match)
        proxy = tcp_proxy_pb2.TcpProxy(stat_prefix="x", cluster="c")
        chain.filters.add(name="envoy.filters.network.tcp_proxy").typed_config.CopyFrom(packed(proxy))
    return found


def with_context(sni="", curves=(), alpn=(), certificates=()):
    found = cluster()
    found.transport_socket.name = "envoy.transport_sockets.tls"
    found.transport_socket.typed_config.CopyFrom(
        packed(
            tls_pb2.UpstreamTlsContext(
                sni=sni,
                common_tls_context=tls_pb2.CommonTlsContext(
                    tls_params={"ecdh_curves": curves},
                    alpn_protocols=alpn,
                    tls_certificate_sds_secret_configs=[{"name": name, "sds_config": {"ads": {}}} for name in certificates],
                ),
            )
        )
    )
    return found


def weighted(*weights):
    return {"cluster": None, "weighted_clusters": {"clusters": [{"name": f"c{at}", "weight": weight} for at, weight in enumerate(weights)]}}


def to_weighted(*weights):
    one = route()
    one["route"] = {key: value for key, value in weighted(*weights).items() if value is not None}
    return one


def header(key="x", value="y"):
    return {"request_headers_to_add": [{"header": {"key": key, "value": value}}]}


BAD = {
    "no name": cluster_pb2.Cluster(),
    "zero timeout": cluster(connect_timeout="0s"),
    "negative duration": cluster(common_lb_config={"update_merge_window": "-1s"}),
    "percent above 100": cluster(outlier_detection={"max_ejection_percent": 101}),
    "small ring above large": cluster(lb_policy="RING_HASH", ring_hash_lb_config={"minimum_ring_size": 9, "maximum_ring_size": 8}),
    "name where static": cluster(type="STATIC", load_assignment={"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint("a.example.com")]}]}),
    "inside of a packed one": with_context("s" * 256),
    "zero byte in a server name": with_context("a\0b"),
    "bound to a name": cluster(upstream_bind_config={"source_address": {"address": "localhost", "port_value": 0}}),
    "two certificates of a client": with_context(certificates=("a", "b")),
    "long protocol": with_context(alpn=("x" * 256,)),
    "curves twice": with_context(curves=("P-256", "X25519", "P-256")),
    "unknown curve": with_context(curves=("P-255",)),
    "port beyond": endpoints({"lb_endpoints": [endpoint(port=65536)]}),
    "weight zero": endpoints({"lb_endpoints": [endpoint(weight=0)]}),
    "weights beyond 32 bits": endpoints({"lb_endpoints": [endpoint(weight=2**31), endpoint("10.0.0.2", weight=2**31)]}),
    "localities beyond 32 bits": endpoints(
        *({"locality": {"zone": f"z{at}"}, "load_balancing_weight": 2**31, "lb_endpoints": [endpoint(f"10.0.0.{at}")]} for at in (1, 2))
    ),
    "maglev table of one": cluster(lb_policy="MAGLEV", maglev_lb_config={"table_size": 1}),
    "maglev table that is no prime": cluster(lb_policy="MAGLEV", maglev_lb_config={"table_size": 65536}),
    "no domain": routes(domains=()),
    "a domain twice": routes(domains=("a.b", "A.b")),
    "no match": routes({"match": {}, "route": {"cluster": "c"}}),
    "no action": routes({"match": {"prefix": "/"}}),
    "pattern": routes(route({"safe_regex": {"regex": "(("}})),
    "huge pattern": routes(route({"safe_regex": {"regex": "((((a{1,100}){1,9}){1,9}){1,9})"}})),
    "share of no cluster": routes({"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"weight": 1}]}}}),
    "mirror to no cluster": routes(route(to={"request_mirror_policies": [{}]})),
    "only weight zero": routes(to_weighted(0, 0)),
    "sum of weights": routes(to_weighted(2**31, 2**31)),
    "status": routes(route(direct_response={"status": 600})),
    "long answer": routes(route(direct_response={"status": 200, "body": {"inline_string": "x" * 1_100_000}})),
    "newline in a header": routes(route(**header(value="a\nb"))),
    "no format": routes(route(**header(value="100% of %FOO%"))),
    "host changed": routes(route(**header("host"))),
    "host removed from an answer": routes(route(response_headers_to_remove=["Host"])),
    "pseudo-header removed": routes(route(request_headers_to_remove=[":path"])),
    "longest below first": routes(route(to={"retry_policy": {"retry_back_off": {"base_interval": "2s", "max_interval": "1s"}}})),
    "same chain": listener({"destination_port": 80}, {"destination_port": 80}),
    "overlapping chains": listener({"server_names": ["a.b", "c.d"]}, {"server_names": ["C.D"]}),
    "same networks": listener(*({"prefix_ranges": [{"address_prefix": f"10.0.0.{one}", "prefix_len": 24}]} for one in (1, 2))),
    "partial wildcard": listener({"server_names": ["a*.b"]}),
    "no network": listener({"prefix_ranges": [{"address_prefix": "10.0.0", "prefix_len": 8}]}),
    "listener by name": listener({}, address="localhost"),
    "long socket path": endpoints({"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/" + "p" * 120}}}}]}),
}
GOOD = {
    "cluster": cluster(outlier_detection={"max_ejection_percent": 100}, lb_policy="RING_HASH", ring_hash_lb_config={"minimum_ring_size": 8}),
    "name where resolved": cluster(type="STRICT_DNS", load_assignment={"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint("a.example.com")]}]}),
    "server name": with_context("s" * 255),
    "bound to an address": cluster(upstream_bind_config={"source_address": {"address": "::1", "port_value": 0}}),
    "protocol": with_context(alpn=("x" * 255,)),
    "maglev": cluster(lb_policy="MAGLEV", maglev_lb_config={"table_size": 2}),
    "curves": with_context(curves=sorted(CURVES)),
    "weights": endpoints({"lb_endpoints": [endpoint(weight=2**31), endpoint("fd00::1", weight=2**31 - 1)]}),
    "domains": routes(domains=("a.b", "*.b", "a.*", "*")),
    "pattern": routes(route({"safe_regex": {"regex": "(a|b)+"}}, to={"regex_rewrite": {"pattern": {"regex": "(a)"}, "substitution": "\\1\\0\\\\"}})),
    "weighted": routes(to_weighted(0, 1)),
    "header": routes(route(**header(value="100%% of %REQ(x)%"))),
    "answer": routes(route(direct_response={"status": 599})),
    "chains": listener({"destination_port": 80, "server_names": ["a.b"]}, {"destination_port": 80}, {"server_names": ["*.b"]}, {}),
}
ELSEWHERE = frozenset({"weights beyond 32 bits", "localities beyond 32 bits", "maglev table of one", "two certificates of a client"})
"""What a scratch Envoy can't judge: documented limits that only an assignment that comes by EDS is held to; a table that an Envoy with endpoints dies of; secrets
from a server that it has not."""
TYPES = {
    cluster_pb2.Cluster: ResourceType.CLUSTER,
    endpoint_pb2.ClusterLoadAssignment: ResourceType.ENDPOINT,
    listener_pb2.Listener: ResourceType.LISTENER,
    route_pb2.RouteConfiguration: ResourceType.ROUTE,
}


async def refusal(message):
    if isinstance(message, route_pb2.RouteConfiguration):
        message.max_direct_response_body_size_bytes.value = 1024 * 1024
    return await Scratch(envoy_path()).refusal([Suspect(TYPES[type(message)].value, "x", message.SerializeToString())])


@pytest.mark.parametrize("name", BAD)
def test_found(name):
    assert problem(BAD[name])


@pytest.mark.live
@pytest.mark.parametrize("name", sorted(BAD.keys() - ELSEWHERE))
async def test_envoy_refuses_it(name):
    assert await refusal(BAD[name])


@pytest.mark.live
@pytest.mark.parametrize("name", GOOD)
async def test_envoy_takes_what_is_taken(name):
    assert problem(GOOD[name]) == ""
    assert await refusal(GOOD[name]) is None


def test_the_place_is_said():
    found = routes(route(), route({"prefix": "/", "headers": [{"name": "x", "string_match": {"safe_regex": {"regex": "["}}}]}))
    assert problem(found).startswith("virtual_hosts[0].routes[1].match.headers[0].string_match.safe_regex: RE2 refuses '['")
    assert problem(with_context("s" * 256)).startswith("transport_socket.typed_config.sni:")


def test_endpoints_that_come_by_eds_are_addresses():
    assert nameless(endpoints({"lb_endpoints": [endpoint(), endpoint("a.example.com")]})).startswith("endpoints[0].lb_endpoints[1]")
    assert nameless(endpoints({"lb_endpoints": [endpoint(), endpoint("fd00::7")]})) == ""


@pytest.mark.parametrize(("text", "is_one"), [("0.0.0.0", True), ("255.1.2.3", True), ("256.1.2.3", False), ("1.2.3", False), ("::", True), ("a", False)])
def test_addresses(text, is_one):
    assert is_plain_ip(text) is is_one
