"""The servers of a gateway workload, merged over Gateways."""

import pytest

from lateen.mesh.gateway_findings import findings
from lateen.mesh.gateways import ServerKind, merged
from lateen.mesh.view import ServiceTarget

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: edge, creationTimestamp: '{created}'}}
spec: {{selector: {{istio: ingressgateway}}, servers: {servers}}}
---
"""
LABELS = (("istio", "ingressgateway"),)
TARGETS = (ServiceTarget("gw.edge.svc.cluster.local", "edge", 80, 8080), ServiceTarget("gw.edge.svc.cluster.local", "edge", 443, 8443))


def gateway(name, servers, created="2024-01-01T00:00:00Z"):
    return GATEWAY.format(name=name, servers=servers, created=created)


HTTP = "[{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]"
TLS_A = "[{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: SIMPLE, credentialName: a}}]"
TLS_B = "[{port: {number: 443, name: https, protocol: HTTPS}, hosts: [b.example.com], tls: {mode: SIMPLE, credentialName: b}}]"
TCP = "[{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}]"


def shape(found):
    return [(group.port, group.kind, [(one.gateway, one.route_name) for one in group.servers]) for group in found.groups]


def test_ports_are_the_services_and_routes_are_named_as_istio_names_them(mesh):
    found = merged(mesh(gateway("g", HTTP) + gateway("t", TLS_A)), LABELS, TARGETS)
    assert shape(found) == [(8080, ServerKind.HTTP, [("edge/g", "http.8080")]), (8443, ServerKind.TLS, [("edge/t", "https.443.https.t.edge")])]


def test_a_port_no_service_has_is_opened_as_written(mesh):
    assert shape(merged(mesh(gateway("g", HTTP)), LABELS, ())) == [(80, ServerKind.HTTP, [("edge/g", "http.80")])]


def test_https_servers_share_a_port_by_server_name(mesh):
    found = merged(mesh(gateway("a", TLS_A) + gateway("b", TLS_B)), LABELS, TARGETS)
    assert shape(found) == [(8443, ServerKind.TLS, [("edge/a", "https.443.https.a.edge"), ("edge/b", "https.443.https.b.edge")])]


ONE_HOST, OTHER_HOST = (TCP.replace("'*'", host) for host in ("one.example", "other.example"))


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (HTTP, TCP, "IST0145"),
        (HTTP.replace("'*'", "a.example"), ONE_HOST, "LTN0211"),
        (TCP, TCP, "IST0145"),
        (ONE_HOST, OTHER_HOST, "LTN0212"),
        (TLS_A, TLS_A, "IST0145"),
    ],
)
def test_the_older_server_keeps_the_port(mesh, first, second, code):
    found = merged(mesh(gateway("old", first) + gateway("a-new", second, "2024-02-01T00:00:00Z")), LABELS, TARGETS)
    assert [one.gateway for group in found.groups for one in group.servers] == ["edge/old"]
    assert [(one.server.gateway, one.code, one.winner) for one in found.refused] == [("edge/a-new", code, "edge/old")]


def test_of_a_conflict_both_owners_are_told(mesh):
    found = findings(mesh(gateway("old", HTTP) + gateway("a-new", TCP, "2024-02-01T00:00:00Z")))
    assert {(one.code, one.object.name, one.severity.name) for one in found if one.code == "IST0145"} == {
        ("IST0145", "a-new", "WARNING"),
        ("IST0145", "old", "INFO"),
    }


POD_AND_SERVICE = """
apiVersion: v1
kind: Namespace
metadata: {name: edge}
---
apiVersion: v1
kind: Pod
metadata: {name: gate, namespace: edge, labels: {istio: ingressgateway, app: gate}}
spec: {containers: [{name: istio-proxy}]}
---
apiVersion: v1
kind: Service
metadata: {name: gate, namespace: edge}
spec: {selector: {app: gate}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
"""


@pytest.mark.parametrize(("port", "is_told"), [(80, False), (8080, False), (9000, True)])
def test_a_port_that_no_service_of_the_workload_has_is_told(mesh, port, is_told):
    found = findings(mesh(POD_AND_SERVICE + gateway("g", HTTP.replace("80", str(port)))))
    assert [(one.code, one.field) for one in found] == ([("IST0162", "spec.servers[0].port.number")] if is_told else [])


def test_other_workloads_are_not_selected(mesh):
    assert merged(mesh(gateway("g", HTTP)), (("istio", "egressgateway"),), TARGETS).groups == ()


def test_hosts_say_whose_virtual_services_count(mesh):
    servers = "[{port: {number: 80, name: h, protocol: HTTP}, hosts: [a.com, ./b.com, shop/c.com, '*/d.com']}]"
    (group,) = merged(mesh(gateway("g", servers)), LABELS, TARGETS).groups
    assert group.servers[0].hosts == (("*", "a.com"), ("edge", "b.com"), ("shop", "c.com"), ("*", "d.com"))
