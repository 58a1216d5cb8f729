"""Whatever is written, decoding ends with objects or findings; what is right is read as it was written."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.base.findings import Severity
from lateen.config.decode import decode
from lateen.config.registry import KINDS
from lateen.config.support import not_in_force
from lateen.config.validate import validate
from lateen.sources.plain import as_json

CONFORMANCE = Path(os.environ.get("LATEEN_CONFORMANCE", Path(__file__).resolve().parents[3] / "shared" / "conformance"))
NAMES = sorted(
    {name for kind in KINDS for name in ("spec", *(item for item in kind.__struct_encode_fields__))} | {"http", "match", "route", "hosts", "tls", "port"}
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.sampled_from(["1s", "*", "a.b", "STRICT", "{*}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_any_text_ends_in_objects_or_findings(text):
    decode(text, "f")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from([*NAMES, "data", "status"]), values, max_size=4))
def test_any_object_ends_in_an_object_or_findings(kind, body):
    document = {"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "a"}} | body
    decoded = decode(json.dumps(document), "f")
    assert decoded.objects or any(finding.severity is Severity.ERROR for finding in decoded.findings)
    for item in decoded.objects:
        validate(item)
        not_in_force(item)
        hash(item)


def mutations(document):
    """The document with one value at a time replaced by each of several others."""

    def walk(value, put):
        for other in (None, 0, -1, "", "x", [], {}, [None], {"x": 1}, True, 1e300, "9" * 5000):
            put(other)
            yield
        put(value)
        if isinstance(value, dict):
            for key in list(value):
                yield from walk(value[key], lambda other, key=key: value.__setitem__(key, other))
        elif isinstance(value, list):
            for index in range(len(value)):
                yield from walk(value[index], lambda other, index=index: value.__setitem__(index, other))

    holder = {"spec": document["spec"]}
    for _ in walk(document["spec"], lambda other: holder.__setitem__("spec", other)):
        yield document | holder


@pytest.mark.skipif(not CONFORMANCE.is_dir() and os.environ.get("CI") != "true", reason=f"no conformance data: {CONFORMANCE}")
def test_every_single_change_of_real_objects_ends_in_an_object_or_findings():
    seen = set()
    for path in sorted((CONFORMANCE / "behaviour" / "probes").glob("*/in.yaml"))[::9]:
        for item in decode(path.read_text(), "f").objects:
            document = as_json(item, reveals=True)
            shape = (item.kind, str(sorted(document.get("spec", {}))))
            if "spec" not in document or shape in seen:
                continue
            seen.add(shape)
            for changed in mutations(document):
                decoded = decode(json.dumps(changed), "f")
                for one in decoded.objects:
                    validate(one)
                assert decoded.objects or decoded.refused
    assert len(seen) > 10


@pytest.mark.skipif(not CONFORMANCE.is_dir() and os.environ.get("CI") != "true", reason=f"no conformance data: {CONFORMANCE}")
def test_written_out_and_read_again_an_object_is_the_same():
    count = 0
    for path in sorted((CONFORMANCE / "behaviour").glob("*/*/in.yaml"))[::7]:
        for item in decode(path.read_text(), "f").objects:
            (again,) = decode(json.dumps(as_json(item, reveals=True)), "f").objects
            assert again == item
            count += 1
    assert count > 1000
