"""The two variants of a discovery stream, over one session: delta, as our proxies speak it, and the state of the world, as gRPC clients do.

Called by the door, one per stream. Source: Envoy, xDS protocol variants.
"""

from typing import Protocol

from lateen.serve.session import Send
from lateen.wire.delta import DeltaRequest, decode_request
from lateen.wire.world import Answer, World


class Variant(Protocol):
    """How a stream's bytes are read and written."""

    def requests(self, raw: bytes) -> tuple[DeltaRequest, ...]:
        """What a message of the client asks of the session. Raises MalformedMessage."""

    def response(self, send: Send) -> Answer:
        """What the client is sent. Called in order, when the bytes are about to leave."""


class Delta:
    """As it is."""

    def requests(self, raw: bytes) -> tuple[DeltaRequest, ...]:
        """See `Variant`."""
        return (decode_request(raw),)

    def response(self, send: Send) -> Answer:
        """See `Variant`."""
        return Answer(send.encoded())


class StateOfTheWorld:
    """Through the adapter."""

    def __init__(self) -> None:
        self._world = World()

    def requests(self, raw: bytes) -> tuple[DeltaRequest, ...]:
        """See `Variant`."""
        return self._world.on_request(raw)

    def response(self, send: Send) -> Answer:
        """See `Variant`. A resource's fragment is two pieces, of which the second is its message."""
        bodies = send.fragments[1::2]
        return self._world.on_response(send.type_url, send.nonce, dict(zip(send.names, bodies, strict=True)), send.removed)
