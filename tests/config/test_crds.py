"""Every field path of Istio's CRDs exists in the typed kinds, with the same type, and the other way round."""

import os
import types
from enum import StrEnum
from pathlib import Path
from typing import Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import yaml

from lateen.base.secrets import Secret
from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Duration, Json, Map
from lateen.config.registry import ISTIO_KINDS

CONFORMANCE = Path(os.environ.get("LATEEN_CONFORMANCE", Path(__file__).resolve().parents[3] / "shared" / "conformance"))
CRDS = CONFORMANCE / "crds" / "istio-crds.yaml"
pytestmark = pytest.mark.skipif(not CRDS.exists() and os.environ.get("CI") != "true", reason=f"no CRDs: {CRDS}")
NAMES = {"string": str, "integer": int, "boolean": bool, "number": float}


def definitions():
    loaded = yaml.load_all(CRDS.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {item["spec"]["names"]["kind"]: item["spec"] for item in loaded if item}


def paths_of_schema(schema, path=""):
    """(path, type) of everything in a schema; types: object, list, map, json, string, integer, boolean, number, enum:…"""
    if "enum" in schema:
        yield path, "enum:" + ",".join(sorted(schema["enum"]))
    elif schema.get("type") == "array":
        yield path, "list"
        yield from paths_of_schema(schema["items"], path + "[]")
    elif schema.get("type") == "object" and "properties" in schema:
        yield path, "object"
        for name, inner in schema["properties"].items():
            yield from paths_of_schema(inner, f"{path}.{name}")
    elif schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        yield path, "map"
        yield from paths_of_schema(schema["additionalProperties"], path + "{}")
    elif schema.get("type") == "object":
        yield path, "json"
    else:
        yield path, schema["type"]


def paths_of_type(hint, path=""):
    if hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (only,) = [item for item in args if item is not type(None)]
        yield from paths_of_type(only, path)
    elif origin is tuple:
        yield path, "list"
        yield from paths_of_type(args[0], path + "[]")
    elif origin is Map:
        yield path, "map"
        yield from paths_of_type(args[0], path + "{}")
    elif issubclass(hint, StrEnum):
        yield path, "enum:" + ",".join(sorted(item.value for item in hint))
    elif issubclass(hint, Spec):
        yield path, "object"
        hints = get_type_hints(hint, include_extras=True)
        names = {item.name: item.encode_name for item in msgspec.structs.fields(hint)}
        for name, encoded in names.items():
            yield from paths_of_type(hints[name], f"{path}.{encoded}")
        for alias, encoded in hint.ALIASES.items():
            field = next(name for name, other in names.items() if other == encoded)
            yield from paths_of_type(hints[field], f"{path}.{alias}")
    elif hint is Json:
        yield path, "json"
    elif hint in (Duration, str, Secret):
        yield path, "string"
    else:
        yield path, {int: "integer", bool: "boolean", float: "number"}[hint]


@pytest.mark.parametrize("kind", ISTIO_KINDS, ids=lambda kind: kind.kind)
def test_every_field_of_a_kind_is_in_its_crd_and_the_other_way_round(kind):
    schema = definitions()[kind.kind]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    theirs = set(paths_of_schema(schema))
    ours = set(paths_of_type(get_type_hints(kind)["spec"]))
    assert sorted(theirs - ours) == []
    assert sorted(ours - theirs) == []


def test_every_crd_has_a_kind_with_its_group_versions_and_plural():
    ours = {kind.kind: (kind.group, frozenset(kind.versions), kind.plural) for kind in ISTIO_KINDS}
    theirs = {
        name: (spec["group"], frozenset(version["name"] for version in spec["versions"] if version["served"]), spec["names"]["plural"])
        for name, spec in definitions().items()
    }
    assert ours == theirs


def test_durations_are_typed_as_durations():
    """A string whose CRD rule speaks of durations is a Duration."""

    def durations(schema, path=""):
        if any("duration(self)" in rule["rule"] for rule in schema.get("x-kubernetes-validations", ())):
            yield path
        for name, inner in schema.get("properties", {}).items():
            yield from durations(inner, f"{path}.{name}")
        if "items" in schema:
            yield from durations(schema["items"], path + "[]")

    def typed(hint, path=""):
        hint = hint.__origin__ if hasattr(hint, "__metadata__") else hint
        origin, args = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            yield from typed(next(item for item in args if item is not type(None)), path)
        elif origin is tuple:
            yield from typed(args[0], path + "[]")
        elif hint is Duration:
            yield path
        elif isinstance(hint, type) and issubclass(hint, Spec):
            for item in msgspec.structs.fields(hint):
                yield from typed(item.type, f"{path}.{item.encode_name}")

    for kind in ISTIO_KINDS:
        schema = definitions()[kind.kind]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        assert set(durations(schema)) <= set(typed(get_type_hints(kind)["spec"])), kind.kind


def limits_of_schema(schema, path=""):
    """(path, what, value): required fields, exclusive groups, bounds of lengths and numbers, forms."""
    for name in schema.get("required", ()):
        yield path, "required", name
    for holder in (schema, *schema.get("allOf", ())):
        group = tuple(sorted(one["required"][0] for one in holder.get("oneOf", ()) if "required" in one))
        if len(group) > 1:
            yield path, "one of", group
    for ours, theirs in (("least", ("minLength", "minItems")), ("most", ("maxLength", "maxItems")), ("form", ("pattern",))):
        for name in theirs:
            if name in schema and not (name == "maxLength" and path.endswith(("[]", "{}"))) and not (name == "minLength" and path.endswith("[]")):
                yield path, ours, schema[name]
    for name, inner in schema.get("properties", {}).items():
        yield from limits_of_schema(inner, f"{path}.{name}")
    if "items" in schema:
        yield from limits_of_schema(schema["items"], path + "[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from limits_of_schema(schema["additionalProperties"], path + "{}")


def limits_of_type(hint, path=""):
    if get_origin(hint) in (Union, types.UnionType):
        yield from limits_of_type(next(item for item in get_args(hint) if item is not type(None)), path)
        return
    if hasattr(hint, "__metadata__"):
        meta = hint.__metadata__[0]
        for what, value in (("least", meta.min_length), ("most", meta.max_length), ("form", meta.pattern)):
            if value is not None:
                yield path, what, value
        hint = hint.__origin__
    origin, args = get_origin(hint), get_args(hint)
    if origin in (tuple, Map):
        yield from limits_of_type(args[0], path + ("[]" if origin is tuple else "{}"))
    elif isinstance(hint, type) and issubclass(hint, Spec):
        for name in hint.REQUIRED:
            yield path, "required", name
        for group in hint.ONE_OF:
            yield path, "one of", tuple(sorted(group))
        hints = get_type_hints(hint, include_extras=True)
        for item in msgspec.structs.fields(hint):
            yield from limits_of_type(hints[item.name], f"{path}.{item.encode_name}")
        for alias, name in hint.ALIASES.items():
            item = next(item for item in msgspec.structs.fields(hint) if item.encode_name == name)
            yield from limits_of_type(hints[item.name], f"{path}.{alias}")


@pytest.mark.parametrize("kind", ISTIO_KINDS, ids=lambda kind: kind.kind)
def test_what_a_crd_requires_is_required_and_nothing_else(kind):
    """Lengths of list entries and map values are rules of `config.validate`, not of the types."""
    whole = definitions()[kind.kind]["versions"][0]["schema"]["openAPIV3Schema"]
    schema = whole["properties"]["spec"]
    assert set(limits_of_type(get_type_hints(kind)["spec"])) == set(limits_of_schema(schema))
    assert set(kind.REQUIRED) == set(whole.get("required", ()))
