"""Clusters and endpoints as a proxy gets them: what is emitted, what is shared, and what re-runs when something changes."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lateen.config.decode import decode, ref_of
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.incremental import Db
from lateen.mesh.model import Locality
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from lateen.wire.pb.envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names

HOST = "s0.ns0.svc.cluster.local"
CLUSTER = f"outbound|80||{HOST}"
TYPES = (ResourceType.CLUSTER, ResourceType.ENDPOINT)


def pod(service, at, is_ready=True, labels="security.istio.io/tlsMode: istio", place=""):
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: s{service}-{at}, namespace: ns{service % 4}, labels: {{app: s{service}, {labels}{place}}}}}
spec: {{serviceAccountName: s{service}, containers: [{{name: a, ports: [{{containerPort: 8080}}]}}]}}
status: {{phase: Running, podIP: 10.{service // 200}.{service % 200}.{at + 1}, conditions: [{{type: Ready, status: '{is_ready}'}}]}}
"""


def service(at):
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: s{at}, namespace: ns{at % 4}}}
spec: {{clusterIP: 10.96.{at // 200}.{at % 200 + 1}, selector: {{app: s{at}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""


def rule(body, namespace="ns0", host=HOST):
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d, namespace: {namespace}}}
spec:
  host: {host}
  {body}
"""


def objects(*texts):
    decoded = decode("\n---\n".join(texts), "in.yaml")
    assert not decoded.is_broken, decoded.findings
    return decoded.objects


def mesh(*texts, config=None):
    db = Db()
    MESH_CONFIG.set(db, "mesh", config or MeshConfig())
    for item in objects(*texts):
        OBJECTS.set(db, ref_of(item), item)
    return db


def sidecar(namespace="ns1", locality=Locality(), **labels):
    return Proxy(ProxyType.SIDECAR, f"client.{namespace}", namespace, labels=tuple(sorted(labels.items())), addresses=("10.9.9.9",), locality=locality)


def emitted(db, proxy, type_, name):
    found = resource(db, view_of(db, proxy), type_, name)
    if found is None:
        return None
    return (cluster_pb2.Cluster if type_ is ResourceType.CLUSTER else endpoint_pb2.ClusterLoadAssignment).FromString(found.body)


def http_options(cluster):
    found = http_protocol_options_pb2.HttpProtocolOptions()
    cluster.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].Unpack(found)
    return found


def tls_of(socket):
    found = tls_pb2.UpstreamTlsContext()
    socket.typed_config.Unpack(found)
    return found


def test_mesh_tls_checks_the_exact_identity_of_meshed_endpoints_and_unmeshed_ones_stay_in_the_clear():
    db = mesh(service(0), pod(0, 0), pod(0, 1, labels="x: y").replace("serviceAccountName: s0", "serviceAccountName: other"))
    cluster = emitted(db, sidecar(), ResourceType.CLUSTER, CLUSTER)
    secure, clear = cluster.transport_socket_matches
    context = tls_of(secure.transport_socket)
    checks = context.common_tls_context.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    assert [one.matcher.exact for one in checks] == ["spiffe://cluster.local/ns/ns0/sa/s0"]
    assert context.sni == f"outbound_.80_._.{HOST}"
    assert context.common_tls_context.tls_params.tls_maximum_protocol_version == 4  # TLS 1.3
    assert (secure.match.fields["tlsMode"].string_value, len(clear.match.fields)) == ("istio", 0)
    (group,) = emitted(db, sidecar(), ResourceType.ENDPOINT, CLUSTER).endpoints
    modes = {one.endpoint.address.socket_address.address: "envoy.transport_socket_match" in one.metadata.filter_metadata for one in group.lb_endpoints}
    assert modes == {"10.0.0.1": True, "10.0.0.2": False}


@pytest.mark.parametrize(
    ("texts", "is_http2"),
    [
        ((pod(0, 0), pod(0, 1)), True),
        ((pod(0, 0), pod(0, 1, is_ready=False)), True),  # an unready endpoint must not flip the cluster
        ((pod(0, 0), pod(0, 1, labels="x: y")), False),
        ((), False),
        ((pod(0, 0), rule("trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}")), False),
        ((pod(0, 0, labels="x: y"), rule("trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}")), True),
        ((pod(0, 0), rule("trafficPolicy: {tls: {mode: DISABLE}}")), False),
    ],
)
def test_http2_to_endpoints_that_all_have_a_sidecar_unless_somebody_says_otherwise(texts, is_http2):
    options = http_options(emitted(mesh(service(0), *texts), sidecar(), ResourceType.CLUSTER, CLUSTER))
    assert options.explicit_http_config.HasField("http2_protocol_options") is is_http2
    assert not is_http2 or options.explicit_http_config.http2_protocol_options.allow_connect


def test_limits_are_all_said_and_unlimited_by_default():
    (thresholds,) = emitted(mesh(service(0), pod(0, 0)), sidecar(), ResourceType.CLUSTER, CLUSTER).circuit_breakers.thresholds
    assert {getattr(thresholds, f"max_{what}").value for what in ("connections", "pending_requests", "requests", "retries")} == {4294967295}


@pytest.mark.parametrize(
    ("body", "priorities"),
    [
        ("trafficPolicy: {outlierDetection: {}}", {"10.0.0.1": 0, "10.0.0.2": 1, "10.0.0.3": 2}),
        ("trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}}", {"10.0.0.1": 0, "10.0.0.2": 0, "10.0.0.3": 0}),
        ("trafficPolicy: {}", {"10.0.0.1": 0, "10.0.0.2": 0, "10.0.0.3": 0}),
        (
            "trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: ['app=none', version]}}}",
            {"10.0.0.1": 0, "10.0.0.2": 0, "10.0.0.3": 0},
        ),
        ("trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: r1/*, to: {r2/*: 100}}]}}}", {"10.0.0.3": 0}),
        ("trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {}}}", {"10.0.0.1": 0, "10.0.0.2": 0, "10.0.0.3": 1}),
        ("trafficPolicy: {outlierDetection: {}, loadBalancer: {zoneAwareLbSetting: {enabled: false}}}", {"10.0.0.1": 0, "10.0.0.2": 0, "10.0.0.3": 0}),
    ],
)
def test_localities_count_only_where_a_rule_makes_them(body, priorities):
    places = [f", istio-locality: {place}" for place in ("r1.z1", "r1.z2", "r2.z1")]
    db = mesh(service(0), *(pod(0, at, place=place) for at, place in enumerate(places)), rule(body))
    found = emitted(db, sidecar(locality=Locality("r1", "z1")), ResourceType.ENDPOINT, CLUSTER)
    assert {host.endpoint.address.socket_address.address: group.priority for group in found.endpoints for host in group.lb_endpoints} == priorities


@pytest.mark.parametrize(
    ("setting", "priorities"),
    [
        ("{failover: [{from: r1, to: r3}]}", [0, 0, 2, 1]),
        ("{failover: [{from: r2, to: r3}, {from: r1, to: r2}, {from: r1, to: r3}]}", [0, 0, 1, 2]),
        ("{failoverPriority: [version=v2], failover: [{from: r1, to: r3}]}", [0, 2, 1, 3]),
    ],
)
def test_zones_of_the_own_region_share_a_priority_and_other_regions_follow(setting, priorities):
    """A region that the first rule for the client's names comes before the rest; labels come before regions."""
    places = (("r1.z1", "v2"), ("r1.z2", "v1"), ("r2.z1", "v2"), ("r3.z1", "v1"))
    pods = [pod(0, at, place=f", istio-locality: {place}, version: {version}") for at, (place, version) in enumerate(places)]
    db = mesh(service(0), *pods, rule(f"trafficPolicy: {{loadBalancer: {{zoneAwareLbSetting: {setting}}}}}"))
    found = emitted(db, sidecar(locality=Locality("r1", "z1")), ResourceType.ENDPOINT, CLUSTER)
    order = {host.endpoint.address.socket_address.address: group.priority for group in found.endpoints for host in group.lb_endpoints}
    assert [order[f"10.0.0.{at}"] for at in range(1, 5)] == priorities


@pytest.mark.parametrize(
    ("setting", "share", "size"),
    [("{minClusterSize: 3}", None, 3), ("{enabled: true}", None, None), ("{enabled: false, minClusterSize: 3}", 0, 3)],
)
def test_zone_awareness_is_said_in_the_cluster(setting, share, size):
    db = mesh(service(0), pod(0, 0), rule(f"trafficPolicy: {{loadBalancer: {{zoneAwareLbSetting: {setting}}}}}"))
    config = emitted(db, sidecar(), ResourceType.CLUSTER, CLUSTER).common_lb_config
    assert config.WhichOneof("locality_config_specifier") == "zone_aware_lb_config"
    said = config.zone_aware_lb_config
    assert (said.routing_enabled.value if said.HasField("routing_enabled") else None) == share
    assert (said.min_cluster_size.value if said.HasField("min_cluster_size") else None) == size


def test_distribution_rounds_shares_up_within_a_wildcard():
    places = [f", istio-locality: {place}" for place in ("r1.z1", "r1.z2", "r2.z1")]
    body = "trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: r1/*, to: {r1/*: 81, r2/z1: 19}}]}}}"
    db = mesh(service(0), *(pod(0, at, place=place) for at, place in enumerate(places)), rule(body))
    found = emitted(db, sidecar(locality=Locality("r1", "z1")), ResourceType.ENDPOINT, CLUSTER)
    assert [group.load_balancing_weight.value for group in found.endpoints] == [41, 41, 19]


def test_a_missing_subset_has_no_cluster_and_an_empty_one_has_no_endpoints():
    db = mesh(service(0), pod(0, 0), rule("subsets: [{name: v9, labels: {version: v9}}]"))
    assert emitted(db, sidecar(), ResourceType.CLUSTER, f"outbound|80|nope|{HOST}") is None
    assert emitted(db, sidecar(), ResourceType.CLUSTER, f"outbound|80|v9|{HOST}") is not None
    assert not emitted(db, sidecar(), ResourceType.ENDPOINT, f"outbound|80|v9|{HOST}").endpoints


def test_every_name_has_its_resource_and_every_eds_cluster_its_endpoints():
    db = mesh(*(service(at) for at in range(6)), pod(0, 0), rule("subsets: [{name: v1}]"))
    view = view_of(db, sidecar())
    names = {type_: resource_names(db, view, type_) for type_ in TYPES}
    assert all(resource(db, view, type_, name) is not None for type_ in TYPES for name in names[type_])
    eds = {name for name in names[ResourceType.CLUSTER] if emitted(db, sidecar(), ResourceType.CLUSTER, name).type == cluster_pb2.Cluster.EDS}
    assert eds == names[ResourceType.ENDPOINT]


def test_hostile_weights_and_names_never_make_endpoints_that_envoy_refuses():
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: ns0}
spec:
  hosts: [e.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  workloadSelector: {labels: {app: vm}}
"""
    entries = [
        f"apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w{at}, namespace: ns0}}\nspec: {{address: {address}, labels: {{app: vm}}, weight: 4294967295}}"
        for at, address in enumerate(("192.0.2.1", "192.0.2.2", "name.example.com"))
    ]
    (group,) = emitted(mesh(entry, *entries), sidecar(), ResourceType.ENDPOINT, "outbound|80||e.example.com").endpoints
    assert [one.endpoint.address.socket_address.address for one in group.lb_endpoints] == ["192.0.2.1", "192.0.2.2"]
    assert sum(one.load_balancing_weight.value for one in group.lb_endpoints) == group.load_balancing_weight.value < 2**32


# What re-runs


def held(services, views=3):
    texts = [service(at) for at in range(services)]
    texts += [pod(at, replica) for at in range(services) for replica in range(2)]
    db = Db()
    MESH_CONFIG.set(db, "mesh", MeshConfig())
    for start in range(0, len(texts), 400):
        for item in objects(*texts[start : start + 400]):
            OBJECTS.set(db, ref_of(item), item)
    for at in range(views):
        view = view_of(db, sidecar(f"ns{at}"))
        for type_ in TYPES:
            db.hold(resource_names, view, type_)
            for name in resource_names(db, view, type_):
                db.hold(resource, view, type_, name)
    db.refresh()
    db.publish()
    return db


def after(db, *changed, removed=()):
    """What ran, and which resources came out new."""
    for item in changed:
        OBJECTS.set(db, ref_of(item), item)
    for item in removed:
        OBJECTS.remove(db, ref_of(item))
    db.runs.clear()
    db.refresh()
    published = db.publish()
    runs = {name: count for name, count in db.runs.items() if count}
    return runs, {(args[1], args[2]) for (source, args) in published.changed if source is resource}


def test_one_endpoint_re_runs_as_much_at_100_services_as_at_400_and_touches_its_own_endpoints_alone():
    counts = []
    for services in (100, 400):
        db = held(services)
        (unready,) = objects(pod(0, 0, is_ready=False))
        (gone,) = objects(pod(0, 1))
        runs, changed = after(db, unready)
        assert changed == {(ResourceType.ENDPOINT, CLUSTER)}
        more, changed = after(db, removed=(gone,))
        assert changed == {(ResourceType.ENDPOINT, CLUSTER)}
        counts.append((runs, more))
    assert counts[0] == counts[1]


def test_one_destination_rule_re_runs_as_much_at_100_services_as_at_400():
    counts = []
    for services in (100, 400):
        db = held(services)
        (written,) = objects(rule("trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}"))
        after(db, written)
        (edited,) = objects(rule("trafficPolicy: {connectionPool: {tcp: {maxConnections: 8}}}"))
        runs, changed = after(db, edited)
        assert changed == {(ResourceType.CLUSTER, CLUSTER)}
        counts.append(runs)
    assert counts[0] == counts[1]


def test_clients_of_one_namespace_share_bytes_and_a_label_parts_them_only_where_a_selector_reads_it():
    general = mesh(service(0), pod(0, 0))
    assert view_of(general, sidecar(app="x")) == view_of(general, sidecar(app="y"))
    special = mesh(service(0), pod(0, 0), rule("workloadSelector: {matchLabels: {app: x}}\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}", "ns1"))
    assert emitted(special, sidecar(app="x"), ResourceType.CLUSTER, CLUSTER).lb_policy == cluster_pb2.Cluster.RANDOM
    assert emitted(special, sidecar(app="y"), ResourceType.CLUSTER, CLUSTER).lb_policy == cluster_pb2.Cluster.LEAST_REQUEST


EDITS = st.lists(
    st.one_of(
        st.builds(lambda at, replica, ready: pod(at, replica, ready), st.integers(0, 2), st.integers(0, 2), st.booleans()),
        st.builds(lambda at, label: pod(at, 0, labels=label), st.integers(0, 2), st.sampled_from(("version: v1", "security.istio.io/tlsMode: istio"))),
        st.builds(
            lambda body, home: rule(body, home),
            st.sampled_from(
                (
                    "trafficPolicy: {outlierDetection: {}}",
                    "subsets: [{name: v1, labels: {version: v1}}]",
                    "trafficPolicy: {tls: {mode: DISABLE}}",
                    "exportTo: ['.']",
                )
            ),
            st.sampled_from(("ns0", "ns1", "istio-system")),
        ),
        st.builds(service, st.integers(0, 3)),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edits=EDITS, keep=st.lists(st.booleans(), min_size=8, max_size=8))
def test_incremental_equals_from_scratch(edits, keep):
    db = mesh(*(service(at) for at in range(3)), *(pod(at, replica) for at in range(3) for replica in range(2)))
    views = [view_of(db, sidecar(namespace, locality)) for namespace, locality in (("ns0", Locality()), ("ns1", Locality("r1", "z1")))]
    for view in views:
        for type_ in TYPES:
            db.hold(resource_names, view, type_)
            for name in resource_names(db, view, type_):
                db.hold(resource, view, type_, name)
    for text, is_kept in zip(edits, keep, strict=False):
        for item in objects(text):
            OBJECTS.set(db, ref_of(item), item) if is_kept else OBJECTS.remove(db, ref_of(item))
        db.refresh()
        db.publish()
        assert db.discrepancies() == ()


def test_a_comment_line_changes_nothing():
    db = held(20)
    (same,) = objects(pod(0, 0))
    runs, changed = after(db, msgspec.structs.replace(same))
    assert (runs, changed) == ({}, set())


def test_error_codes_for_outlier_detection_and_a_pattern_for_statistics_reach_the_cluster():
    config = MeshConfig(outbound_cluster_stat_name="%SERVICE%_%SERVICE_PORT_NAME%_%SUBSET_NAME%")
    db = mesh(service(0), pod(0, 0), rule("trafficPolicy: {outlierDetection: {outlierDetectionHttpErrorCodes: [429, 503]}}"), config=config)
    cluster = emitted(db, sidecar(), ResourceType.CLUSTER, CLUSTER)
    rules = http_options(cluster).outlier_detection.error_matcher.or_match.rules
    assert [one.http_response_headers_match.headers[0].string_match.exact for one in rules] == ["429", "503"]
    assert cluster.alt_stat_name == "s0.ns0_http_;"
