"""A delta ADS server for one Envoy: what it is to have is set, what differs is sent, in the order Envoy needs, and its verdict is waited for."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from ads import secret_message

from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2
from lateen.xds.resource import Resource, ResourceType

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET = (
    ResourceType.CLUSTER,
    ResourceType.ENDPOINT,
    ResourceType.LISTENER,
    ResourceType.ROUTE,
    ResourceType.SECRET,
)
WILDCARD = (LISTENER, CLUSTER)
ANSWER_S = 120.0


class Silent(Exception):
    """Envoy did not answer."""


@dataclass
class DeltaAds(grpc.GenericRpcHandler):
    """What Envoy is to have. `certificate`, `key`, `root`, `revocations`: every secret's content, PEM."""

    certificate: bytes
    key: bytes
    root: bytes
    revocations: bytes
    wanted: dict[tuple[ResourceType, str], Resource] = field(default_factory=dict)
    sent: dict[tuple[ResourceType, str], str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    pushes: int = 0
    resources: int = 0

    def __post_init__(self) -> None:
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._asked: dict[ResourceType, set[str]] = {type_: set() for type_ in ResourceType}
        self._open: dict[str, asyncio.Future[None]] = {}
        self._nonce = 0
        self._greeted: set[ResourceType] = set()
        self.connected = asyncio.Event()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._stream) if details.method == METHOD else None

    async def _stream(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        reader = asyncio.create_task(self._read(requests))
        try:
            while True:
                yield await self._out.get()
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        async for raw in requests:
            request = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
            type_ = ResourceType(request.type_url)
            answered = self._open.pop(request.response_nonce, None)
            if request.error_detail.message:
                self.refused.append(f"{type_.name}: {request.error_detail.message}")
            fresh = set(request.resource_names_subscribe) - {"*"}
            self._asked[type_] |= fresh
            self._asked[type_] -= set(request.resource_names_unsubscribe)
            is_first = type_ in WILDCARD and type_ not in self._greeted
            if is_first:
                self._greeted.add(type_)
            if fresh or is_first:
                self._send(type_, sorted(fresh), again=True, always=is_first)
            if type_ is LISTENER:
                self.connected.set()
            if answered is not None:
                answered.set_result(None)

    async def push(self, wanted: dict[tuple[ResourceType, str], Resource]) -> None:
        """Envoy is to have this and nothing else; returns when it has answered all. Raises Silent."""
        self.pushes += 1
        self.wanted = wanted
        clusters = {name for type_, name in wanted if type_ is CLUSTER and self.sent.get((type_, name)) != wanted[type_, name].version}
        known = {name for name in clusters if (CLUSTER, name) in self.sent}
        self._send(CLUSTER, [name for type_, name in wanted if type_ is CLUSTER])
        changed = {name for type_, name in wanted if type_ is ENDPOINT and self.sent.get((type_, name)) != wanted[type_, name].version}
        again = [name for name in (changed | known) & self._asked[ENDPOINT] if (ENDPOINT, name) in wanted]
        self._send(ENDPOINT, sorted(again), again=True)  # a cluster that changes waits for its endpoints, equal or not, before Envoy answers
        await self._settled()
        await self._told(LISTENER, [name for type_, name in wanted if type_ is LISTENER], gone=True)
        await self._told(ROUTE, sorted(self._asked[ROUTE]))
        await self._told(CLUSTER, [], gone=True)
        await self._told(ENDPOINT, sorted(self._asked[ENDPOINT]))

    async def _told(self, type_: ResourceType, names: Iterable[str], *, gone: bool = False) -> None:
        removed = [name for kind, name in self.sent if kind is type_ and (kind, name) not in self.wanted] if gone else []
        self._send(type_, [name for name in names if (type_, name) in self.wanted], removed)
        await self._settled()

    def _send(self, type_: ResourceType, names: Iterable[str], removed: Iterable[str] = (), *, again: bool = False, always: bool = False) -> None:
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_.value)
        for name in names:
            if type_ is SECRET:
                self._add(response, name, "1", secret_message(name, self.root, self.certificate, self.key, self.revocations))
                continue
            found = self.wanted.get((type_, name))
            if found is None:
                response.removed_resources.append(name)
            elif again or self.sent.get((type_, name)) != found.version:
                self._add(response, name, found.version, found.body)
                self.sent[type_, name] = found.version
        for name in removed:
            del self.sent[type_, name]
            response.removed_resources.append(name)
        if response.resources or response.removed_resources or always:
            self._nonce += 1
            response.nonce = str(self._nonce)
            self._open[response.nonce] = asyncio.get_running_loop().create_future()
            self._out.put_nowait(response.SerializeToString())

    def _add(self, response: discovery_pb2.DeltaDiscoveryResponse, name: str, version: str, body: bytes) -> None:
        one = response.resources.add(name=name, version=version)
        one.resource.type_url, one.resource.value = response.type_url, body
        self.resources += 1

    async def _settled(self) -> None:
        while self._open:
            _, late = await asyncio.wait(self._open.values(), timeout=ANSWER_S)
            if late:
                raise Silent(f"no answer in {ANSWER_S:.0f} s: {sorted(self._open)}")
