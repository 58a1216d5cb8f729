"""Routes, clusters and chains as the answers' files have them: effective values, Envoy's defaults where nothing is emitted, and the data set's omissions."""

import importlib.util
from pathlib import Path

import pytest

from lateen.insight.simulate.answer import Answers
from lateen.insight.simulate.cluster_summary import cluster_summary
from lateen.insight.simulate.emitted import Emitted

_spec = importlib.util.spec_from_file_location("emitting", Path(__file__).parent / "emitting.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)
emitted, http, listener, chain = make.emitted, make.http, make.listener, make.chain
SDS = {"path_config_source": {"path": "x"}}


def mesh_tls(**fields):
    common = {
        "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": SDS}],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "spiffe://a"}}]},
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": SDS},
        },
        **fields,
    }
    return {"name": "tls", "typed_config": {"@type": make.UPSTREAM_TLS, "sni": "s", "common_tls_context": common}}


def summary(endpoints=(), **cluster):
    return cluster_summary(emitted(clusters=[{"name": "c", **cluster}], endpoints=endpoints), "c")


def test_a_cluster_that_does_not_exist():
    assert cluster_summary(Emitted.decoded(()), "c") == {"exists": False}


def test_envoys_defaults_are_written_where_nothing_is_emitted():
    found = summary()
    assert (found["type"], found["lb_policy"], found["connect_timeout"], found["http_protocol"], found["tls"]) == (
        "STATIC",
        "ROUND_ROBIN",
        "5s",
        "h1",
        {"mode": "none"},
    )
    assert found["circuit_breakers"] == {"thresholds": [{"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 3}]}


def test_unlimited_circuit_breakers_are_the_usual_ones():
    unlimited = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), 4294967295)
    assert "circuit_breakers" not in summary(circuit_breakers={"thresholds": [unlimited]})
    assert summary(circuit_breakers={"thresholds": [{**unlimited, "max_retries": 7}]})["circuit_breakers"]["thresholds"][0]["max_retries"] == 7
    only_high = summary(circuit_breakers={"thresholds": [{"priority": "HIGH", "max_retries": 1}]})["circuit_breakers"]["thresholds"]
    assert only_high[1] == {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 3}


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ({"explicit_http_config": {"http2_protocol_options": {}}}, "h2"),
        ({"explicit_http_config": {"http_protocol_options": {}}}, "h1"),
        ({"use_downstream_protocol_config": {}}, "downstream"),
        ({"auto_config": {}}, "auto"),
    ],
)
def test_upstream_protocols(options, protocol):
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    found = summary(typed_extension_protocol_options={kind: {"@type": f"type.googleapis.com/{kind}", **options}})
    assert found["http_protocol"] == protocol


def test_the_usual_mesh_tls_is_short_and_anything_else_is_said():
    versions = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
    usual = summary(transport_socket=mesh_tls(tls_params=versions, alpn_protocols=["istio"]))["tls"]
    assert usual == {"mode": "istio_mtls", "sni": "s", "alpn": ["istio"], "subject_alt_names": ["spiffe://a"]}
    without = summary(transport_socket=mesh_tls())["tls"]
    assert without["tls_params"] == {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_2"}
    other = mesh_tls(tls_params=versions)
    other["typed_config"]["common_tls_context"]["combined_validation_context"]["validation_context_sds_secret_config"]["name"] = "mine"
    assert summary(transport_socket=other)["tls"]["ca"] == "mine"


def test_files_are_named_as_the_data_set_names_them():
    files = {
        "tls_certificates": [{"certificate_chain": {"filename": "/c.pem"}, "private_key": {"filename": "/k.pem"}}],
        "validation_context": {"trusted_ca": {"filename": "/ca.pem"}},
    }
    tls = summary(transport_socket={"name": "tls", "typed_config": {"@type": make.UPSTREAM_TLS, "common_tls_context": files}})["tls"]
    assert (tls["mode"], tls["certificates"], tls["ca"]) == ("mutual", ["file-cert:/c.pem~/k.pem"], "file-root:/ca.pem")
    system = {"validation_context": {"system_root_certs": {}}}
    tls = summary(transport_socket={"name": "tls", "typed_config": {"@type": make.UPSTREAM_TLS, "common_tls_context": system}})["tls"]
    assert (tls["mode"], tls["ca"]) == ("simple", "file-root:system")


def test_a_wrapped_transport_is_of_another_mode():
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
    assert summary(transport_socket={"name": "p", "typed_config": {"@type": kind}})["tls"]["type_url"] == kind


def test_endpoints_come_from_the_assignment_the_proxy_gets():
    group = {
        "locality": {"region": "r", "zone": "z"},
        "load_balancing_weight": 3,
        "priority": 1,
        "lb_endpoints": [
            {
                "endpoint": {"address": make.address("10.0.0.2", 80)},
                "metadata": {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}},
                "health_status": "UNHEALTHY",
            },
            {"endpoint": {"address": {"pipe": {"path": "/s"}}}, "load_balancing_weight": 5},
        ],
    }
    eds = {
        "type": "EDS",
        "eds_cluster_config": {"service_name": "svc"},
        "transport_socket_matches": [{"name": "m", "match": {"tlsMode": "istio"}, "transport_socket": mesh_tls()}, {"name": "p"}],
    }
    found = summary(endpoints=[{"cluster_name": "svc", "endpoints": [group]}], **eds)
    assert found["endpoints"] == [
        {"address": "/s", "health": "UNKNOWN", "locality": "r/z", "locality_weight": 3, "priority": 1, "tls_mode": "", "weight": 5},
        {"address": "10.0.0.2", "port": 80, "health": "UNHEALTHY", "locality": "r/z", "locality_weight": 3, "priority": 1, "tls_mode": "istio", "weight": 1},
    ]
    assert [one["mode"] for one in found["transport_socket_matches"]] == ["istio_mtls", "none"]
    assert summary(**eds)["endpoints"] == []


FAULT = {"@type": make.T + "filters.http.fault.v3.HTTPFault", "abort": {"http_status": 418}}
FAULT_FILTER = {"name": "my.fault", "typed_config": {"@type": make.T + "filters.http.fault.v3.HTTPFault"}}


def entry(route, manager=None, **virtual_host):
    config = {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route], **virtual_host}]}
    answers = Answers(emitted([listener("0.0.0.0", 80, chain(filters=[http(rds="r", **(manager or {}))]))], routes=[config]))
    answers.add({"direction": "outbound", "address": "10.0.0.1", "port": 80, "protocol": "http", "host": "h", "path": "/"})
    return answers, answers.routes["r0"]


def test_the_entry_of_a_route():
    route = {
        "match": {"prefix": "/"},
        "name": "n",
        "metadata": {"filter_metadata": {"istio": {"config": "x"}}},
        "route": {"cluster": "c", "timeout": "0s", "request_mirror_policies": [{"cluster": "m"}]},
        "request_headers_to_remove": ["x"],
    }
    answers, found = entry(route, include_request_attempt_count=True)
    assert found == {
        "matched": {"prefix": "/"},
        "route": {"timeout": "0s", "request_mirror_policies": [{"cluster": "m"}], "request_headers_to_remove": ["x"]},
        "virtual_host_options": {"include_request_attempt_count": True},
    }
    assert answers.results[0]["result"] == {
        "outcome": "cluster",
        "cluster": "c",
        "route": "r0",
        "route_config": "r",
        "virtual_host": "v",
        "info": {"chain": "0.0.0.0_80|0", "route_index": 0, "route_name": "n"},
    }
    assert answers.clusters == {"c": {"exists": False}, "m": {"exists": False}}


def test_details_of_weighted_clusters_are_kept_where_one_has_any():
    plain = [{"name": "a", "weight": 1}, {"name": "b", "weight": 2}]
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": plain}}}
    answers, found = entry(route)
    assert found["route"] == {} and answers.results[0]["result"]["weighted_clusters"] == [["a", 1], ["b", 2]]
    route["route"]["weighted_clusters"]["clusters"] = [plain[0], {**plain[1], "request_headers_to_remove": ["x"]}]
    assert entry(route)[1]["route"]["weighted_cluster_details"] == [{"name": "a"}, {"name": "b", "request_headers_to_remove": ["x"]}]


def test_a_filters_configuration_counts_only_where_the_manager_has_the_filter():
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}, "typed_per_filter_config": {"my.fault": FAULT}}
    assert entry(route, {"http_filters": [FAULT_FILTER, make.ROUTER]})[1]["route"]["fault"] == {"abort": {"http_status": 418}}
    assert "fault" not in entry(route)[1]["route"]


def test_the_most_specific_filter_configuration_wins_and_may_switch_it_off():
    general = {**FAULT, "abort": {"http_status": 500}}
    with_filter = {"http_filters": [FAULT_FILTER, make.ROUTER]}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}}
    assert entry(route, with_filter, typed_per_filter_config={"my.fault": general})[1]["route"]["fault"]["abort"] == {"http_status": 500}
    route["typed_per_filter_config"] = {"my.fault": FAULT}
    assert entry(route, with_filter, typed_per_filter_config={"my.fault": general})[1]["route"]["fault"]["abort"] == {"http_status": 418}
    route["typed_per_filter_config"] = {"my.fault": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True, "config": FAULT}}
    assert "fault" not in entry(route, with_filter, typed_per_filter_config={"my.fault": general})[1]["route"]


def test_a_filter_with_its_own_configuration_is_in_force_without_the_route():
    own = {"name": "my.fault", "typed_config": FAULT}
    assert entry({"match": {"prefix": "/"}, "route": {"cluster": "c"}}, {"http_filters": [own, make.ROUTER]})[1]["route"]["fault"] == {
        "abort": {"http_status": 418}
    }


def test_extensions_by_discovery_are_resolved_in_place():
    cors = {"@type": make.T + "filters.http.cors.v3.Cors"}
    discovered = {"name": "ext", "config_discovery": {"config_source": {"ads": {}}, "type_urls": [FAULT["@type"]]}}
    manager = {"http_filters": [{"name": "cors", "typed_config": cors}, discovered, make.ROUTER]}
    config = {"name": "r", "virtual_hosts": []}
    world = emitted([listener("0.0.0.0", 80, chain(filters=[http(rds="r", **manager)]))], routes=[config], extensions=[{"name": "ext", "typed_config": FAULT}])
    answers = Answers(world)
    answers.add({"direction": "outbound", "address": "10.0.0.1", "port": 80, "protocol": "http", "host": "h", "path": "/"})
    files = answers.files()
    assert files["filters.json"]["f0"][0]["http_filters"] == [
        {"name": "cors"},
        {"name": "ext", "config": {"abort": {"http_status": 418}}},
        {"name": "envoy.filters.http.router"},
    ]
    assert files["names.json"]["routes"] == {"r": {}}
    assert files["chains.json"] == {"0.0.0.0_80|0": {"filters": "f0", "listener": "0.0.0.0_80", "match": {}, "name": ""}}


def test_options_of_a_tcp_proxy():
    proxy = make.tcp("c")
    proxy["typed_config"]["idle_timeout"] = "8s"
    answers = Answers(emitted([listener("0.0.0.0", 80, chain(filters=[proxy]))]))
    answers.add({"direction": "outbound", "address": "10.0.0.1", "port": 80, "protocol": "tcp"})
    assert answers.results[0]["result"]["tcp_proxy"] == {"idle_timeout": "8s"}
