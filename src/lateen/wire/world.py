"""State-of-the-world discovery as an adapter over a delta session: what such a client asks becomes delta requests, delta responses become its own.

Used by `serve` for clients of control and by `node.relay` for those of the node; both keep their delta sessions as they are. Sans-I/O.

- Of listeners and clusters every response holds all that the client asked for: what is missing counts as deleted. So a response waits until each name
  asked for was answered.
- Of other types a response holds what is new. That something is gone cannot be said; the client drops it with what refers to it.

Source: Envoy, xDS protocol, the state-of-the-world variant; gRPC, A27.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from lateen.wire.delta import DeltaRequest, MalformedMessage, varint
from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2

WILDCARD: Final = "*"
WHOLE: Final = frozenset({"type.googleapis.com/envoy.config.cluster.v3.Cluster", "type.googleapis.com/envoy.config.listener.v3.Listener"})
"""Types of which a response holds everything; a first request without names asks for all there are."""
_VERSION = b"\x0a"
_RESOURCES = b"\x12"
_TYPE_URL = b"\x22"
_NONCE = b"\x2a"
_ANY_TYPE = b"\x0a"
_ANY_VALUE = b"\x12"


@dataclass(slots=True)
class _Type:
    """One type of a stream. `names`: asked for; `held`: sent, by name, where responses are whole; `open`: asked for and not answered yet."""

    is_wildcard: bool = False
    names: frozenset[str] = frozenset()
    held: dict[str, bytes] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of a delta response. `raw`: to the client; None: nothing. `acknowledgement`: to the session at once, when the client is told nothing."""

    raw: bytes | None
    acknowledgement: DeltaRequest | None = None


class World:
    """One state-of-the-world stream."""

    def __init__(self) -> None:
        self._types: dict[str, _Type] = {}

    def on_request(self, raw: bytes) -> tuple[DeltaRequest, ...]:
        """The client asks or answers: what the session is to be told, nothing if nothing has changed. Raises MalformedMessage."""
        try:
            message = discovery_pb2.DiscoveryRequest.FromString(raw)
        except DecodeError as error:
            raise MalformedMessage(f"not a DiscoveryRequest: {error}") from error
        url = message.type_url
        is_first = url not in self._types
        state = self._types.setdefault(url, _Type())
        subscribe, unsubscribe = self._renamed(state, frozenset(message.resource_names), is_first and url in WHOLE)
        is_answer = bool(message.response_nonce) and message.response_nonce == state.nonce
        is_report = not message.response_nonce and not is_first and not message.resource_names
        if not (is_first or is_answer or is_report or subscribe or unsubscribe):
            return ()
        refusal = (message.error_detail.message or f"code {message.error_detail.code}") if message.HasField("error_detail") else None
        request = DeltaRequest(
            type_url=url,
            nonce=message.response_nonce if is_answer else "",
            subscribe=tuple(sorted(subscribe)),
            unsubscribe=tuple(sorted(unsubscribe)),
            error=refusal if is_answer or not message.response_nonce else None,
            node=message.node.SerializeToString() if message.HasField("node") else b"",
        )
        if is_answer:
            state.nonce = ""
        return (request,)

    @staticmethod
    def _renamed(state: _Type, asked: frozenset[str], means_all: bool) -> tuple[frozenset[str], frozenset[str]]:
        """Names to subscribe to and to give up. `means_all`: no names are all names."""
        was = state.names | ({WILDCARD} if state.is_wildcard else frozenset())
        now = asked
        if not asked and (means_all or (state.is_wildcard and not state.names)):
            now = frozenset({WILDCARD})
        added, dropped = now - was, was - now
        state.is_wildcard, state.names = WILDCARD in now, now - {WILDCARD}
        state.open |= added
        state.open &= now
        if not state.is_wildcard:
            for name in state.held.keys() - state.names:
                del state.held[name]
        return added, dropped

    def on_response(self, url: str, nonce: str, resources: Mapping[str, bytes], removed: Iterable[str]) -> Answer:
        """The session answers. `resources`: name → message. A response that the client need not see is acknowledged for it."""
        state = self._types.setdefault(url, _Type())
        wanted = {name: body for name, body in resources.items() if state.is_wildcard or name in state.names}
        state.open.discard(WILDCARD)
        state.open.difference_update(resources, removed)
        if url in WHOLE:
            state.held.update(wanted)
            for name in removed:
                state.held.pop(name, None)
            if state.open:
                return Answer(None, DeltaRequest(url, nonce))
            wanted = dict(sorted(state.held.items()))
        elif not wanted:
            return Answer(None, DeltaRequest(url, nonce))
        state.nonce = nonce
        return Answer(encode_response(url, nonce, wanted.values()))


def encode_response(url: str, nonce: str, bodies: Iterable[bytes]) -> bytes:
    """A DiscoveryResponse of messages of one type. Its version is the nonce: every resource has one of its own, the whole has none."""
    head = _delimited(_ANY_TYPE, url.encode())
    pieces = [_delimited(_VERSION, nonce.encode())]
    for body in bodies:
        middle = head + _ANY_VALUE + varint(len(body))
        pieces += (_RESOURCES + varint(len(middle) + len(body)) + middle, body)
    return b"".join((*pieces, _delimited(_TYPE_URL, url.encode()), _delimited(_NONCE, nonce.encode())))


def _delimited(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body
