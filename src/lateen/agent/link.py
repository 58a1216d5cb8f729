"""The agent's ways to control over TCP: one channel with mutual TLS, made anew with each certificate. Called by `process`."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

import grpc
import grpc.aio
import msgspec

from lateen.agent import LEAVE, WATCH
from lateen.base.errors import LateenError
from lateen.config.kinds.istio.workload_entry import WorkloadProbe
from lateen.node.certificates import Bundle
from lateen.node.relay import CHANNEL_OPTIONS

_NAME: Final = "lateen-control"
"""What control's certificate says, at whatever address it is reached."""
_OPTIONS: Final = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", _NAME), ("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 20_000))
_PAUSE_S: Final = 1.0
"""Between attempts to reach control."""
_LEAVE_S: Final = 10.0
"""A control that is away has no need to hear it: the entry ends with the connection."""


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """What the WorkloadGroup asks of its members."""

    labels: dict[str, str] = {}
    probe: WorkloadProbe | None = None


class Watched(msgspec.Struct, frozen=True):
    """One message: `group`, or the `reason` why it is none of ours."""

    group: Asked | None = None
    reason: str = ""


class Link:
    """The channel, and what is asked over it."""

    def __init__(self, control: str, bundle: Bundle) -> None:
        """`control`: HOST:PORT."""
        self._control = control
        self._channel = self._opened(bundle)
        self.problem = ""
        """Why control was not reached, in its words or gRPC's. Empty: it was."""

    def _opened(self, bundle: Bundle) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(bundle.root, bundle.key.reveal(), bundle.chain)
        return grpc.aio.secure_channel(self._control, credentials, options=_OPTIONS)

    def channel(self) -> grpc.aio.Channel:
        """For a new call."""
        return self._channel

    async def renew(self, bundle: Bundle) -> None:
        """From now on with another certificate; streams begin anew."""
        before, self._channel = self._channel, self._opened(bundle)
        await before.close(None)

    async def close(self) -> None:
        """Ends every call."""
        await self._channel.close(None)

    async def watch(self, group: str) -> AsyncIterator[Watched]:
        """The group as it stands, at once and after each change; through restarts of control. `problem` says while it is away."""
        request = json.dumps({"name": group}).encode()
        while True:
            call = self._channel.unary_stream(WATCH)(request)
            try:
                while isinstance(raw := await call.read(), bytes):
                    self.problem = ""
                    yield msgspec.json.decode(raw, type=Watched)
            except grpc.aio.AioRpcError as error:
                self.problem = error.details() or error.code().name
            except msgspec.DecodeError as error:
                self.problem = f"its answer makes no sense: {error}"
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():  # gRPC raises the same when only its channel was closed
                    raise
            finally:
                call.cancel()
            await asyncio.sleep(_PAUSE_S)

    async def leave(self, entry: str) -> bool:
        """Takes the entry out of the mesh. False: there is none, or control is away."""
        try:
            raw = await self._channel.unary_unary(LEAVE)(json.dumps({"name": entry}).encode(), timeout=_LEAVE_S)
            return bool(json.loads(raw)["left"])
        except (grpc.aio.AioRpcError, LateenError, ValueError, KeyError):
            return False
