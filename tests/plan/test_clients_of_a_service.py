"""What clients of a service go by: the key that chooses its endpoint, the identities its servers may have."""

import pytest

from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.mesh.visibility import Scope
from lateen.plan.clients import identities
from lateen.plan.destinations import hash_keys

RULE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}, {name: http-2, port: 81}, {name: http-3, port: 82}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: rule}}
    portLevelSettings:
    - {port: {number: 81}, loadBalancer: {consistentHash: {httpHeaderName: port}}}
    - {port: {number: 82}, loadBalancer: {simple: RANDOM}}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy:
      loadBalancer: {consistentHash: {httpHeaderName: subset}}
      portLevelSettings: [{port: {number: 81}, loadBalancer: {consistentHash: {httpHeaderName: subset-port}}}]
  - {name: v2, labels: {version: v2}}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext, namespace: shop}
spec:
  hosts: [ext.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
  subjectAltNames: [ext.example.com, spiffe://far.example/ns/a/sa/b, spiffe://far.example/other]
"""


@pytest.mark.parametrize(
    ("port", "subset", "header"),
    [(80, "", "rule"), (81, "", "port"), (82, "", "rule"), (80, "v1", "subset"), (81, "v1", "subset-port"), (81, "v2", "port"), (80, "none", "rule")],
)
def test_the_narrowest_level_that_says_a_key_counts(mesh, port, subset, header):
    found = hash_keys(mesh(RULE), Scope("shop"), (), "web.shop.svc.cluster.local", port, subset)
    assert [one.header for one in found] == [header]


def test_listed_identities_may_be_of_an_alias_of_the_trust_domain(mesh):
    listed = {"ext.example.com", "spiffe://far.example/ns/a/sa/b", "spiffe://far.example/other"}
    assert set(identities(mesh(ENTRY), "shop", "ext.example.com")) == listed
    aliased = MeshConfig(trust_domain="new.example", trust_domain_aliases=("old.example",))
    assert set(identities(mesh(ENTRY, aliased), "shop", "ext.example.com")) == listed | {"spiffe://old.example/ns/a/sa/b"}
