"""A small delta discovery client: what tests, benchmarks and tools use to be a proxy. It acknowledges, and follows clusters and listeners as Envoy does.

Sans-I/O in `DeltaClient`; `run` is the socket: a grpc.aio channel that the caller opens.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from lateen.wire.delta import DELTA_METHOD, DeltaRequest, DeltaResponse, decode_response, encode_request
from lateen.wire.pb.envoy.config.core.v3 import base_pb2

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"


def node(node_id: str, metadata: dict[str, Any] | None = None) -> bytes:  # Any: JSON
    """A serialized Node."""
    message = base_pb2.Node(id=node_id, cluster=node_id, user_agent_name="lateen-client")
    message.metadata.update(metadata or {})
    return message.SerializeToString()


@dataclass
class DeltaClient:
    """What one client holds: type → name → (version, body). `wildcards` are asked for at once, other names when `ask` is called."""

    node: bytes
    wildcards: tuple[str, ...] = (CLUSTER, LISTENER)
    held: dict[str, dict[str, tuple[str, bytes]]] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)
    refuse: Callable[[DeltaResponse], str | None] = lambda _: None
    """A response's error, None: accept."""

    def first(self) -> list[bytes]:
        """The requests that open a stream; what is held is brought along."""
        requests: list[bytes] = []
        for url in dict.fromkeys((*self.wildcards, *self.asked)):
            versions = {name: version for name, (version, _) in self.held.get(url, {}).items()}
            names = tuple(sorted(self.asked.get(url, ())))
            requests.append(encode_request(DeltaRequest(url, subscribe=names, initial_versions=versions, node=self.node if not requests else b"")))
        return requests

    def ask(self, url: str, names: Iterable[str]) -> list[bytes]:
        """The request that makes `names` all that is asked for of a type; none if nothing changes."""
        wanted, have = set(names), self.asked.get(url, set())
        if wanted == have:
            return []
        self.asked[url] = wanted
        for name in have - wanted:
            self.held.get(url, {}).pop(name, None)
        return [encode_request(DeltaRequest(url, subscribe=tuple(sorted(wanted - have)), unsubscribe=tuple(sorted(have - wanted))))]

    def take(self, response: DeltaResponse) -> list[bytes]:
        """Applies a response; the answer to send."""
        error = self.refuse(response)
        if error is None:
            held = self.held.setdefault(response.type_url, {})
            for resource in response.resources:
                held[resource.name] = (resource.version, resource.body)
            for name in response.removed:
                held.pop(name, None)
        return [encode_request(DeltaRequest(response.type_url, nonce=response.nonce, error=error))]


async def run(
    channel: grpc.aio.Channel, client: DeltaClient, on_response: Callable[[DeltaResponse], Awaitable[list[bytes]]] | None = None, queue_size: int = 1000
) -> None:
    """One stream, until the server ends it (raises AioRpcError) or the task is cancelled. `on_response`: further requests after each response."""
    outbox: asyncio.Queue[bytes] = asyncio.Queue(queue_size)
    call = channel.stream_stream(DELTA_METHOD)()

    async def write() -> None:
        while True:
            await call.write(await outbox.get())

    for raw in client.first():
        outbox.put_nowait(raw)
    writer = asyncio.create_task(write())
    try:
        while isinstance(raw := await call.read(), bytes):
            response = decode_response(raw)
            for answer in client.take(response):
                await outbox.put(answer)
            if on_response is not None:
                for request in await on_response(response):
                    await outbox.put(request)
    finally:
        writer.cancel()
        call.cancel()
