"""Findings about DestinationRules and services: each mistake is named once, and a sound mesh has none."""

import pytest

from lateen.mesh.destination_findings import destination_findings
from lateen.mesh.service_findings import service_findings

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: aa}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: aa, labels: {app: web, version: v1}}
spec: {containers: []}
status: {podIP: 10.1.0.1, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-v3, namespace: aa}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web, version: v3}}, spec: {containers: []}}}
"""


def rule(body, name="d", host="web"):
    return f"\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: aa}}\nspec:\n  host: {host}\n  {body}\n"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (rule("subsets: [{name: v1, labels: {version: v1}}]"), []),
        (rule("", host="wep"), [("IST0174", "spec.host")]),
        (rule("", host="'*.aa.svc.cluster.local'"), []),
        (rule("subsets: [{name: v2, labels: {version: v2}}]"), [("IST0173", "spec.subsets[0].labels")]),
        (rule("subsets: [{name: v3, labels: {version: v3}}]"), []),  # its pods are still to come
        (rule("subsets: [{name: v1}]", "a") + rule("subsets: [{name: v1}]", "b"), [("LTN0501", "spec.subsets[0].name")]),
        (
            rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}", "a") + rule("trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}", "b"),
            [("LTN0502", "spec.trafficPolicy")],
        ),
        (
            rule("trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}"),
            [("LTN0503", "spec.trafficPolicy.loadBalancer.localityLbSetting")],
        ),
        (
            rule("trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}"),
            [("LTN0504", "spec.trafficPolicy.tls.credentialName"), ("IST0128", "spec.trafficPolicy.tls")],
        ),
        (rule("trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /etc/root.pem}}"), []),
        (rule("trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}"), []),
        (
            rule("trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: MUTUAL, clientCertificate: /a, privateKey: /b}}]}"),
            [("IST0129", "spec.trafficPolicy.portLevelSettings[0].tls")],
        ),
        (rule("subsets: [{name: nowhere, labels: {topology.kubernetes.io/region: ''}}]"), [("IST0173", "spec.subsets[0].labels")]),
        (
            rule("trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}}"),
            [("LTN0505", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize")],
        ),
    ],
)
def test_destination_rules(mesh, rules, expected):
    assert [(one.code, one.field) for one in destination_findings(mesh(WEB + rules))] == expected


def entry(name, body, host="x.example.com", port="{number: 80, name: http, protocol: HTTP}"):
    return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: aa}}
spec:
  hosts: [{host}]
  ports: [{port}]
  {body}
"""


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (entry("a", "resolution: DNS"), []),
        (entry("a", "resolution: DNS") + entry("b", "resolution: DNS"), [("ServiceEntry aa/b", "LTN0513")]),
        (entry("a", "resolution: DNS", "web.aa.svc.cluster.local"), [("ServiceEntry aa/a", "LTN0512")]),
        (entry("a", "resolution: DNS_ROUND_ROBIN\n  endpoints: [{address: a.example.com}, {address: b.example.com}]"), [("ServiceEntry aa/a", "LTN0514")]),
        (
            entry("a", "resolution: DNS") + entry("b", "resolution: DNS", port="{number: 80, name: tcp, protocol: TCP}"),
            [("ServiceEntry aa/a", "IST0177"), ("ServiceEntry aa/b", "LTN0513"), ("ServiceEntry aa/b", "IST0177")],
        ),
        (
            "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: out, namespace: aa}\nspec: {type: ExternalName, externalName: no.example.com}",
            [("Service aa/out", "LTN0511")],
        ),
    ],
)
def test_services(mesh, entries, expected):
    assert [(str(one.object), one.code) for one in service_findings(mesh(WEB + entries))] == expected
