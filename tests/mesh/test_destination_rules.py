"""DestinationRules: whose counts, how they merge, and the policy of a port and a subset."""

import pytest

from lateen.config.kinds.istio.traffic_policy import SimpleLb
from lateen.mesh.destination_rules import destination_rule, most_specific, policy_of, rule_labels

HOST = "web.bb.svc.cluster.local"


def rule(name, namespace, host=HOST, body="", created="2024-01-01T00:00:00Z"):
    return f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}
spec:
  host: '{host}'
  {body}
"""


def chosen(db, client="aa", service="bb", labels=()):
    found = destination_rule(db, client, service, HOST, labels)
    return None if found is None else [ref.name for ref in found.origins]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((("mine", "aa"), ("theirs", "bb"), ("root", "istio-system")), ["mine"]),
        ((("theirs", "bb"), ("root", "istio-system")), ["theirs"]),
        ((("root", "istio-system"),), ["root"]),
        ((("other", "cc"),), None),
    ],
)
def test_the_clients_namespace_then_the_services_then_the_root(mesh, rules, expected):
    assert chosen(mesh("".join(rule(*one) for one in rules))) == expected


def test_a_wildcard_of_the_client_beats_an_exact_host_of_the_service(mesh):
    assert chosen(mesh(rule("mine", "aa", "*.svc.cluster.local") + rule("theirs", "bb"))) == ["mine"]


def test_a_short_host_is_of_the_rules_own_namespace(mesh):
    assert chosen(mesh(rule("theirs", "bb", "web") + rule("mine", "aa", "web"))) == ["theirs"]


@pytest.mark.parametrize(
    ("export", "expected"),
    [("[aa]", ["theirs"]), ("['*']", ["theirs"]), ("['.']", ["wild"]), ("[cc]", None)],
)
def test_an_exported_rule_hides_less_specific_ones_even_from_clients_it_is_not_for(mesh, export, expected):
    """A private rule is not among the exported ones, so the wildcard counts; one for a third namespace is, and leaves this client with none."""
    assert chosen(mesh(rule("theirs", "bb", HOST, f"exportTo: {export}") + rule("wild", "bb", "*.bb.svc.cluster.local"))) == expected


def test_rules_of_one_host_merge_oldest_first(mesh):
    old = rule("zz", "bb", HOST, "subsets: [{name: v1, labels: {from: old}}]", "2024-01-01T00:00:00Z")
    new = rule(
        "aa", "bb", HOST, "trafficPolicy: {loadBalancer: {simple: RANDOM}}\n  subsets: [{name: v1, labels: {from: new}}, {name: v2}]", "2024-02-01T00:00:00Z"
    )
    found = destination_rule(mesh(old + new), "aa", "bb", HOST)
    assert found is not None and [ref.name for ref in found.origins] == ["zz", "aa"]
    assert [(subset.name, dict(subset.labels)) for subset in found.subsets] == [("v1", {"from": "old"}), ("v2", {})]
    assert found.traffic_policy is not None and found.traffic_policy.load_balancer is not None


def test_a_rule_with_a_selector_is_for_its_own_workloads_and_takes_what_the_general_one_adds(mesh):
    general = rule("general", "aa", HOST, "subsets: [{name: v1}]")
    special = rule("special", "aa", HOST, "workloadSelector: {matchLabels: {app: x}}\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}")
    db = mesh(general + special)
    assert chosen(db) == ["general"]
    assert chosen(db, labels=(("app", "x"),)) == ["special", "general"]
    assert rule_labels(db, "aa", (("app", "x"), ("version", "v1"))) == (("app", "x"),)
    assert chosen(mesh(special), client="cc", service="aa", labels=(("app", "x"),)) is None


POLICY = """
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 1}}
    portLevelSettings:
    - port: {number: 80}
      outlierDetection: {}
  subsets:
  - name: v1
    trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  - name: v2
    trafficPolicy:
      portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: PASSTHROUGH}}]
"""


@pytest.mark.parametrize(
    ("port", "subset", "balancer", "has_pool", "has_outlier"),
    [
        (81, "", SimpleLb.RANDOM, True, False),
        (80, "", None, False, True),  # a port's settings replace all of them
        (81, "v1", SimpleLb.ROUND_ROBIN, True, False),
        (80, "v1", SimpleLb.ROUND_ROBIN, False, True),
        (80, "v2", SimpleLb.PASSTHROUGH, False, False),
        (81, "missing", SimpleLb.RANDOM, True, False),
    ],
)
def test_precedence_of_rule_port_and_subset(mesh, port, subset, balancer, has_pool, has_outlier):
    db = mesh(rule("d", "bb", HOST, POLICY.strip()))
    policy = policy_of(db, destination_rule(db, "aa", "bb", HOST), port, subset)
    assert (policy.load_balancer.simple if policy.load_balancer else None) is balancer
    assert (policy.connection_pool is not None, policy.outlier_detection is not None) == (has_pool, has_outlier)


@pytest.mark.parametrize(
    ("port", "subset", "version"), [(80, "", "V1"), (81, "", None), (80, "v1", "V2"), (81, "v1", "V2"), (82, "v1", "V1"), (81, "v2", None)]
)
def test_what_a_ports_settings_cannot_say_is_not_taken_from_their_own_level(mesh, port, subset, version):
    simple = "loadBalancer: {simple: RANDOM}"
    v1 = f"{{name: v1, labels: {{v: '1'}}, trafficPolicy: {{proxyProtocol: {{version: V2}}, portLevelSettings: [{{port: {{number: 82}}, {simple}}}]}}}}"
    body = (
        f"subsets: [{v1}, {{name: v2, labels: {{v: '2'}}}}]\n  trafficPolicy: {{proxyProtocol: {{}}, portLevelSettings: [{{port: {{number: 81}}, {simple}}}]}}"
    )
    db = mesh(rule("r", "bb", HOST, body))
    said = policy_of(db, destination_rule(db, "aa", "bb", HOST), port, subset).proxy_protocol
    assert (said.version.value if said else None) == version


def test_the_most_specific_host():
    wild = ("*.svc.cluster.local", "*.local", "*")
    assert most_specific("a.svc.cluster.local", frozenset({"a.svc.cluster.local"}), wild) == "a.svc.cluster.local"
    assert most_specific("a.svc.cluster.local", frozenset(), wild) == "*.svc.cluster.local"
    assert most_specific("*.cluster.local", frozenset(), wild) == "*.local"
    assert most_specific("*.local", frozenset(), wild) == "*.local"
    assert most_specific("x", frozenset(), ("*.x",)) is None
