"""Delegation of HTTP routes: what merges, what contradicts, what is inherited."""

import pytest

from lateen.config.kinds.istio.virtual_service import HttpMatch, HttpRoute, StringMatch
from lateen.config.kinds.values import Duration, Map
from lateen.mesh.delegates import merged_matches, merged_routes, strings_contradict
from lateen.mesh.virtual_services import effective, findings, gateway_name, virtual_services

PREFIX_A = StringMatch(prefix="/a")


@pytest.mark.parametrize(
    ("root", "leaf", "contradicts"),
    [
        (None, StringMatch(exact="/x"), False),
        (PREFIX_A, None, False),
        (PREFIX_A, StringMatch(exact="/a/b"), False),
        (PREFIX_A, StringMatch(prefix="/ab"), False),
        (PREFIX_A, StringMatch(exact="/b"), True),
        (StringMatch(exact="/a"), StringMatch(exact="/a"), False),
        (StringMatch(exact="/a"), StringMatch(prefix="/a"), True),
        (StringMatch(regex="/a.*"), StringMatch(exact="/a"), True),
        (StringMatch(), StringMatch(exact="/a"), True),
    ],
)
def test_a_delegates_text_must_lie_within_the_roots(root, leaf, contradicts):
    assert strings_contradict(root, leaf) is contradicts


def test_one_entry_outside_the_root_drops_the_whole_route():
    root = HttpRoute(match=(HttpMatch(uri=PREFIX_A),))
    inside = HttpRoute(match=(HttpMatch(uri=StringMatch(exact="/a/1")), HttpMatch(headers=Map({"x": StringMatch(exact="1")}))))
    outside = HttpRoute(match=(HttpMatch(uri=StringMatch(exact="/a/1")), HttpMatch(uri=StringMatch(exact="/b"))))
    kept = list(merged_routes(root, (inside, outside)))
    assert len(kept) == 1
    assert [match.uri for match in kept[0].match] == [StringMatch(exact="/a/1"), PREFIX_A]


def test_every_pair_of_conditions_counts():
    roots = (HttpMatch(uri=PREFIX_A), HttpMatch(uri=StringMatch(prefix="/b")))
    merged = merged_matches(roots, (HttpMatch(method=StringMatch(exact="GET")),))
    assert merged is not None and [match.uri for match in merged] == [PREFIX_A, StringMatch(prefix="/b")]


def test_settings_are_inherited_whole_and_zero_is_a_setting():
    root = HttpRoute(name="r", timeout=Duration(5))
    merged = list(merged_routes(root, (HttpRoute(name="d"), HttpRoute(timeout=Duration(0)))))
    assert [(route.name, route.timeout) for route in merged] == [("r-d", 5.0), ("r", 0.0)]


@pytest.mark.parametrize(
    ("written", "name"), [("mesh", "mesh"), ("g", "aa/g"), ("bb/g", "bb/g"), ("./g", "aa/g"), ("g.bb.svc.cluster.local", "bb/g"), ("g.bb", "bb/g")]
)
def test_gateway_names(written, name):
    assert gateway_name(written, "aa") == name


TWO = """
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: root, namespace: aa}
spec:
  hosts: [one]
  http:
  - match: [{uri: {prefix: /a}}]
    delegate: {name: part, namespace: bb}
  - match: [{uri: {prefix: /b}}]
    delegate: {name: nobody}
  - route: [{destination: {host: two}}]
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: part, namespace: bb}
spec:
  http:
  - route: [{destination: {host: far}}]
"""


def test_a_delegate_keeps_its_own_namespace_and_a_missing_one_loses_only_its_route(mesh):
    db = mesh(TWO)
    (service,) = virtual_services(db, "aa", "mesh")
    assert service.hosts == ("one.aa.svc.cluster.local",)
    assert [route.route[0].destination.host for route in service.http] == ["far.bb.svc.cluster.local", "two.aa.svc.cluster.local"]
    assert [(finding.code, finding.field) for finding in findings(db)] == [("IST0101", "spec.http[1].delegate")]


def test_a_private_delegate_is_not_there_for_others(mesh):
    db = mesh(TWO.replace("  http:\n  - route: [{destination: {host: far}}]", "  exportTo: [.]\n  http:\n  - route: [{destination: {host: far}}]"))
    (service,) = virtual_services(db, "aa", "mesh")
    assert len(service.http) == 1
    assert effective(db, service.origin) == service
