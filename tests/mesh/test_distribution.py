"""Where a service's trafficDistribution is said, and which counts."""

import pytest

from lateen.mesh.services import all_services

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {{name: shop, annotations: {home}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop, annotations: {own}}}
spec: {{clusterIP: 10.96.0.1, ports: [{{name: http, port: 80}}], trafficDistribution: {field}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: ext, namespace: shop, annotations: {own}}}
spec: {{hosts: [ext.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: DNS}}
"""


def said(value):
    return f"{{networking.istio.io/traffic-distribution: {value}}}" if value else "{}"


@pytest.mark.parametrize(
    ("field", "own", "home", "service", "entry"),
    [
        ("null", "", "", "", ""),
        ("PreferClose", "PreferSameNode", "", "PreferClose", "PreferSameNode"),
        ("null", "prefersamezone", "PreferSameNode", "PreferSameZone", "PreferSameZone"),
        ("null", "", "PREFERCLOSE", "PreferClose", "PreferClose"),
        ("null", "Any", "PreferClose", "", ""),
        ("Nonsense", "PreferClose", "", "PreferClose", "PreferClose"),
    ],
)
def test_the_field_counts_before_the_annotation_before_the_namespaces(mesh, field, own, home, service, entry):
    db = mesh(SHOP.format(field=field, own=said(own), home=said(home)))
    assert {one.name: one.traffic_distribution for one in all_services(db)} == {"web": service, "ext.example.com": entry}
