"""A container's environment, command and arguments as Kubernetes resolves them. Pure. Called by `runner` just before a container starts.

Source: Kubernetes, core/v1 EnvVar, EnvFromSource, and the `$(NAME)` syntax of command and args.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import ceil

from lateen.local.podspec import Container, EnvVar, Json, KeyOf, Pod, PodSpec, ResourceField

_REFERENCE = re.compile(r"\$(?:\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")
_KEYED_FIELD = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")
_UNITS: dict[str, int | Decimal] = {
    "": 1,
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_NODE_SERVER, _MOST_SERVERS = "127.0.0.1", 3
_QUANTITY = re.compile(r"^([0-9.]+(?:e[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)$")


class Unresolved(Exception):
    """Something the container needs does not exist; the text names it. The container waits until it does."""


@dataclass(frozen=True)
class Surroundings:
    """What a pod's references are resolved against. `config_maps` and `secrets`: name → the object, of the pod's namespace."""

    addresses: tuple[str, ...] = ()
    host_address: str = ""
    node_name: str = ""
    config_maps: Mapping[str, Json] = field(default_factory=dict)
    secrets: Mapping[str, Json] = field(default_factory=dict, repr=False)
    cpus: int = 1
    memory_bytes: int = 0


def config_values(item: Json) -> dict[str, bytes]:
    """The entries of a ConfigMap. Unresolved."""
    plain = {str(key): str(value).encode() for key, value in (item.get("data") or {}).items()}
    return plain | _decoded(item, "binaryData")


def secret_values(item: Json) -> dict[str, bytes]:
    """The entries of a Secret, decoded. Unresolved."""
    return _decoded(item, "data") | {str(key): str(value).encode() for key, value in (item.get("stringData") or {}).items()}


def _decoded(item: Json, field_name: str) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for key, value in (item.get(field_name) or {}).items():
        try:
            values[str(key)] = base64.b64decode("".join(str(value).split()), validate=True)
        except binascii.Error as error:
            raise Unresolved(f"{item.get('kind')} {item.get('metadata', {}).get('name')} has a value that is no base64: {key}") from error
    return values


def environment(pod: Pod, container: Container, around: Surroundings) -> dict[str, str]:
    """The variables the pod's author asked for, in order, later ones seeing earlier ones. Unresolved."""
    values: dict[str, str] = {}
    for source in container.env_from:
        for reference, found, entries in (
            (source.config_map_ref, around.config_maps, config_values),
            (source.secret_ref, around.secrets, secret_values),
        ):
            if reference is None:
                continue
            if reference.name not in found:
                if reference.optional:
                    continue
                raise Unresolved(f"{'Secret' if reference is source.secret_ref else 'ConfigMap'} not found: {reference.name}")
            values |= {source.prefix + key: value.decode("utf-8", "replace") for key, value in entries(found[reference.name]).items()}
    for variable in container.env:
        value = _value(pod, container, variable, around, values)
        if value is not None:
            values[variable.name] = value
    return values


def _value(pod: Pod, container: Container, variable: EnvVar, around: Surroundings, values: Mapping[str, str]) -> str | None:
    source = variable.value_from
    if source is None:
        return expanded(variable.value, values)
    if source.field_ref is not None:
        return pod_field(pod, source.field_ref.field_path, around)
    if source.resource_field_ref is not None:
        return resource_field(container, source.resource_field_ref, around)
    if source.config_map_key_ref is not None:
        entry = _entry("ConfigMap", source.config_map_key_ref, around.config_maps)
        return None if entry is None else entry.decode("utf-8", "replace")
    if source.secret_key_ref is not None:
        entry = _entry("Secret", source.secret_key_ref, around.secrets)
        return None if entry is None else entry.decode("utf-8", "replace")
    return ""


def _entry(kind: str, wanted: KeyOf, found: Mapping[str, Json]) -> bytes | None:
    """The entry a reference names. None: it is optional and not there."""
    item = found.get(wanted.name)
    values = {} if item is None else (secret_values(item) if kind == "Secret" else config_values(item))
    if wanted.key in values:
        return values[wanted.key]
    if wanted.optional:
        return None
    raise Unresolved(f"{kind} not found: {wanted.name}" if item is None else f"{kind} {wanted.name} has no key: {wanted.key}")


def pod_field(pod: Pod, path: str, around: Surroundings) -> str:
    """A field of the pod as the downward API gives it. Unresolved for a path it does not know."""
    meta = pod.metadata
    keyed = _KEYED_FIELD.match(path)
    if keyed is not None:
        return (meta.labels if keyed.group(1) == "labels" else meta.annotations).get(keyed.group(2), "")
    known = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "metadata.labels": _lines(meta.labels),
        "metadata.annotations": _lines(meta.annotations),
        "spec.nodeName": around.node_name,
        "spec.serviceAccountName": pod.service_account,
        "status.hostIP": around.host_address,
        "status.hostIPs": around.host_address,
        "status.podIP": around.addresses[0] if around.addresses else "",
        "status.podIPs": ",".join(around.addresses),
    }
    if path not in known:
        raise Unresolved(f"no such field of a pod: {path}")
    return known[path]


def _lines(values: Mapping[str, str]) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items()))


def resource_field(container: Container, wanted: ResourceField, around: Surroundings) -> str:
    """A limit or request in the divisor's unit, rounded up; what is not limited has the machine's. Unresolved."""
    group, _, resource = wanted.resource.partition(".")
    table = container.resources.limits if group == "limits" else container.resources.requests
    machine = {"cpu": around.cpus, "memory": around.memory_bytes}.get(resource, 0)
    said = table.get(resource, machine if group == "limits" else 0)
    divisor = quantity(str(wanted.divisor) or "1")
    return str(ceil(quantity(str(said)) / (divisor if divisor else 1)))


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity (`100m`, `1Gi`, `2`) as a number. Unresolved if it is none."""
    match = _QUANTITY.match(text.strip())
    try:
        if match is None:
            raise InvalidOperation
        return Decimal(match.group(1)) * Decimal(_UNITS[match.group(2)])
    except InvalidOperation as error:
        raise Unresolved(f"not a quantity: {text}") from error


def expanded(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known, left alone where not; `$$` is one dollar."""

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return values.get(name, match.group(0))

    return _REFERENCE.sub(one, text)


def resolv_conf(spec: PodSpec, namespace: str) -> str:
    """The pod's `/etc/resolv.conf`: the node's server knows the mesh's names and asks on; what `dnsConfig` adds comes after.

    Source: Kubernetes, PodSpec.dnsPolicy and dnsConfig; at most three servers, as the C library reads.
    """
    given = spec.dns_config
    is_cluster = spec.dns_policy in ("", "ClusterFirst", "ClusterFirstWithHostNet")
    searches = [f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"] if is_cluster else []
    servers = [] if spec.dns_policy == "None" and given.nameservers else [_NODE_SERVER]
    options = {"ndots": "5"} if is_cluster else {}
    options |= {option.name: option.value for option in given.options}
    lines = [f"nameserver {server}" for server in list(dict.fromkeys([*servers, *given.nameservers]))[:_MOST_SERVERS]]
    if found := list(dict.fromkeys([*searches, *given.searches])):
        lines.insert(0, f"search {' '.join(found)}")
    if options:
        lines.append("options " + " ".join(f"{name}:{value}" if value else name for name, value in options.items()))
    return "\n".join(lines) + "\n"
