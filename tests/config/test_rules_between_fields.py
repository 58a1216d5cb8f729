"""What objects of the Istio API may not say together, and what they may."""

import pytest
import yaml

from lateen.base.findings import Severity
from lateen.config.decode import decode
from lateen.config.validate import validate

API = {"RequestAuthentication": "security.istio.io/v1"}
WILD = {"hosts": ["*.example.com"], "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}], "resolution": "DYNAMIC_DNS", "location": "MESH_EXTERNAL"}
NAMED = {
    "hosts": ["*.example.com"],
    "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    "resolution": "DNS",
    "workloadSelector": {"labels": {"app": "a"}},
}
FILES = {"mode": "SIMPLE", "serverCertificate": "/c/cert.pem", "privateKey": "/c/key.pem"}


def rule(*subsets):
    return {"host": "web", "subsets": [{"name": name, "labels": {"version": name}} for name in subsets]}


def server(protocol, tls):
    return {"selector": {"istio": "edge"}, "servers": [{"port": {"number": 8443, "name": "p", "protocol": protocol}, "hosts": ["*"], "tls": tls}]}


def egress(*hosts):
    return {"egress": [{"hosts": list(hosts)}]}


@pytest.mark.parametrize(
    ("kind", "spec", "fields"),
    [
        ("DestinationRule", rule("v1", "v2"), []),
        ("DestinationRule", rule("v1", "v2", "v1"), ["spec.subsets[2].name"]),
        ("ServiceEntry", WILD, []),
        ("ServiceEntry", {**WILD, "hosts": ["www.example.com"]}, ["spec.hosts[0]"]),
        ("ServiceEntry", {**WILD, "addresses": ["10.9.0.1"]}, ["spec.addresses"]),
        ("ServiceEntry", {**WILD, "ports": [{"number": 443, "name": "s", "protocol": "HTTPS"}]}, ["spec.ports[0].protocol"]),
        ("ServiceEntry", {**WILD, "ports": [{"number": 80, "name": "g", "protocol": "grpc"}]}, []),
        ("ServiceEntry", NAMED, ["spec.hosts[0]"]),
        ("ServiceEntry", {**NAMED, "resolution": "STATIC"}, []),
        ("RequestAuthentication", {"jwtRules": [{"issuer": "me"}]}, []),
        ("RequestAuthentication", {"jwtRules": [{"jwks": '{"keys": []}'}]}, ["spec.jwtRules[0].issuer"]),
        ("Gateway", server("HTTPS", FILES), []),
        ("Gateway", server("HTTPS", {**FILES, "credentialName": "c"}), ["spec.servers[0].tls.serverCertificate"]),
        ("Gateway", server("HTTP", {"mode": "AUTO_PASSTHROUGH"}), []),
        ("Gateway", server("HTTP", {"mode": "SIMPLE", "credentialName": "c"}), ["spec.servers[0].tls"]),
        ("Sidecar", egress("*/*", "~till/*", "~./a.shop.svc.cluster.local", "~/*.example.com", "~*/*"), []),
        ("Sidecar", egress("*/*", "~~/*"), ["spec.egress[0].hosts[1]"]),
        ("Sidecar", egress("*/*", "~t_ll/*"), ["spec.egress[0].hosts[1]"]),
    ],
)
def test_rules(kind, spec, fields):
    text = yaml.safe_dump({"apiVersion": API.get(kind, "networking.istio.io/v1"), "kind": kind, "metadata": {"name": "a", "namespace": "shop"}, "spec": spec})
    decoded = decode(text, "a.yaml")
    assert len(decoded.objects) == 1 and not decoded.findings
    assert [one.field for one in validate(decoded.objects[0]) if one.severity is Severity.ERROR] == fields
