"""Answers that namespaces share are those each would get by itself: on random exports, hosts and rules."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.mesh import visibility
from lateen.mesh.destination_rules import _rule_key, rule_key, rule_of
from lateen.mesh.visibility import Scope
from tests.mesh.conftest import mesh_of

SPACES = ("aa", "bb", "cc", "istio-system")
export = st.lists(st.sampled_from((".", "*", "~", *SPACES)), max_size=2, unique=True)
service = st.tuples(st.sampled_from(("Service", "ServiceEntry")), st.sampled_from(SPACES), st.sampled_from(("web", "till")), export)
rule = st.tuples(st.sampled_from(SPACES), st.sampled_from(("web.aa", "web.bb", "till.bb", "*.bb", "*")), export, st.booleans())


def written(services, rules) -> str:
    parts = []
    for number, (kind, namespace, name, to) in enumerate(services):
        if kind == "Service":
            note = f"annotations: {{networking.istio.io/exportTo: '{','.join(to)}'}}" if to else "labels: {}"
            spec = f"spec: {{clusterIP: 10.0.0.{number + 1}, ports: [{{name: http, port: 80}}]}}"
            parts.append(f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}, {note}}}\n{spec}\n")
        else:
            spec = f"spec: {{hosts: [{name}.aa.svc.cluster.local, {name}.example.com], exportTo: {list(to)}, resolution: DNS, ports: [{{name: http, number: 80}}]}}"
            parts.append(f"---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{number}, namespace: {namespace}}}\n{spec}\n")
    for number, (namespace, host, to, is_selective) in enumerate(rules):
        full = "*" if host == "*" else f"{host}.svc.cluster.local"
        selector = "workloadSelector: {matchLabels: {app: a}}, " if is_selective else ""
        spec = f"spec: {{host: '{full}', {selector}exportTo: {list(to)}}}"
        parts.append(f"---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d{number}, namespace: {namespace}}}\n{spec}\n")
    return "".join(parts)


@settings(max_examples=200, deadline=None)
@given(st.lists(service, min_size=1, max_size=6))
def test_a_shared_vantage_sees_what_the_namespace_sees(services):
    db = mesh_of(written(services, ()))
    for namespace in SPACES:
        for eyes in (Scope(namespace), Scope(namespace, None, True)):
            assert visibility.scoped_services(db, eyes) == visibility._scoped_services(db, eyes)
            assert visibility.scoped_listeners(db, eyes) == visibility._scoped_listeners(db, eyes)


@settings(max_examples=300, deadline=None)
@given(st.lists(rule, max_size=5))
def test_a_shared_rule_is_the_one_the_client_would_find(rules):
    db = mesh_of(written((), rules))
    for client in SPACES:
        for home, host in (("aa", "web.aa.svc.cluster.local"), ("bb", "web.bb.svc.cluster.local"), ("bb", "till.bb.svc.cluster.local")):
            for labels in ((), (("app", "a"),)):
                shared, own = (rule_of(db, find(db, client, home, host, labels)) for find in (rule_key, _rule_key))
                assert shared == own
