"""Listener choice, listener filters and filter chain matching, against Envoy's rules."""

import importlib.util
from pathlib import Path

import pytest

from lateen.insight.simulate.evaluate import evaluate

_spec = importlib.util.spec_from_file_location("emitting", Path(__file__).parent / "emitting.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)
call, chain, emitted, http, listener = make.call, make.chain, make.emitted, make.http, make.listener


def went(world, asked):
    result = evaluate(world, asked)
    return result.clusters[0][0] if result.clusters else result.outcome.value


def test_a_listener_at_the_exact_address_takes_the_call_else_the_wildcard_else_the_capture_port():
    world = emitted([listener("0.0.0.0", 15001, chain("captured")), listener("0.0.0.0", 80, chain("wild")), listener("10.0.0.1", 80, chain("exact"))])
    assert went(world, call()) == "exact"
    assert went(world, call(host_address="10.0.0.2")) == "wild"
    assert went(world, call(port=81)) == "captured"
    assert went(world, call("gateway", port=81)) == "no_listener"
    assert went(world, call("inbound", port=80)) == "no_listener"


def test_addresses_of_both_families():
    both = {**listener("0.0.0.0", 80, chain("both")), "additional_addresses": [{"address": make.address("::", 80)}]}
    assert went(emitted([both]), call(host_address="2001:db8::1")) == "both"
    compat = listener("::", 80, chain("compat"))
    compat["address"]["socket_address"]["ipv4_compat"] = True
    assert went(emitted([compat]), call()) == "compat"
    assert went(emitted([listener("::", 80, chain("six"))]), call()) == "no_listener"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"port": 80}, "port80"),
        ({"port": 81}, "any"),
        ({"port": 82, "tls": "tls"}, "default"),  # the port has a chain, which wants raw_buffer: no way back to the wider one
    ],
)
def test_an_exact_port_never_returns_to_chains_without_port(asked, expected):
    chains = [chain("port80", destination_port=80), chain("any"), chain("raw82", destination_port=82, transport_protocol="raw_buffer")]
    world = emitted([listener("0.0.0.0", 15001, *chains, default=chain("default"), listener_filters=[make.TLS_INSPECTOR])])
    assert went(world, call(**asked)) == expected


def test_the_longest_prefix_of_the_destination_wins():
    def ranged(name, *prefixes):
        return chain(name, prefix_ranges=[{"address_prefix": one.split("/")[0], "prefix_len": int(one.split("/")[1])} for one in prefixes])

    world = emitted(
        [listener("0.0.0.0", 80, ranged("sixteen", "10.1.0.0/16"), ranged("host", "10.1.2.3/32"), ranged("eight", "10.0.0.0/8", "11.0.0.0/8"), chain("rest"))]
    )
    assert went(world, call(host_address="10.1.2.3")) == "host"
    assert went(world, call(host_address="10.1.9.9")) == "sixteen"
    assert went(world, call(host_address="11.9.9.9")) == "eight"
    assert went(world, call(host_address="12.0.0.1")) == "rest"


@pytest.mark.parametrize(
    ("sni", "expected"),
    [
        ("a.b.example.net", "exact"),
        ("x.b.example.net", "narrow"),
        ("q.example.net", "wide"),
        ("A.B.Example.Net", "exact"),
        ("example.net", "rest"),
        ("", "rest"),
    ],
)
def test_server_names_exact_then_the_longest_wildcard(sni, expected):
    names = {"exact": "a.b.example.net", "narrow": "*.b.example.net", "wide": "*.example.net"}
    world = emitted(
        [listener("0.0.0.0", 443, *(chain(key, server_names=[value]) for key, value in names.items()), chain("rest"), listener_filters=[make.TLS_INSPECTOR])]
    )
    assert went(world, call(port=443, protocol="tcp", tls="tls", sni=sni)) == expected


def test_server_name_comes_before_transport_and_there_is_no_way_back():
    world = emitted([listener("0.0.0.0", 443, chain("named", server_names=["a.net"], transport_protocol="raw_buffer"), chain("tls", transport_protocol="tls"))])
    assert went(world, call(port=443, protocol="tcp", tls="tls", sni="a.net")) == "no_filter_chain"
    assert went(world, call(port=443, protocol="tcp", tls="tls", sni="b.net")) == "tls"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "http"),
        ({"protocol": "http2"}, "http"),
        ({"protocol": "tcp"}, "raw"),
        ({"tls": "mtls", "alpn": "istio", "protocol": "tcp"}, "mesh"),
        ({"tls": "tls", "protocol": "tcp"}, "tls"),
        ({"tls": "tls", "alpn": "http/1.1"}, "tls"),
    ],
)
def test_inspectors_and_application_protocols(asked, expected):
    chains = [
        chain(
            "http",
            transport_protocol="raw_buffer",
            application_protocols=["http/1.1", "h2c"],
        ),
        chain("raw", transport_protocol="raw_buffer"),
        chain("mesh", transport_protocol="tls", application_protocols=["istio", "istio-h2"]),
        chain("tls", transport_protocol="tls"),
    ]
    world = emitted([listener("0.0.0.0", 80, *chains, listener_filters=[make.TLS_INSPECTOR, make.HTTP_INSPECTOR])])
    assert went(world, call(**asked)) == expected


def test_an_inspector_may_be_off_for_a_port():
    off = {"or_match": {"rules": [{"destination_port_range": {"start": 80, "end": 81}}, {"destination_port_range": {"start": 90, "end": 91}}]}}
    inspectors = [make.TLS_INSPECTOR, {**make.HTTP_INSPECTOR, "filter_disabled": off}]
    world = emitted([listener("0.0.0.0", 15001, chain("http", application_protocols=["http/1.1"]), chain("raw"), listener_filters=inspectors)])
    assert went(world, call(port=80)) == "raw"
    assert went(world, call(port=81)) == "http"
    inverted = [make.TLS_INSPECTOR, {**make.HTTP_INSPECTOR, "filter_disabled": {"not_match": off}}]
    world = emitted([listener("0.0.0.0", 15001, chain("http", application_protocols=["http/1.1"]), chain("raw"), listener_filters=inverted)])
    assert (went(world, call(port=80)), went(world, call(port=81))) == ("http", "raw")


def test_envoy_adds_the_tls_inspector_where_a_chain_needs_it():
    world = emitted([listener("0.0.0.0", 443, chain("named", server_names=["a.net"]), default=chain("default"))])
    assert went(world, call(port=443, protocol="tcp", tls="tls", sni="a.net")) == "named"


def test_source_addresses_types_and_ports():
    chains = [
        chain("near", source_prefix_ranges=[{"address_prefix": "10.0.0.0", "prefix_len": 8}]),
        chain("nearer", source_prefix_ranges=[{"address_prefix": "10.9.0.0", "prefix_len": 16}], source_ports=[7]),
        chain("own", source_type="SAME_IP_OR_LOOPBACK"),
    ]
    world = emitted([listener("0.0.0.0", 80, *chains, default=chain("default"))])
    from dataclasses import replace

    assert went(world, replace(call(), source="10.1.1.1")) == "near"
    assert went(world, replace(call(), source="10.9.1.1", source_port=7)) == "nearer"
    assert went(world, replace(call(), source="10.9.1.1", source_port=8)) == "default"
    assert went(world, replace(call(), source="127.0.0.1")) == "own"


@pytest.mark.parametrize(
    ("tls", "asked", "expected"),
    [
        (None, {"protocol": "tcp"}, "protocol_error"),
        (None, {"tls": "tls", "alpn": "http/1.1"}, "protocol_error"),
        ({}, {}, "tls_error"),
        ({}, {"tls": "tls"}, "no_route"),
        ({}, {"tls": "tls", "protocol": "tcp"}, "protocol_error"),
        ({}, {"tls": "mtls", "alpn": "istio"}, "mtls_error"),
        ({"require_client_certificate": True}, {"tls": "tls"}, "mtls_error"),
        ({"require_client_certificate": True}, {"tls": "mtls"}, "no_route"),
    ],
)
def test_transport_and_protocol_of_an_http_chain(tls, asked, expected):
    world = emitted([listener("0.0.0.0", 80, chain(filters=[http([])], tls=tls))])
    assert went(world, call(**asked)) == expected


def test_what_matches_in_another_way_is_not_decided():
    by_tree = listener("0.0.0.0", 80, chain("a"), filter_chain_matcher={"on_no_match": {"action": {"name": "a"}}})
    assert evaluate(emitted([by_tree]), call()).outcome.value == "unsupported"
    scoped = {"name": "x", "scope_key_builder": {"fragments": []}, "rds_config_source": {"ads": {}}, "scoped_rds": {"scoped_rds_config_source": {"ads": {}}}}
    manager = http()
    del manager["typed_config"]["route_config"]
    manager["typed_config"]["scoped_routes"] = scoped
    answer = evaluate(emitted([listener("0.0.0.0", 80, chain(filters=[manager]))]), call())
    assert (answer.outcome.value, answer.reason) == ("unsupported", "HttpConnectionManager.scoped_routes")
