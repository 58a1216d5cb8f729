"""The agents' side of control: what a WorkloadGroup asks of its members goes out (Watch), and a member that goes says so (Leave). Called by `daemon`.

Over TCP with mutual TLS: the caller is who its certificate says, and is told of groups of its own service account alone.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from lateen.agent import LEAVE, WATCH
from lateen.base.errors import LateenError
from lateen.base.spiffe import SpiffeId
from lateen.config import store
from lateen.config.kinds.istio.workload_entry import WorkloadGroup
from lateen.control.pilot import Pilot
from lateen.control.registrar import Registrar
from lateen.serve.door import Context, peer_identity
from lateen.sources.plain import as_json
from lateen.sources.registration import group_labels, refusal_of

Json = dict[str, Any]
"""Any: JSON."""


def asked_of_members(group: WorkloadGroup) -> Json:
    """What the agent beside a member has to know: `labels`, and the `probe` as it is written, None: members are not asked."""
    return {"labels": group_labels(group), "probe": as_json(group)["spec"].get("probe")}


class Agents:
    """What agents may ask."""

    def __init__(self, pilot: Pilot, registrar: Registrar) -> None:
        self._pilot, self._registrar = pilot, registrar

    async def watch(self, request: Json, caller: SpiffeId) -> AsyncIterator[Json]:
        """`{name}` → `{group}` as it stands, or `{reason}` why the caller is none of its members; again at each change. For ever."""
        name, told = str(request.get("name", "")), None
        while True:
            published = self._pilot.published
            if self._pilot.is_loaded:
                group = store.one(self._pilot.db, WorkloadGroup, caller.namespace, name)
                reason = refusal_of(caller.namespace, name, caller.service_account, group)
                message: Json = {"reason": reason} if reason or group is None else {"group": asked_of_members(group)}
                if message != told:
                    told = message
                    yield message
            await published.wait()

    async def leave(self, request: Json, caller: SpiffeId) -> Json:
        """`{name}` of a WorkloadEntry: the caller's own goes at once, without a grace. `{left}`: whether there was one."""
        return {"left": self._registrar.left(caller.namespace, caller.service_account, str(request.get("name", "")))}

    def handler(self) -> grpc.GenericRpcHandler:
        """Both, for the TCP door."""
        return _Methods({WATCH: grpc.unary_stream_rpc_method_handler(_stream(self.watch)), LEAVE: grpc.unary_unary_rpc_method_handler(_unary(self.leave))})


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC ships no types
    """Handlers by name."""

    def __init__(self, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """None: not ours."""
        return self._handlers.get(handler_call_details.method)


async def _asked(raw: bytes, context: Context) -> tuple[Json, SpiffeId]:
    """The request and who asks; ends the call where either makes no sense."""
    try:
        request, caller = json.loads(raw or b"{}"), peer_identity(context)
        if not isinstance(request, dict):
            raise ValueError("not a JSON object")
    except (LateenError, ValueError) as error:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        raise
    return request, caller


def _unary(method: Callable[[Json, SpiffeId], Awaitable[Json]]) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(raw: bytes, context: Context) -> bytes:
        return json.dumps(await method(*await _asked(raw, context))).encode()

    return handle


def _stream(method: Callable[[Json, SpiffeId], AsyncIterator[Json]]) -> Callable[[bytes, Context], Awaitable[None]]:
    async def handle(raw: bytes, context: Context) -> None:
        async for message in method(*await _asked(raw, context)):
            try:
                await context.write(json.dumps(message).encode())
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return

    return handle
