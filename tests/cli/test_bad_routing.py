"""Bad routing as a table: what is written, and where and what `validate` says of it. What Istio would send all the same is sent: `tests/conformance` and the findings' own tests."""

from pathlib import Path

import pytest

from lateen.base.findings import Finding
from lateen.cli.validate import judged
from lateen.mesh import route_findings

BASE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: http-admin, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: own, namespace: shop, annotations: {networking.istio.io/exportTo: "."}}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web, version: v1}}
spec: {containers: [{name: web, image: web}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [web.example.com]}]
---
apiVersion: v1
kind: Secret
metadata: {name: other, namespace: istio-system}
"""
ROUTE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bad, namespace: shop}
spec:
  hosts: [%s]
  gateways: [%s]
  http:
"""
ENTRY = "    route: [{destination: {host: web}}]\n"
LONG = "x" * 100_000


def mesh_route(http: str) -> str:
    return ROUTE % ("web", "mesh") + http


def gateway(name: str, servers: str) -> str:
    head = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: %s, namespace: shop}\nspec:\n  selector: {istio: ingressgateway}\n  servers:\n"
    return head % name + servers


def zones(setting: str) -> str:
    head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: two, namespace: shop}\nspec:\n  host: two\n"
    return f"{head}  trafficPolicy: {{loadBalancer: {{zoneAwareLbSetting: {setting}}}}}\n"


def tls_server(tls: str) -> str:
    written = tls.replace("FILES", "serverCertificate: /c.pem, privateKey: /k.pem")
    return gateway("tls", f"  - {{port: {{number: 443, name: p, protocol: HTTPS}}, hosts: [a.example], tls: {written}}}\n")


def told(tmp_path: Path, text: str) -> list[Finding]:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "bad.yaml").write_text(text.replace("LONG", LONG))
    _, findings = judged((str(tmp_path / "base.yaml"), str(tmp_path / "bad.yaml")))
    assert all(one.place is not None for one in findings)
    return [one for one in findings if one.place.source.endswith("bad.yaml")]


def test_the_base_is_clean(tmp_path: Path) -> None:
    assert told(tmp_path, mesh_route("  - route: [{destination: {host: web, subset: v1}}]\n")) == []


BAD = {
    "weights of nothing": (mesh_route("  - route: [{destination: {host: web}, weight: 0}, {destination: {host: two}, weight: 0}]\n"), 8, "IST0106", "route"),
    "a weight below nothing": (mesh_route("  - route: [{destination: {host: web}, weight: -1}]\n"), 8, "IST0106", "weight"),
    "a missing host": (mesh_route("  - route: [{destination: {host: wbe}}]\n"), 8, "IST0101", "did you mean `web`?"),
    "a missing subset": (mesh_route("  - route: [{destination: {host: web, subset: v2}}]\n"), 8, "IST0101", "its DestinationRule has v1"),
    "a missing port": (mesh_route("  - route: [{destination: {host: web, port: {number: 8080}}}]\n"), 8, "IST0101", "it has 80"),
    "a port to choose": (mesh_route("  - route: [{destination: {host: two}}]\n"), 8, "IST0112", "say which: 80, 81"),
    "a missing mirror": (mesh_route("  - mirrors: [{destination: {host: wbe}}]\n" + ENTRY), 8, "IST0101", "did you mean `web`?"),
    "a missing gateway": (ROUTE % ("web.example.com", "egde") + "  - route: [{destination: {host: web}}]\n", 6, "IST0101", "did you mean `edge`?"),
    "a host no gateway has": (ROUTE % ("shop.example.com", "edge") + "  - route: [{destination: {host: web}}]\n", 5, "IST0132", "they serve web.example.com"),
    "a regex of another language": (mesh_route("  - match: [{uri: {regex: '(?=a)'}}]\n" + ENTRY), 8, "IST0106", "invalid perl operator"),
    "a regex of a header": (mesh_route("  - match: [{headers: {x-a: {regex: 'a(b'}}}]\n" + ENTRY), 8, "IST0106", "missing )"),
    "a regex of an origin": (mesh_route("  - corsPolicy: {allowOrigins: [{regex: '(*'}]}\n" + ENTRY), 8, "IST0106", "RE2"),
    "a regex that grows": (mesh_route("  - match: [{uri: {regex: '((a{100}){100}){10}'}}]\n" + ENTRY), 8, "IST0106", "RE2"),
    "a group that is not there": (mesh_route("  - rewrite: {uriRegexRewrite: {match: '/(a)', rewrite: '/\\2'}}\n" + ENTRY), 8, "IST0133", "has 1 groups"),
    "a route for those who do not see its host": (
        ROUTE.replace("spec:\n", "spec:\n  exportTo: [far]\n") % ("web", "mesh") + "  - route: [{destination: {host: own}}]\n",
        9,
        "IST0101",
        "clients in `far`",
    ),
    "a shadowed route": (mesh_route("  - route: [{destination: {host: web}}]\n  - match: [{uri: {prefix: /a}}]\n" + ENTRY), 9, "IST0130", "narrower one first"),
    "a shadowed condition": (mesh_route("  - match: [{uri: {prefix: /a}}, {uri: {exact: /ab}}]\n" + ENTRY), 8, "IST0131", "leave it out"),
    "a missing delegate": (ROUTE % ("web", "mesh") + "  - delegate: {name: nobody}\n", 8, "IST0101", "this route is left out"),
    "a delegate of itself": (ROUTE % ("web", "mesh") + "  - delegate: {name: bad}\n", 8, "IST0101", "this route is left out"),
    "a long host": (ROUTE % ("a" * 250 + ".example.com", "mesh") + "  - route: [{destination: {host: web}}]\n", 5, "IST0106", "longer than 255"),
    "weights beyond what can be counted": (
        mesh_route(
            "  - route: [{destination: {host: web}, weight: 2147483647}, {destination: {host: web}, weight: 2147483647}, {destination: {host: web}, weight: 2}]\n"
        ),
        8,
        "IST0106",
        "divide them all",
    ),
    "a large header": (mesh_route("  - headers: {request: {set: {x-a: LONG}}}\n" + ENTRY), 8, "LTN0305", "at most 8192 bytes, this has 100000"),
    "a large header of a destination": (
        mesh_route("  - route: [{destination: {host: web}, headers: {response: {add: {x-a: LONG}}}}]\n"),
        8,
        "LTN0305",
        "route[0].headers.response.add[x-a]",
    ),
    "a header of two lines": (mesh_route('  - headers: {request: {add: {x-a: "a\\r\\nx-b: c"}}}\n' + ENTRY), 8, "LTN0305", "is left out"),
    "a large name of a header": (mesh_route("  - headers: {request: {remove: [LONG]}}\n" + ENTRY), 8, "IST0106", "may have 16384 bytes"),
    "a name of two lines": (mesh_route('  - match: [{headers: {"a\\nb": {}}}]\n' + ENTRY), 8, "IST0106", "no line breaks"),
    "a path no request has": (mesh_route("  - match: [{uri: {prefix: /LONG}}]\n" + ENTRY), 8, "IST0133", "no request matches"),
    "a header no request has": (mesh_route("  - match: [{headers: {x-a: {exact: LONG}}}]\n" + ENTRY), 8, "IST0133", "no request matches"),
    "a query no request has": (mesh_route("  - match: [{queryParams: {a: {exact: LONG}}}]\n" + ENTRY), 8, "IST0133", "no request matches"),
    "a path nobody takes": (mesh_route("  - rewrite: {uri: /LONG}\n" + ENTRY), 8, "IST0133", "the next proxy answers 431"),
    "a path of two lines": (mesh_route('  - rewrite: {uri: "/a\\r\\nb"}\n' + ENTRY), 8, "IST0106", "control character"),
    "an authority with a zero byte": (mesh_route('  - redirect: {authority: "a\\0b"}\n'), 8, "IST0106", "control character"),
    "a large body": (mesh_route("  - directResponse: {status: 200, body: {string: %s}}\n" % ("y" * 1_100_000)), 8, "IST0106", "1 MiB"),
    "a missing secret": (
        gateway("tls", "  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: gone}}\n"),
        7,
        "IST0101",
        "only this server is closed",
    ),
    "a list of revocations without clients": (tls_server("{mode: SIMPLE, FILES, caCrl: /l.pem}"), 7, "IST0106", "or OPTIONAL_MUTUAL"),
    "a list of revocations beside a Secret": (tls_server("{mode: MUTUAL, credentialName: other, caCrl: /l.pem}"), 7, "IST0106", "as `ca.crl`"),
    "a list of revocations for the mesh": (tls_server("{mode: ISTIO_MUTUAL, caCrl: /l.pem}"), 7, "IST0133", "nobody revokes them"),
    "clients that nobody asks": (tls_server("{mode: SIMPLE, FILES, insecureSkipVerify: true}"), 7, "IST0133", "asks for no client certificates"),
    "certificates that nobody uses": (tls_server("{mode: PASSTHROUGH, FILES}"), 7, "IST0133", "leave them out"),
    "a port with an owner": (
        gateway("zz", "  - {port: {number: 80, name: tcp, protocol: TCP}, hosts: [other.example.com]}\n"),
        7,
        "LTN0211",
        "use another port",
    ),
    "a port that leads to the same listener": (
        gateway("zz", "  - {port: {number: 8080, name: tcp, protocol: TCP}, hosts: [other.example.com]}\n"),
        7,
        "LTN0211",
        "`shop/edge`",
    ),
    "a cipher that does not exist": (
        gateway(
            "tls", "  - {port: {number: 443, name: p, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: other, cipherSuites: [NOPE]}}\n"
        ),
        7,
        "IST0133",
        "it is left out: `NOPE`",
    ),
    "a long name of a server": (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: two, namespace: shop}\nspec:\n  host: two\n  trafficPolicy: {tls: {mode: SIMPLE, sni: LONG}}\n",
        6,
        "IST0106",
        "may have 255 bytes",
    ),
    "endpoints' weights beyond what can be counted": (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: far, namespace: shop}\nspec:\n  hosts: [far.example]\n  resolution: STATIC\n"
        "  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints: [{address: 192.0.2.1, weight: 4294967295}, {address: 192.0.2.2, weight: 1}]\n",
        8,
        "IST0106",
        "divide them all",
    ),
    "two kinds of localities": (zones("{minClusterSize: 2}, localityLbSetting: {enabled: true}"), 6, "IST0106", "either localityLbSetting"),
    "a region that fails over to itself": (zones("{failover: [{from: r1, to: r1}]}"), 6, "IST0106", "fails over to itself"),
    "a zone to fail over to": (zones("{failover: [{from: r1, to: r2/z1}]}"), 6, "IST0106", "a region, without zone"),
    "regions by label": (zones("{failoverPriority: [topology.kubernetes.io/zone]}"), 6, "IST0106", "say with `failover`"),
    "regions that never fail": (zones("{failover: [{from: r1, to: r2}]}"), 6, "IST0133", "add outlierDetection"),
    "an address and port with an owner": (
        "\n---\n".join(
            (
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: NAME, namespace: shop}\nspec:\n"
                "  {hosts: [NAME.example], addresses: [192.0.2.9], resolution: NONE, ports: [{number: 5000, name: tcp, protocol: TCP}]}"
            ).replace("NAME", name)
            for name in ("one", "two")
        ),
        11,
        "LTN0516",
        "those of `one.example`",
    ),
    "a host with an owner": (gateway("zz", "  - {port: {number: 80, name: tcp, protocol: TCP}, hosts: [web.example.com]}\n"), 7, "IST0145", "use another port"),
}


@pytest.mark.parametrize("what", BAD)
def test_it_is_told_where_it_stands(tmp_path: Path, what: str) -> None:
    text, line, code, part = BAD[what]
    found = told(tmp_path, text)
    assert any(one.place.line == line and one.code == code and part in f"{one.field} {one.message} ({one.hint})" for one in found), found
    assert all(one.hint or one.code == "IST0106" for one in found)


def test_delegates_in_a_circle_are_told_and_go_nowhere(tmp_path: Path) -> None:
    leaf = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: shop}\nspec: {http: [{delegate: {name: %s}}]}\n"
    found = told(tmp_path, ROUTE % ("web", "mesh") + "  - delegate: {name: one}\n" + leaf % ("one", "two") + leaf % ("two", "one"))
    assert [(one.object.name, one.code, one.field) for one in found] == [
        ("one", "IST0106", "spec.http[0].delegate"),
        ("two", "IST0106", "spec.http[0].delegate"),
        ("bad", "IST0101", "spec.http[0].delegate"),
    ]


def test_a_claim_that_is_taken_names_the_winner_and_tells_the_winner(tmp_path: Path) -> None:
    entry = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: shop}\nspec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}\n"
    found = told(tmp_path, entry % "first" + "---\n" + entry % "second")
    assert [(one.object.name, one.severity.name, "shop/first" in one.message, "shop/second" in one.message) for one in found] == [
        ("second", "ERROR", True, False),
        ("first", "INFO", False, True),
    ]


@pytest.mark.parametrize("path", ["/p%d/", "/p%d"])
def test_thousands_of_routes_are_judged_and_not_all_told(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each condition is held against those that may cover it, not against all."""
    looked_at = 0

    def counted(*pair: object) -> bool:
        nonlocal looked_at
        looked_at += 1
        return covers(*pair)

    covers = route_findings._covers
    monkeypatch.setattr(route_findings, "_covers", counted)
    routes = "".join(f"  - match: [{{uri: {{prefix: {path % number}}}}}]\n{ENTRY}" for number in range(4000))
    found = told(tmp_path, mesh_route(routes))
    assert looked_at < 10 * 4000
    assert len(found) == (0 if path.endswith("/") else 201)
    assert not found or found[-1].code == "LTN0304"
