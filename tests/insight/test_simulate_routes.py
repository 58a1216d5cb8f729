"""Virtual host choice, route matching and actions, against Envoy's rules."""

import importlib.util
from pathlib import Path

import pytest

from lateen.insight.simulate.evaluate import evaluate
from lateen.insight.simulate.routing import template_regex

_spec = importlib.util.spec_from_file_location("emitting", Path(__file__).parent / "emitting.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)
call, chain, emitted, http, listener = make.call, make.chain, make.emitted, make.http, make.listener


def forward(name, **match):
    return {"match": match or {"prefix": "/"}, "route": {"cluster": name}}


def world_of(*routes, tls=None, **manager):
    return emitted([listener("0.0.0.0", 80, chain(filters=[http(list(routes), **manager)], tls=tls))])


def went(world, **asked):
    result = evaluate(world, call(**asked))
    return result.clusters[0][0] if result.clusters else result.outcome.value


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.example.net", "exact"),
        ("A.EXAMPLE.net", "exact"),
        ("b.example.net", "suffix"),
        ("c.b.example.net", "long suffix"),
        ("b.example.org", "prefix"),
        (".example.net", "all"),
        ("elsewhere", "all"),
        ("a.example.net:80", "all"),
        ("", "all"),
    ],
)
def test_virtual_hosts_exact_then_suffix_then_prefix_then_all(host, expected):
    domains = {"exact": "a.example.net", "suffix": "*.example.net", "long suffix": "*.b.example.net", "prefix": "b.example.*", "all": "*"}
    config = {"name": "r", "virtual_hosts": [{"name": key, "domains": [value], "routes": [forward(key)]} for key, value in domains.items()]}
    world = emitted([listener("0.0.0.0", 80, chain(filters=[http(rds="r")]))], routes=[config])
    assert went(world, host=host) == expected


def test_the_port_of_the_host_may_be_ignored():
    config = {"name": "r", "ignore_port_in_host_matching": True, "virtual_hosts": [{"name": "a", "domains": ["a.net"], "routes": [forward("a")]}]}
    world = emitted([listener("0.0.0.0", 80, chain(filters=[http(rds="r")]))], routes=[config])
    assert went(world, host="a.net:8080") == "a"
    assert went(world, host="b.net") == "no_virtual_host"


def test_a_route_configuration_that_does_not_exist():
    world = emitted([listener("0.0.0.0", 80, chain(filters=[http(rds="r")]))])
    assert evaluate(world, call()).route_config == "r"
    assert went(world) == "no_virtual_host"


@pytest.mark.parametrize(
    ("match", "path", "matches"),
    [
        ({"prefix": "/a"}, "/ab?x", True),
        ({"prefix": "/A"}, "/ab", False),
        ({"prefix": "/A", "case_sensitive": False}, "/ab", True),
        ({"path": "/a"}, "/a?q=1", True),
        ({"path": "/a"}, "/a/", False),
        ({"path": "/a", "case_sensitive": False}, "/A", True),
        ({"path_separated_prefix": "/a"}, "/a", True),
        ({"path_separated_prefix": "/a"}, "/a/b", True),
        ({"path_separated_prefix": "/a"}, "/ab", False),
        ({"safe_regex": {"regex": "/a[0-9]+"}}, "/a12?z", True),
        ({"safe_regex": {"regex": "/a[0-9]+"}}, "/a12/b", False),
        ({"connect_matcher": {}}, "/", False),
    ],
)
def test_paths(match, path, matches):
    assert went(world_of(forward("yes", **match)), path=path) == ("yes" if matches else "no_route")


@pytest.mark.parametrize(
    ("template", "path", "matches"),
    [
        ("/a/*/c", "/a/b/c", True),
        ("/a/*/c", "/a/b/d/c", False),
        ("/a/{x}/{rest=**}", "/a/b/c/d", True),
        ("/a/{x=p*}", "/a/pq", True),
        ("/a/{x=p*}", "/a/q", False),
    ],
)
def test_path_templates(template, path, matches):
    import re2

    assert (re2.fullmatch(template_regex(template), path) is not None) is matches


@pytest.mark.parametrize(
    ("matcher", "value", "matches"),
    [
        ({"string_match": {"exact": "a"}}, "a", True),
        ({"string_match": {"exact": "A", "ignore_case": True}}, "a", True),
        ({"string_match": {"prefix": "a"}}, "ab", True),
        ({"string_match": {"suffix": "b"}}, "ab", True),
        ({"string_match": {"contains": "x"}}, "axb", True),
        ({"string_match": {"safe_regex": {"regex": "a|b"}}}, "b", True),
        ({"string_match": {"safe_regex": {"regex": "a|b"}}}, "ab", False),
        ({"string_match": {"exact": "a"}}, None, False),
        ({"string_match": {"exact": "a"}, "invert_match": True}, None, False),
        ({"string_match": {"exact": "a"}, "invert_match": True, "treat_missing_header_as_empty": True}, None, True),
        ({"string_match": {"exact": "a"}, "invert_match": True}, "b", True),
        ({"present_match": True}, "", True),
        ({"present_match": True}, None, False),
        ({"present_match": False}, None, True),
        ({"present_match": True, "invert_match": True}, None, True),
        ({"present_match": False, "invert_match": True}, None, False),
        ({"range_match": {"start": 1, "end": 5}}, "4", True),
        ({"range_match": {"start": 1, "end": 5}}, "5", False),
        ({"range_match": {"start": -5, "end": 0}}, "-3", True),
        ({"range_match": {"start": 1, "end": 5}}, "four", False),
    ],
)
def test_headers(matcher, value, matches):
    world = world_of(forward("yes", prefix="/", headers=[{"name": "X-A", **matcher}]))
    assert went(world, headers={} if value is None else {"x-a": value}) == ("yes" if matches else "no_route")


@pytest.mark.parametrize(
    ("name", "value"), [(":method", "POST"), (":authority", "h.net"), (":scheme", "http"), (":path", "/p?q=1"), ("x-forwarded-proto", "http")]
)
def test_pseudo_headers(name, value):
    world = world_of(forward("yes", prefix="/", headers=[{"name": name, "string_match": {"exact": value}}]))
    assert went(world, method="POST", host="h.net", path="/p?q=1") == "yes"


@pytest.mark.parametrize(
    ("matcher", "path", "matches"),
    [
        ({"string_match": {"exact": "1"}}, "/?q=1", True),
        ({"string_match": {"exact": "1"}}, "/?q=2&q=1", False),
        ({"string_match": {"exact": ""}}, "/?q", True),
        ({"string_match": {"exact": ""}}, "/", False),
        ({"present_match": True}, "/?a&q", True),
        ({"present_match": False}, "/", True),
        ({}, "/?q=x", True),
    ],
)
def test_query_parameters(matcher, path, matches):
    world = world_of(forward("yes", prefix="/", query_parameters=[{"name": "q", **matcher}]))
    assert went(world, path=path) == ("yes" if matches else "no_route")


def test_the_first_route_that_matches_wins_and_a_share_of_none_never_does():
    never = {"default_value": {"numerator": 0}}
    world = world_of(forward("never", prefix="/", runtime_fraction=never), forward("a", prefix="/a"), forward("rest"))
    assert (went(world, path="/a"), went(world, path="/b")) == ("a", "rest")


def test_a_share_between_none_and_all_is_not_decided():
    assert went(world_of(forward("some", prefix="/", runtime_fraction={"default_value": {"numerator": 50}}))) == "unsupported"


def test_grpc_routes_want_the_content_type():
    world = world_of(forward("yes", prefix="/", grpc={}))
    assert went(world) == "no_route"
    assert went(world, headers={"content-type": "application/grpc+proto"}) == "yes"


def test_actions():
    weighted = {"match": {"prefix": "/w"}, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 80}, {"name": "b", "weight": 20}]}}}
    by_header = {"match": {"prefix": "/h"}, "route": {"cluster_header": "X-To"}}
    redirect, direct = {"match": {"prefix": "/r"}, "redirect": {}}, {"match": {"prefix": "/d"}, "direct_response": {"status": 200}}
    world = world_of(weighted, by_header, redirect, direct)
    assert evaluate(world, call(path="/w")).clusters == (("a", 80), ("b", 20))
    assert went(world, path="/h", headers={"x-to": "there"}) == "there"
    assert (went(world, path="/r"), went(world, path="/d")) == ("redirect", "direct_response")


def test_required_tls_redirects_only_plaintext():
    config = {"name": "r", "virtual_hosts": [{"name": "a", "domains": ["*"], "require_tls": "ALL", "routes": [forward("a")]}]}
    plain = emitted([listener("0.0.0.0", 80, chain(filters=[http(rds="r")]))], routes=[config])
    secure = emitted([listener("0.0.0.0", 80, chain(filters=[http(rds="r")], tls={}))], routes=[config])
    assert went(plain) == "tls_redirect"
    assert went(secure, tls="tls") == "a"


@pytest.mark.parametrize(
    ("path", "fields", "matched"),
    [
        ("/a/../b", {"normalize_path": True}, "/b"),
        ("/a/./b", {"normalize_path": True}, "/a/b"),
        ("/a//b", {"normalize_path": True}, "/a//b"),
        ("/a//b", {"merge_slashes": True}, "/a/b"),
        ("/%61", {"normalize_path": True}, "/a"),
        ("/a%2Fb", {"normalize_path": True}, "/a%2Fb"),
        ("/a%2Fb", {"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"}, "/a/b"),
        ("/a/..", {"normalize_path": True}, "/"),
        ("/a/../b", {}, "/a/../b"),
    ],
)
def test_paths_are_normalised_before_routing(path, fields, matched):
    assert went(world_of(forward("yes", path=matched), **fields), path=path) == "yes"


def test_tcp_proxies():
    weighted = {
        "name": "tcp",
        "typed_config": {"@type": make.TCP, "stat_prefix": "x", "weighted_clusters": {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 2}]}},
    }
    world = emitted([listener("0.0.0.0", 80, chain(filters=[weighted]))])
    assert evaluate(world, call(protocol="tcp")).clusters == (("a", 1), ("b", 2))
    sni = {"name": "sni", "typed_config": {"@type": make.T + "filters.network.sni_cluster.v3.SniCluster"}}
    world = emitted([listener("0.0.0.0", 443, chain(filters=[sni, make.tcp("BlackHole")]), listener_filters=[make.TLS_INSPECTOR])])
    assert went(world, port=443, protocol="tcp", tls="tls", sni="outbound_.80_._.a.b") == "outbound_.80_._.a.b"
