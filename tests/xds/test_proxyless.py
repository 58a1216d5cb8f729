"""What gRPC clients and servers without a proxy are sent, from YAML to messages."""

from google.protobuf.json_format import MessageToDict

from lateen.config.decode import decode, ref_of
from lateen.config.store import OBJECTS
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.wire.pb.envoy.extensions.filters.http.fault.v3 import fault_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names
from tests.xds.conftest import mesh_of

FULL = "echo.shop.svc.cluster.local"
CLUSTER = f"outbound|7070||{FULL}"
MESH = """
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec: {clusterIP: 10.96.0.20, selector: {app: echo}, ports: [{name: grpc, port: 7070}, {name: tcp-other, port: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo-1, namespace: shop, labels: {app: echo, version: v1, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: echo, containers: []}
status: {podIP: 10.1.0.1, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo-2, namespace: shop, labels: {app: echo, version: v2, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: echo, containers: []}
status: {podIP: 10.1.0.2, conditions: [{type: Ready, status: 'True'}]}
"""
STRICT = "\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: s, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n"
MESSAGES = {
    ResourceType.LISTENER: listener_pb2.Listener,
    ResourceType.ROUTE: route_pb2.RouteConfiguration,
    ResourceType.CLUSTER: cluster_pb2.Cluster,
    ResourceType.ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
}


def rule(policy: str) -> str:
    return f"\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: shop}}\nspec: {{host: echo, trafficPolicy: {policy}}}\n"


def routes(body: str) -> str:
    return f"\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: shop}}\nspec: {{hosts: [echo], http: [{body}]}}\n"


class Client:
    """A client in `namespace`; `get` gives a message, None: there is none."""

    def __init__(self, text: str, namespace: str = "shop") -> None:
        self.db = mesh_of(MESH + text)
        proxy = Proxy(
            ProxyType.SIDECAR,
            f"client.{namespace}",
            namespace,
            addresses=("10.1.0.9",),
            dns_domain=f"{namespace}.svc.cluster.local",
            metadata=(("GENERATOR", "grpc"),),
        )
        self.view = view_of(self.db, proxy)

    def get(self, type_: ResourceType, name: str):
        found = resource(self.db, self.view, type_, name)
        assert found is None or found.problem == ""
        return None if found is None else MESSAGES[type_].FromString(found.body)

    def manager(self, name: str) -> hcm.HttpConnectionManager | None:
        listener = self.get(ResourceType.LISTENER, name)
        return None if listener is None else hcm.HttpConnectionManager.FromString(listener.api_listener.api_listener.value)

    def routes(self) -> list[dict]:
        found = MessageToDict(self.get(ResourceType.ROUTE, CLUSTER), preserving_proto_field_name=True, descriptor_pool=route_pb2.DESCRIPTOR.pool)
        (host,) = found["virtual_hosts"]
        return host["routes"]

    def cluster(self, name: str = CLUSTER) -> cluster_pb2.Cluster:
        return self.get(ResourceType.CLUSTER, name)

    def peers(self, name: str = CLUSTER) -> list[str] | None:
        """Names that the server may have; None: in the clear."""
        cluster = self.cluster(name)
        if not cluster.HasField("transport_socket"):
            return None
        context = tls_pb2.UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value).common_tls_context
        assert context.tls_certificate_provider_instance.instance_name == "default"
        checks = context.combined_validation_context.default_validation_context
        assert checks.ca_certificate_provider_instance.certificate_name == "ROOTCA"
        return [one.exact for one in checks.match_subject_alt_names]


def test_any_name_of_a_service_leads_to_its_routes() -> None:
    client = Client("")
    for name in ("echo:7070", "echo.shop:7070", f"{FULL}:7070", "ECHO.shop.svc:7070", "10.96.0.20:7070"):
        manager = client.manager(name)
        assert manager is not None and manager.rds.route_config_name == CLUSTER, name
        assert [one.name for one in manager.http_filters] == ["envoy.filters.http.fault", "envoy.filters.http.router"]
    for name in ("echo:7071", "echo:9000", "echo", "other:7070", ":7070", "echo:x"):
        assert client.manager(name) is None, name
    abroad = Client("", "else")
    assert abroad.manager("echo.shop:7070") is not None and abroad.manager("echo:7070") is None


def test_nothing_is_sent_that_is_not_asked_for() -> None:
    client = Client("")
    assert {type_: resource_names(client.db, client.view, type_) for type_ in ResourceType} == {type_: frozenset() for type_ in ResourceType}


def test_routes_are_one_host_with_what_grpc_reads() -> None:
    client = Client(
        routes(
            "{match: [{headers: {a: {exact: b}}}], timeout: 2s, retries: {attempts: 2, retryOn: unavailable, backoff: 25ms}, mirror: {host: echo},"
            " headers: {request: {set: {x: y}}}, corsPolicy: {}, fault: {abort: {grpcStatus: ABORTED, percentage: {value: 50}}},"
            " route: [{destination: {host: echo}}]},"
            "{match: [{queryParams: {a: {exact: b}}}, {method: {exact: GET}}, {method: {regex: 'P.*'}, uri: {prefix: /p.S/}}],"
            " route: [{destination: {host: echo}}]},"
            "{route: [{destination: {host: echo}, weight: 1}, {destination: {host: echo, port: {number: 9000}}, weight: 3}]}"
        )
    )
    first, second, third = client.routes()
    assert first["match"] == {"prefix": "/", "headers": [{"name": "a", "string_match": {"exact": "b"}}]}
    action = first["route"]
    assert action["max_stream_duration"] == {"max_stream_duration": "2s"} and "timeout" not in action
    assert action["retry_policy"]["retry_on"] == "unavailable" and action["retry_policy"]["retry_back_off"]["base_interval"] == "0.025s"
    assert "request_mirror_policies" not in action and "request_headers_to_add" not in first
    assert list(first["typed_per_filter_config"]) == ["envoy.filters.http.fault"]
    raw = client.get(ResourceType.ROUTE, CLUSTER).virtual_hosts[0].routes[0].typed_per_filter_config["envoy.filters.http.fault"]
    assert fault_pb2.HTTPFault.FromString(raw.value).abort.grpc_status == 10
    assert second["match"] == {"prefix": "/p.S/"}  # no call has a query or another method
    assert [(one["name"], one["weight"]) for one in third["route"]["weighted_clusters"]["clusters"]] == [(CLUSTER, 1), (f"outbound|9000||{FULL}", 3)]


def test_without_a_virtual_service_there_is_one_route() -> None:
    (only,) = Client("").routes()
    assert only["match"] == {"prefix": "/"} and only["route"]["cluster"] == CLUSTER and "max_stream_duration" not in only["route"]


def test_a_path_below_a_segment_is_a_pattern() -> None:
    text = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{kind: Service, group: "", name: echo}]
  rules: [{matches: [{path: {type: PathPrefix, value: /p.S}}], backendRefs: [{name: echo, port: 7070}]}]
"""
    assert Client(text).routes()[0]["match"] == {"safe_regex": {"regex": r"/p\.S(/.*)?"}}


def test_clusters_say_no_more_than_grpc_takes() -> None:
    plain = Client("").cluster()
    assert plain.eds_cluster_config.service_name == CLUSTER and plain.lb_policy == cluster_pb2.Cluster.ROUND_ROBIN and not plain.circuit_breakers.thresholds
    limited = Client(rule("{connectionPool: {http: {http2MaxRequests: 3}}, loadBalancer: {simple: RANDOM}, outlierDetection: {consecutive5xxErrors: 1}}"))
    assert [one.max_requests.value for one in limited.cluster().circuit_breakers.thresholds] == [3]
    assert limited.cluster().lb_policy == cluster_pb2.Cluster.ROUND_ROBIN and not limited.cluster().HasField("outlier_detection")
    hashed = Client(rule("{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"))
    assert hashed.cluster().lb_policy == cluster_pb2.Cluster.RING_HASH
    assert hashed.routes()[0]["route"]["hash_policy"] == [{"header": {"header_name": "x-user"}}]
    by_address = Client(rule("{loadBalancer: {consistentHash: {useSourceIp: true}}}"))
    assert "hash_policy" not in by_address.routes()[0]["route"]
    assert Client("").get(ResourceType.CLUSTER, f"outbound|7070|v9|{FULL}") is None


def test_mutual_tls_where_it_is_asked_for_or_nothing_else_gets_in() -> None:
    identity = ["spiffe://cluster.local/ns/shop/sa/echo"]
    assert Client("").peers() is None
    assert Client(STRICT).peers() == identity
    assert Client(rule("{tls: {mode: ISTIO_MUTUAL}}")).peers() == identity
    assert Client(STRICT + rule("{tls: {mode: DISABLE}}")).peers() is None
    assert Client(STRICT + rule("{tls: {mode: SIMPLE}}")).peers() is None
    mixed = MESH.split("---")[1].replace("echo-1", "echo-3").replace(", security.istio.io/tlsMode: istio", "")
    assert Client(f"{STRICT}\n---{mixed}").peers() is None  # one that takes no TLS at all


def test_endpoints_have_each_address_once_and_a_locality() -> None:
    double = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec:
  hosts: [far.example]
  ports: [{number: 80, name: grpc, protocol: GRPC}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}, {address: 192.0.2.1}, {address: 192.0.2.2, weight: 3}]
"""
    found = Client(double).get(ResourceType.ENDPOINT, "outbound|80||far.example")
    (place,) = found.endpoints
    assert place.HasField("locality")
    assert [(one.endpoint.address.socket_address.address, one.load_balancing_weight.value) for one in place.lb_endpoints] == [
        ("192.0.2.1", 1),
        ("192.0.2.2", 3),
    ]


def test_a_name_to_resolve_is_one_logical_endpoint() -> None:
    entry = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec: {hosts: [far.example], ports: [{number: 443, name: grpc, protocol: GRPC}], resolution: DNS}
"""
    cluster = Client(entry).cluster("outbound|443||far.example")
    assert cluster.type == cluster_pb2.Cluster.LOGICAL_DNS
    ((endpoint,),) = [place.lb_endpoints for place in cluster.load_assignment.endpoints]
    assert endpoint.endpoint.address.socket_address.address == "far.example"
    assert Client(entry).get(ResourceType.ENDPOINT, "outbound|443||far.example") is None


def test_a_headless_service_has_its_endpoints() -> None:
    client = Client("".join(("\n---\n", MESH.split("---")[0].replace("name: echo,", "name: bare,").replace("10.96.0.20", "None"))))
    name = "outbound|7070||bare.shop.svc.cluster.local"
    assert client.cluster(name).eds_cluster_config.service_name == name
    found = client.get(ResourceType.ENDPOINT, name)
    assert {one.endpoint.address.socket_address.address for place in found.endpoints for one in place.lb_endpoints} == {"10.1.0.1", "10.1.0.2"}


def test_a_server_asks_for_certificates_under_strict_alone() -> None:
    name = "xds.istio.io/grpc/lds/inbound/[::]:7070"
    plain = Client("").get(ResourceType.LISTENER, name)
    (chain,) = plain.filter_chains
    assert (plain.address.socket_address.address, plain.address.socket_address.port_value) == ("::", 7070)
    assert not chain.HasField("transport_socket")
    manager = hcm.HttpConnectionManager.FromString(chain.filters[0].typed_config.value)
    assert manager.route_config.virtual_hosts[0].routes[0].HasField("non_forwarding_action")
    (strict,) = Client(STRICT).get(ResourceType.LISTENER, name).filter_chains
    assert tls_pb2.DownstreamTlsContext.FromString(strict.transport_socket.typed_config.value).require_client_certificate.value


def test_after_edits_a_client_has_what_it_would_have_from_scratch() -> None:
    """Edits in force one after the other; nothing that was computed before stays where it should not. An endpoint of another service changes no byte."""
    other = MESH.replace("echo", "other").replace("10.96.0.20", "10.96.0.21").replace("10.1.0.1", "10.2.0.1").replace("10.1.0.2", "10.2.0.2")
    texts = [
        rule("{connectionPool: {http: {http2MaxRequests: 3}}}"),
        routes("{timeout: 1s, route: [{destination: {host: echo}}]}"),
        STRICT,
        rule("{tls: {mode: DISABLE}}"),
        routes("{route: [{destination: {host: other}}]}"),
        f"\n---{MESH.split('---')[1].replace('echo-1', 'echo-9').replace('10.1.0.1', '10.1.0.9')}",
    ]
    wanted = [
        (ResourceType.LISTENER, "echo:7070"),
        (ResourceType.ROUTE, CLUSTER),
        *((kind, f"outbound|7070||{name}.shop.svc.cluster.local") for kind in (ResourceType.CLUSTER, ResourceType.ENDPOINT) for name in ("echo", "other")),
    ]

    def held(client: Client) -> list[str]:
        return [found.version if (found := resource(client.db, client.view, type_, name)) else "" for type_, name in wanted]

    client, versions = Client(f"\n---{other}"), []
    written = {"": f"\n---{other}"}
    for text in texts:
        written[" ".join(line for line in text.splitlines() if line.startswith(("kind:", "metadata:")))] = text
        for item in decode(text.removeprefix("\n---"), "edit.yaml").objects:
            OBJECTS.set(client.db, ref_of(item), item)
        versions.append(held(client))
        assert versions[-1] == held(Client("".join(written.values()))), text
    assert len({tuple(one) for one in versions}) == len(texts)
    assert [new == old for new, old in zip(versions[-1], versions[-2], strict=True)] == [True, True, True, True, False, True]


def test_what_envoy_would_refuse_is_not_sent_either():
    longest = "2562047h47m16s"  # as long as Go's durations are; one second too long for Envoy
    client = Client(routes(f"{{timeout: {longest}, route: [{{destination: {{host: echo}}}}]}}"))
    found = resource(client.db, client.view, ResourceType.ROUTE, CLUSTER)
    assert found is not None and found.problem.endswith("max_stream_duration: out of range") and found.origins
    others = [resource(client.db, client.view, type_, name) for type_, name in ((ResourceType.CLUSTER, CLUSTER), (ResourceType.LISTENER, f"{FULL}:7070"))]
    assert all(other is not None and other.problem == "" for other in others)
