"""Who connects: from a discovery stream's node, as Istio's proxies write it, to a Proxy; and whether the peer's certificate allows it.

Called by the gRPC door for the first request of a stream. Source: Istio, node ids (`sidecar~<ip>~<pod>.<namespace>~<domain>`) and metadata.
"""

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from lateen.base.errors import LateenError
from lateen.base.spiffe import SpiffeId
from lateen.mesh.model import Labels, Locality
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.pb.envoy.config.core.v3 import base_pb2

LARGEST_NODE_BYTES = 262_144
"""A node with every label and annotation Kubernetes allows is smaller."""
_NOT_METADATA = frozenset({"LABELS", "ANNOTATIONS", "INSTANCE_IPS", "NAME", "NAMESPACE", "SERVICE_ACCOUNT", "NODE_NAME", "CLUSTER_ID", "NETWORK"})


class Unwelcome(LateenError):
    """The node makes no sense, or the peer may not be it; the text says why."""


@dataclass(frozen=True)
class Introduction:
    """A proxy that has introduced itself. `claims`: NAMESPACE and SERVICE_ACCOUNT as its metadata says them, empty: not said."""

    proxy: Proxy
    node_id: str
    version: str
    claimed_namespace: str
    claimed_service_account: str
    client: str
    """What it is, as it says (`envoy`, `gRPC Python`)."""


def introduced(node_bytes: bytes) -> Introduction:
    """From a serialized Node. Raises Unwelcome."""
    if len(node_bytes) > LARGEST_NODE_BYTES:
        raise Unwelcome(f"the node is too large: {len(node_bytes)} bytes")
    try:
        node = base_pb2.Node.FromString(node_bytes)
    except DecodeError:
        raise Unwelcome("the node is not readable") from None
    parts = node.id.split("~")
    if len(parts) != 4:
        raise Unwelcome(f"node id: want `<type>~<ip>~<pod>.<namespace>~<domain>`, got `{node.id[:200]}`")
    kind, address, name, domain = parts
    if kind not in (ProxyType.SIDECAR.value, ProxyType.ROUTER.value):
        raise Unwelcome(f"node id: type is `sidecar` or `router`, not `{kind[:50]}`")
    metadata = _plain(node.metadata)
    texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
    namespace = texts.get("NAMESPACE") or name.rpartition(".")[2]
    locality = node.locality
    proxy = Proxy(
        type=ProxyType(kind),
        id=name,
        namespace=namespace,
        service_account=texts.get("SERVICE_ACCOUNT", "default"),
        labels=_labels(metadata.get("LABELS")),
        addresses=tuple(part for part in texts.get("INSTANCE_IPS", address).split(",") if part),
        dns_domain=domain,
        locality=Locality(locality.region, locality.zone, locality.sub_zone),
        network=texts.get("NETWORK", ""),
        cluster_id=texts.get("CLUSTER_ID", "Kubernetes"),
        node_name=texts.get("NODE_NAME", ""),
        metadata=tuple(sorted((key, _text(value)) for key, value in metadata.items() if key not in _NOT_METADATA)),
    )
    version = node.user_agent_build_version.version
    number = f"{version.major_number}.{version.minor_number}.{version.patch}" if node.HasField("user_agent_build_version") else node.user_agent_version
    claims = (texts.get("NAMESPACE", ""), texts.get("SERVICE_ACCOUNT", ""))
    return Introduction(proxy, node.id, number, claims[0], claims[1], node.user_agent_name)


def admit(introduction: Introduction, peer: SpiffeId) -> None:
    """Raises Unwelcome unless the certificate's namespace and service account are exactly the node's. A node that does not say them is refused too."""
    said = (introduction.claimed_namespace, introduction.claimed_service_account)
    if said != (peer.namespace, peer.service_account):
        raise Unwelcome(
            f"the certificate is for ns/{peer.namespace}/sa/{peer.service_account}, the node says ns/{said[0] or '(nothing)'}/sa/{said[1] or '(nothing)'}"
        )
    if introduction.proxy.id.rpartition(".")[2] != peer.namespace:
        raise Unwelcome(f"the certificate is for namespace {peer.namespace}, the node id says `{introduction.proxy.id[:200]}`")


def _plain(struct: Any) -> dict[str, Any]:  # Any: a protobuf Struct is JSON
    return {key: _value(value) for key, value in struct.fields.items()}


def _value(value: Any) -> Any:  # as above
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _plain(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case _:
            return None


def _labels(value: Any) -> Labels:  # as above
    return tuple(sorted((key, text) for key, text in value.items() if isinstance(text, str))) if isinstance(value, dict) else ()


def _text(value: Any) -> str:  # as above
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))
