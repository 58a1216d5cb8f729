"""Delta discovery on raw bytes: what `serve`, the relay and test clients read and write without building protobuf objects per resource.

A response is a concatenation of fragments that were encoded once: each fragment is a whole repeated `resources` field (tag, length,
Resource), so that every proxy with the same view is sent the same bytes and a response costs one join. Requests are small and go through
protobuf.
Source: Envoy service.discovery.v3 DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from lateen.base.errors import LateenError
from lateen.wire.pb.envoy.config.core.v3 import base_pb2
from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
DELTA_METHOD = f"/{SERVICE}/DeltaAggregatedResources"
STATE_OF_THE_WORLD_METHOD = f"/{SERVICE}/StreamAggregatedResources"

HEALTH_TYPE = "type.googleapis.com/istio.v1.HealthInformation"
"""A request of this type is a report: the workload is well, or not and why (its error). It is not answered. Source: Istio, agents outside Kubernetes."""

_RESOURCES = b"\x12"
_TYPE_URL = b"\x22"
_NONCE = b"\x2a"
_REMOVED = b"\x32"
_ANY_TYPE = b"\x0a"
_ANY_VALUE = b"\x12"
_RESOURCE_VERSION = b"\x0a"
_RESOURCE_ANY = b"\x12"
_RESOURCE_NAME = b"\x1a"


class MalformedMessage(LateenError):
    """The peer's bytes are not the message that this stream carries."""


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """One DeltaDiscoveryRequest. `nonce` empty: not an answer to a response. `error` None: ACK or no answer; else the NACK's text."""

    type_url: str
    nonce: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    node: bytes = b""
    """The serialized Node; empty when the request carries none (only a stream's first must)."""


@dataclass(frozen=True, slots=True)
class WireResource:
    """One Resource of a response. `fragment` is its whole repeated field, ready to be sent again."""

    name: str
    version: str
    type_url: str
    body: bytes
    fragment: bytes


@dataclass(frozen=True, slots=True)
class DeltaResponse:
    """One DeltaDiscoveryResponse, taken apart."""

    type_url: str
    nonce: str
    resources: tuple[WireResource, ...]
    removed: tuple[str, ...]


def varint(number: int) -> bytes:
    """`number` (>= 0) in protobuf's base-128 form."""
    if number < 0x80:
        return number.to_bytes(1, "little")
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _delimited(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body


def fragment_head(name: str, version: str, type_url: str, size_bytes: int) -> bytes:
    """The repeated field `resources` for one resource, but for its body of that size, which is to follow at once."""
    content = _delimited(_ANY_TYPE, type_url.encode()) + _ANY_VALUE + varint(size_bytes)
    fields = _delimited(_RESOURCE_VERSION, version.encode()) + _delimited(_RESOURCE_NAME, name.encode())
    resource = fields + _RESOURCE_ANY + varint(len(content) + size_bytes) + content
    return _RESOURCES + varint(len(resource) + size_bytes) + resource


def resource_fragment(name: str, version: str, type_url: str, body: bytes) -> bytes:
    """The repeated field `resources` for one resource: encoded once, joined into every response that carries it."""
    return fragment_head(name, version, type_url, len(body)) + body


def encode_response(type_url: str, nonce: str, fragments: Iterable[bytes], removed: Iterable[str] = ()) -> bytes:
    """A DeltaDiscoveryResponse from fragments of `resource_fragment`, or their pieces in order, and names to remove. Cost: one join."""
    gone = (_delimited(_REMOVED, name.encode()) for name in removed)
    return b"".join((*fragments, *gone, _delimited(_TYPE_URL, type_url.encode()), _delimited(_NONCE, nonce.encode())))


def decode_request(raw: bytes) -> DeltaRequest:
    """A client's request. Raises `MalformedMessage`."""
    try:
        message = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
    except DecodeError as error:
        raise MalformedMessage(f"not a DeltaDiscoveryRequest: {error}") from error
    return DeltaRequest(
        type_url=message.type_url,
        nonce=message.response_nonce,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        error=(message.error_detail.message or f"code {message.error_detail.code}") if message.HasField("error_detail") else None,
        node=message.node.SerializeToString() if message.HasField("node") else b"",
    )


def encode_request(request: DeltaRequest) -> bytes:
    """The bytes of `request`; a NACK is sent with code INVALID_ARGUMENT (3), as Envoy does."""
    message = discovery_pb2.DeltaDiscoveryRequest(
        type_url=request.type_url,
        response_nonce=request.nonce,
        resource_names_subscribe=request.subscribe,
        resource_names_unsubscribe=request.unsubscribe,
        initial_resource_versions=request.initial_versions,
    )
    if request.node:
        message.node.CopyFrom(base_pb2.Node.FromString(request.node))
    if request.error is not None:
        message.error_detail.code = 3
        message.error_detail.message = request.error
    return message.SerializeToString()


def decode_response(raw: bytes) -> DeltaResponse:
    """A server's response, its resources kept as fragments too. Raises `MalformedMessage`."""
    type_url = nonce = ""
    resources: list[WireResource] = []
    removed: list[str] = []
    try:
        for number, start, begin, end in _fields(raw, 0, len(raw)):
            if number == 2:
                resources.append(_resource(raw, start, begin, end))
            elif number == 4:
                type_url = raw[begin:end].decode()
            elif number == 5:
                nonce = raw[begin:end].decode()
            elif number == 6:
                removed.append(raw[begin:end].decode())
    except (IndexError, ValueError) as error:
        raise MalformedMessage(f"not a DeltaDiscoveryResponse: {error}") from error
    return DeltaResponse(type_url, nonce, tuple(resources), tuple(removed))


def _resource(raw: bytes, start: int, begin: int, end: int) -> WireResource:
    name = version = type_url = ""
    body = b""
    for number, _, first, last in _fields(raw, begin, end):
        if number == 1:
            version = raw[first:last].decode()
        elif number == 3:
            name = raw[first:last].decode()
        elif number == 2:
            for any_number, _, any_first, any_last in _fields(raw, first, last):
                if any_number == 1:
                    type_url = raw[any_first:any_last].decode()
                elif any_number == 2:
                    body = raw[any_first:any_last]
    return WireResource(name, version, type_url, body, raw[start:end])


def _fields(raw: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, start of the tag, start of the content, end of the content) of each field in `raw[position:end]`."""
    while position < end:
        start = position
        tag, position = _read_varint(raw, position)
        wire_type = tag & 7
        if wire_type == 2:
            size, position = _read_varint(raw, position)
            last = position + size
        elif wire_type == 0:
            _, last = _read_varint(raw, position)
        elif wire_type == 1:
            last = position + 8
        elif wire_type == 5:
            last = position + 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if last > end:
            raise ValueError("truncated")
        yield tag >> 3, start, position, last
        position = last


def _read_varint(raw: bytes, position: int) -> tuple[int, int]:
    byte = raw[position]
    if byte < 0x80:
        return byte, position + 1
    number = shift = 0
    while True:
        byte = raw[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise ValueError("number longer than 64 bits")
