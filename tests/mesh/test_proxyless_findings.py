"""Where gRPC clients without a proxy are, what they do not do is said; where none are, nothing is."""

import pytest

from lateen.mesh.findings import mesh_findings
from lateen.mesh.proxyless_findings import DESTINATIONS, ROUTES, UNHELD

WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: aa}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}, annotations: {inject.istio.io/templates: "TEMPLATES"}}
    spec: {containers: [{name: a, image: x}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: aa}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: grpc, port: 80}]}
"""


def route(body: str, more: str = "") -> str:
    return f"\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: aa}}\nspec:\n  hosts: [web]\n  {more}\n  http: [{body}]\n"


def rule(body: str) -> str:
    return (
        f"\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: aa}}\nspec:\n  host: web\n  trafficPolicy: {body}\n"
    )


TO = "route: [{destination: {host: web}}]"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (route(f"{{{TO}, timeout: 1s, retries: {{attempts: 2, retryOn: 'unavailable,5xx'}}, fault: {{delay: {{fixedDelay: 1s}}}}}}"), []),
        (route(f"{{{TO}, mirror: {{host: web}}}}"), ["spec.http[0].mirror"]),
        (route(f"{{{TO}, mirrors: [{{destination: {{host: web}}}}]}}"), ["spec.http[0].mirrors"]),
        (route(f"{{{TO}, rewrite: {{uri: /x}}}}"), ["spec.http[0].rewrite"]),
        (route(f"{{{TO}, headers: {{request: {{set: {{a: b}}}}}}}}"), ["spec.http[0].headers"]),
        (route("{route: [{destination: {host: web}, headers: {request: {set: {a: b}}}}]}"), ["spec.http[0].headers"]),
        (route("{redirect: {uri: /x}}"), ["spec.http[0].redirect"]),
        (route("{directResponse: {status: 503}}"), ["spec.http[0].directResponse"]),
        (
            route(f"{{{TO}, retries: {{attempts: 2, retryOn: '5xx,gateway-error', perTryTimeout: 1s}}}}"),
            ["spec.http[0].retries.perTryTimeout", "spec.http[0].retries.retryOn"],
        ),
        (route(f"{{{TO}, mirror: {{host: web}}}}", "exportTo: [bb]"), []),
        (route(f"{{{TO}, mirror: {{host: web}}}}", "exportTo: [.]"), ["spec.http[0].mirror"]),
        (route(f"{{{TO}, mirror: {{host: web}}}}", "gateways: [istio-system/edge]"), []),
        (rule("{loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {http: {http2MaxRequests: 3}}, tls: {mode: ISTIO_MUTUAL}}"), []),
        (rule("{loadBalancer: {simple: RANDOM}}"), ["spec.trafficPolicy.loadBalancer.simple"]),
        (rule("{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"), []),
        (rule("{loadBalancer: {consistentHash: {useSourceIp: true}}}"), ["spec.trafficPolicy.loadBalancer.consistentHash"]),
        (rule("{loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {}}}}"), ["spec.trafficPolicy.loadBalancer.consistentHash"]),
        (rule("{outlierDetection: {consecutive5xxErrors: 3}}"), ["spec.trafficPolicy.outlierDetection"]),
        (rule("{portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}"), ["spec.trafficPolicy.portLevelSettings[0].tls"]),
    ],
)
def test_findings(mesh, text: str, fields: list[str]) -> None:
    def found(templates: str) -> list[str]:
        mine = (ROUTES, DESTINATIONS)
        return [one.field for one in mesh_findings(mesh(WORKLOAD.replace("TEMPLATES", templates) + text)) if one.code in mine]

    assert found("grpc-agent") == found("gateway, grpc-simple") == fields
    assert found("sidecar") == []


def strict(selector: str, namespace: str = "aa", mode: str = "STRICT") -> str:
    head = f"\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p, namespace: {namespace}}}\n"
    return f"{head}spec: {{{selector}mtls: {{mode: {mode}}}}}\n"


@pytest.mark.parametrize(
    ("policy", "is_told"),
    [
        (strict(""), True),
        (strict("", "istio-system"), True),
        (strict("selector: {matchLabels: {app: client}}, "), True),
        (strict("selector: {matchLabels: {app: other}}, "), False),
        (strict("", "bb"), False),
        (strict("", mode="PERMISSIVE"), False),
    ],
)
def test_strict_where_no_proxy_holds_it_is_told(mesh, policy: str, is_told: bool) -> None:
    def found(text: str) -> list[str]:
        return [one.field for one in mesh_findings(mesh(text.replace("TEMPLATES", "grpc-agent") + policy)) if one.code == UNHELD]

    server = WORKLOAD.replace("image: x", "image: x, ports: [{containerPort: 80}]")
    assert found(server) == (["spec.mtls.mode"] if is_told else [])
    assert found(server.replace("TEMPLATES", "sidecar")) == found(WORKLOAD) == []  # a proxy holds it; nothing is served
