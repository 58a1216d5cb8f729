"""Text becomes objects; every mistake is found, with line, column, field and hint; nothing hostile harms."""

import pytest

from lateen.base.findings import Severity
from lateen.base.names import ObjectRef
from lateen.config import codes
from lateen.config.decode import decode, ref_of

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x}\nspec: {ports: [{port: 80, targetPort: http}]}\n"
ROUTE = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\nspec:\n"


def said(text):
    return [str(finding) for finding in decode(text, "f.yaml").findings]


@pytest.mark.parametrize(
    ("spec", "line", "field", "part"),
    [
        ("  hosts: reviews\n", "5:10", "spec.hosts", "expected a list, got `reviews` (text)"),
        ("  http:\n  - rout: []\n", "6:5", "spec.http[0].rout", "did you mean `route`?"),
        ("  http:\n  - timeout: 5\n", "6:14", "spec.http[0].timeout", "write 5s"),
        ("  http:\n  - timeout: soon\n", "6:14", "spec.http[0].timeout", "not a duration"),
        ("  http:\n  - match: [{uri: {prefix: 3}}]\n", "6:28", "spec.http[0].match[0].uri.prefix", 'quote it: "3"'),
        ('  http:\n  - match: [{port: "80"}]\n', "6:20", "spec.http[0].match[0].port", "without quotes"),
        ("  http:\n  - match: [{port: -1}]\n", "6:20", "spec.http[0].match[0].port", "must be between 0 and 4294967295: -1"),
        ("  http:\n  - retries: {attempts: yes}\n", "6:25", "spec.http[0].retries.attempts", "true (a boolean)"),
        ("  http:\n  - redirect: {derivePort: from_request_prt}\n", "6:28", "spec.http[0].redirect.derivePort", "did you mean `FROM_REQUEST_PORT`?"),
        ("  hosts: [a]\n  hosts: [b]\n", "6:3", "spec.hosts", "the first is on line 5"),
        ("  http:\n  - headers: {request: {set: {a: 1}}}\n", "6:34", "spec.http[0].headers.request.set[a]", "expected text"),
        ("  http: [~]\n", "5:10", "spec.http[0]", "got nothing"),
    ],
)
def test_a_mistake_has_its_place_its_field_and_a_hint(spec, line, field, part):
    (finding,) = decode(ROUTE + spec, "f.yaml").findings
    assert f"{finding.place}" == f"f.yaml:{line}"
    assert finding.field == field
    assert part in str(finding)
    assert finding.object == ObjectRef("VirtualService", "default", "r")
    assert finding.severity is Severity.ERROR


def test_all_mistakes_are_found_at_once_and_the_other_objects_are_good():
    decoded = decode(ROUTE + "  hosts: [1, 2]\n  nope: 1\n---\n" + SERVICE, "f.yaml")
    assert len(decoded.findings) == 3
    assert [item.name for item in decoded.objects] == ["a"]
    assert decoded.refused == {ObjectRef("VirtualService", "default", "r")}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("kind: Service\nmetadata: {name: a}\n", "missing apiVersion"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "missing kind"),
        ("apiVersion: v1\nkind: Service\n", "missing metadata.name"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: A_b}\n", "not a valid name: `A_b`"),
        ("- 1\n", "expected an object with apiVersion and kind"),
        ("apiVersion: networking.istio.io/v1\nkind: VirtualServic\nmetadata: {name: a}\n", "did you mean `VirtualService`?"),
        ("apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: {name: a}\n", "has no version `v2`"),
        ("apiVersion: v1\nkind: Deployment\nmetadata: {name: a}\n", "did you mean `apps/v1`?"),
        ("a: b: c\n", "not YAML"),
        ("a:\n\t- b\n", "not YAML"),
    ],
)
def test_what_is_no_object_is_said(text, part):
    assert any(part in line and "error" in line for line in said(text)), said(text)


def test_kinds_of_others_are_left_alone():
    (known,) = decode("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\n", "f").findings
    (unknown,) = decode("apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\n", "f").findings
    assert (known.severity, unknown.severity) == (Severity.INFO, Severity.WARNING)


def test_an_unknown_field_of_a_kubernetes_kind_is_a_warning_and_the_object_good():
    decoded = decode("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replica: 3}\n", "f")
    (finding,) = decoded.findings
    assert (finding.severity, finding.hint) == (Severity.WARNING, "did you mean `replicas`?")
    assert len(decoded.objects) == 1


def test_lists_are_unpacked_and_places_reach_into_them():
    text = "apiVersion: v1\nkind: List\nitems:\n- " + SERVICE.rstrip().replace("\n", "\n  ") + "\n"
    decoded = decode("# first\n---\n" + text, "f.yaml")
    (item,) = decoded.objects
    assert str(decoded.places.at(ref_of(item), "spec.ports[0].targetPort")) == "f.yaml:9:41"
    assert str(decoded.places.at(ref_of(item), "spec.ports[0].nothing.here")) == "f.yaml:9:18"


def test_an_object_twice_in_one_text_counts_once():
    decoded = decode(SERVICE + "---\n" + SERVICE, "f")
    assert len(decoded.objects) == 1
    assert [finding.code for finding in decoded.findings] == [codes.DUPLICATE_OBJECT]


def test_documents_before_a_syntax_error_are_good():
    decoded = decode(SERVICE + "---\na: b: c\n", "f")
    assert (len(decoded.objects), decoded.is_broken) == (1, True)


@pytest.mark.parametrize(
    "text",
    ["[" * 40_000, "[" * 40_000 + "]" * 40_000, "- " * 40_000, "{a: " * 40_000, "? " * 40_000, "&a [*a]", '"' * 99_999, "\x00", "a: \ud800"],
    ids=["open", "brackets", "dashes", "maps", "keys", "loop", "quotes", "nul", "surrogate"],
)
def test_hostile_text_is_a_finding(text):
    assert any(finding.severity is Severity.ERROR for finding in decode(text, "f").findings)


def test_aliases_multiply_within_bounds_only():
    levels = "".join(f"a{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 9))
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\nx: &l0 [{', '.join('xxxxxxxxx')}]\n{levels}data: {{b: *l8}}\n"
    wasm = "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: a}\nspec: {configPatches: [{patch: {value: {v: *l8}}}]}\n"
    for hostile in (text, f"x: &l0 [{', '.join('xxxxxxxxx')}]\n{levels}{wasm}"):
        decoded = decode(hostile, "f")
        assert not [item for item in decoded.objects if item.kind == "EnvoyFilter"]
        assert any(finding.severity is Severity.ERROR for finding in decoded.findings) or decoded.objects


def test_scalars_mean_what_they_mean_to_kubernetes():
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, creationTimestamp: 2026-01-31T12:00:00Z}\ndata: {time: 12:30, day: 2026-01-31, v6: [x]}\n"
    decoded = decode(text.replace(", v6: [x]", ""), "f")
    (item,) = decoded.objects
    assert dict(item.data) == {"day": "2026-01-31", "time": "12:30"}
    assert item.meta.created == 1769860800.0
    assert "(a number)" in said("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: 1e3}\n")[0]
    entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.b], addresses: [1.2.3.4, 001:db8::]}\n"
    assert decode(entry, "f").objects[0].spec.addresses == ("1.2.3.4", "001:db8::")
    mode = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {volumes: [{name: v, secret: {defaultMode: 0400}}]}\n"
    assert decode(mode, "f").objects[0].spec.volumes[0].secret.default_mode == 0o400


def test_merge_keys_and_other_spellings():
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n"
        "  - &r {name: one, mirror_percent: 5, timeout: 1s}\n  - {<<: *r, name: two}\n"
    )
    decoded = decode(text, "f")
    assert decoded.findings == ()
    one, two = decoded.objects[0].spec.http
    assert (one.mirror_percent, two.mirror_percent, two.name, two.timeout) == (5, 5, "two", 1.0)


def test_equal_text_gives_equal_hashable_objects_and_a_comment_changes_nothing():
    one, other = decode(SERVICE, "f").objects[0], decode("# comment\n" + SERVICE, "g").objects[0]
    assert one == other
    assert hash(one) == hash(other)


def test_secrets_print_redacted():
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {key: hunter2}\ndata: {other: aHVudGVyMg==}\n"
    item = decode(text, "f").objects[0]
    assert (item.value("key"), item.value("other"), item.value("none")) == (b"hunter2", b"hunter2", None)
    assert "hunter2" not in repr(item)
    assert "aHVudGVyMg" not in repr(item)
    assert "hunter2" not in " ".join(said("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {key: [hunter2]}\n"))


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        (ROUTE + "  hosts: [a]\n  http:\n  - route: [{weight: 1}]\n", codes.MISSING_FIELD, "f.yaml:7:13"),
        (ROUTE + "  hosts: [a]\n  http:\n  - match: [{uri: {exact: a, prefix: b}}]\n", codes.EXCLUSIVE, "f.yaml:7:30"),
        ("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\n", codes.MISSING_FIELD, "f.yaml:1:1"),
        (
            "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: a}\nspec: {tracing: [{randomSamplingPercentage: 101}]}\n",
            codes.WRONG_TYPE,
            "f.yaml:4:45",
        ),
        (
            'apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: a}\nspec: {jwtRules: [{issuer: ""}]}\n',
            codes.WRONG_TYPE,
            "f.yaml:4:28",
        ),
    ],
)
def test_what_the_schema_requires_is_required(text, code, place):
    (finding,) = decode(text, "f.yaml").findings
    assert (finding.code, str(finding.place), finding.severity) == (code, place, Severity.ERROR)
