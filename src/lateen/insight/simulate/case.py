"""A case folder (`in.yaml`, `proxy.json`, `calls.json`, `rejected.json`) → the resources its proxy gets → its answers. Called by `run`.

The one file here that knows the line: it decodes and validates the objects, makes a proxy of `proxy.json`, and takes the resources through `xds.resources`.
Cold start: nothing is held, quarantined or overlaid.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef
from lateen.config.decode import decode, ref_of
from lateen.config.defaults import mesh_config_of
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.kubernetes.core import ConfigMap
from lateen.config.kinds.objects import Object
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.config.validate import validate
from lateen.incremental import Db
from lateen.insight.simulate.emitted import Serialized
from lateen.mesh.model import Locality
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType, View
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names

Json = Any  # plain JSON of several shapes; each reader knows its own.
SUPPORTED_FEATURES: frozenset[str] = frozenset({"ENABLE_TLS_ON_SIDECAR_INGRESS", "EnableHeadlessFilterChainListener", "PILOT_ENABLE_IP_AUTOALLOCATE"})
"""Istio's feature switches, other than at their defaults, that Lateen has."""


@dataclass(frozen=True)
class Refusal:
    """An object that validation refuses. `error`: why, in one line."""

    ref: ObjectRef
    kind: str
    error: str


@dataclass(frozen=True)
class Case:
    """What a case folder says. `features`: those that Lateen does not have, by name; then every call is unsupported."""

    proxy: Proxy
    calls: tuple[Json, ...]
    objects: tuple[Object, ...] = field(repr=False)
    refusals: tuple[Refusal, ...]
    unknown_features: tuple[str, ...] = ()


def read_case(folder: Path) -> Case:
    """Reads a case folder. Raises OSError, ValueError, KeyError: it is none, or its YAML is broken."""
    given = _read_json(folder / "proxy.json")
    objects, refusals = _objects(folder)
    features = given.get("features", {})
    return Case(
        proxy=_proxy(given),
        calls=tuple(item["call"] for item in _read_json(folder / "calls.json")),
        objects=objects,
        refusals=refusals,
        unknown_features=tuple(sorted(name for name in features if name not in SUPPORTED_FEATURES)),
    )


def resources_of(case: Case, change: Callable[[MeshConfig], MeshConfig] = lambda mesh: mesh) -> Iterator[Serialized]:
    """Everything the case's proxy gets at a cold start, serialized. `change`: makes another mesh configuration of the case's."""
    db = Db()
    config, _ = mesh_config_of(next((one for one in case.objects if isinstance(one, ConfigMap) and ref_of(one) == MESH_CONFIG_MAP), None))
    MESH_CONFIG.set(db, "mesh", change(config))
    for one in case.objects:
        OBJECTS.set(db, ref_of(one), one)
    view = view_of(db, case.proxy)
    yield from emitted_for(db, view)


MESH_CONFIG_MAP = ObjectRef("ConfigMap", "istio-system", "istio")
"""Where a cluster keeps the mesh configuration. Source: Istio."""


def emitted_for(db: Db, view: View) -> Iterator[Serialized]:
    """Every resource of a view, serialized."""
    for type_ in ResourceType:
        for name in sorted(resource_names(db, view, type_)):
            found = resource(db, view, type_, name)
            if found is not None and not found.problem:  # what has one is never sent
                yield Serialized(type_.value, name, found.body)


def _read_json(path: Path) -> Json:
    return json.loads(path.read_bytes())


def _objects(folder: Path) -> tuple[tuple[Object, ...], tuple[Refusal, ...]]:
    """The objects in force, and those that are refused: of `in.yaml`, then of `rejected.json`, a later one over an earlier of its name."""
    texts = [(folder / "in.yaml").read_text()]
    if (folder / "rejected.json").exists():
        texts += [json.dumps(item["object"]) for item in _read_json(folder / "rejected.json")]
    found: dict[ObjectRef, Object] = {}
    refusals: list[Refusal] = []
    for index, text in enumerate(texts):
        decoded = decode(_with_certificates(text), "in.yaml" if index == 0 else "rejected.json")
        if decoded.is_broken:
            raise ValueError("; ".join(str(one) for one in decoded.findings))
        refused = {ref: _why(decoded.findings, ref) for ref in decoded.refused}
        for one in decoded.objects:
            errors = [finding for finding in validate(one) if finding.severity is Severity.ERROR]
            if errors and index:  # what is in `in.yaml` was stored before: admission looks at what comes in
                refused[ref_of(one)] = str(errors[0].message)
            else:
                found[ref_of(one)] = _dated(one)
        refusals += [Refusal(ref, _kind(ref), error) for ref, error in sorted(refused.items())]
    return tuple(found.values()), tuple(refusals)


UNTIMED = datetime(2024, 6, 1, tzinfo=UTC).timestamp()
"""When objects without a creationTimestamp count as made. Istio has no rule for such: an API server dates everything it stores. The data set's own stand-in
for one gave all of them one time; which one, its README leaves open. This is the one date that its hand-written cases give beside the oldest, and the answers
where dated and undated objects meet allow only times close by: neither the oldest (a zero time) nor the youngest (the time of loading). Files that `lateen up`
reads are not dated here: `config.store` says what goes for them."""


def _dated(one: Object) -> Object:
    if one.meta.created is not None:
        return one
    return msgspec.structs.replace(one, meta=msgspec.structs.replace(one.meta, created=UNTIMED))


def _why(findings: tuple[Finding, ...], ref: ObjectRef) -> str:
    return next((one.message for one in findings if one.object == ref and one.severity is Severity.ERROR), "refused")


def _kind(ref: ObjectRef) -> str:
    """The kind as its YAML spells it: two API groups may have one of that name."""
    from lateen.config.registry import KINDS

    return next((kind.kind for kind in KINDS if kind.__name__ == ref.kind), ref.kind)


def _proxy(given: Json) -> Proxy:
    """Source: Istio's node id and metadata, as the data set writes them."""
    place = given.get("locality", {})
    metadata = given.get("metadata", {})
    texts = {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":")) for key, value in metadata.items()}
    return Proxy(
        type=ProxyType(given["type"]),
        id=given["id"],
        namespace=given["namespace"],
        service_account=given.get("service_account") or "default",
        labels=tuple(sorted(given.get("labels", {}).items())),
        addresses=tuple(given.get("ip_addresses", ())),
        dns_domain=given.get("dns_domain", ""),
        locality=Locality(place.get("region", ""), place.get("zone", ""), place.get("sub_zone", "")),
        cluster_id=given.get("cluster_id", "Kubernetes"),
        metadata=tuple(sorted(texts.items())),
    )


def _with_certificates(text: str) -> str:
    """The text with a self-signed pair where the data set has none."""
    if "@TEST_CRT@" not in text and "@TEST_KEY@" not in text:
        return text
    certificate, key = _self_signed()
    return text.replace("@TEST_CRT@", certificate).replace("@TEST_KEY@", key)


@cache
def _self_signed() -> tuple[str, str]:
    """A certificate and its key, PEM in base64."""
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "simulate.invalid")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    certificate = builder.not_valid_before(start).not_valid_after(start + timedelta(days=36500)).sign(key, hashes.SHA256())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode(), base64.b64encode(private).decode()
