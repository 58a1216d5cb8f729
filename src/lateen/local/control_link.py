"""The node's conversation with control: what is wanted comes down, what runs goes up. Called by `daemon`.

Control may be away at any time and for any length; then this tries again, for ever, and after each return says everything once more.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import structlog

from lateen.local.podspec import Json

WATCH: Final = "/lateen.v1.Node/Watch"
REPORT: Final = "/lateen.v1.Node/Report"
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0
"""Control is on this machine and back within a second; who waits longer delays every pod."""
_REPORT_TIMEOUT_S: Final = 5.0
_SETTLE_S: Final = 0.01
"""Pods that change together are reported together."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
)
_log = structlog.get_logger("local.control")


class _Stream(Protocol):
    """What is used of grpc.aio.UnaryStreamCall (gRPC ships no types)."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class _Unary(Protocol):
    async def __call__(self, request: bytes, *, timeout: float) -> bytes: ...


@dataclass(frozen=True)
class Running:
    """What is reported. `pods`: the Pod objects by `namespace/name`; `ingress`: gateways' ports; `problems`: `Kind/namespace/name` → why it cannot run."""

    pods: dict[str, Json]
    ingress: list[Json]
    problems: dict[str, str]


class ControlLink:
    """See the module. `touch` says that a pod changed or is gone, `say` that something else of the report did."""

    def __init__(self, socket: Path, node: str, running: Callable[[], Running], on_message: Callable[[dict[str, Any]], None]) -> None:
        """`on_message` is given each message of the watch; `socket` need not exist yet."""
        self._socket = socket
        self._node = node
        self._running = running
        self._on_message = on_message
        self._touched: set[str] = set()
        self._must_say_all = True
        self._wake = asyncio.Event()
        self.is_connected = False

    def touch(self, pod: str) -> None:
        """A pod (`namespace/name`) has changed."""
        self._touched.add(pod)
        self._wake.set()

    def say(self) -> None:
        """Report even though no pod has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Talk to control until cancelled."""
        async with grpc.aio.insecure_channel(f"unix:{self._socket}", options=_OPTIONS) as channel, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(channel))
            tasks.create_task(self._report(channel))

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                stream: _Stream = channel.unary_stream(WATCH)(json.dumps({"node": self._node}).encode())
                async for message in stream:
                    if not self.is_connected:
                        self.is_connected, pause_s = True, _FIRST_PAUSE_S
                        self._must_say_all = True
                        self._wake.set()
                    self._on_message(json.loads(message))
                _log.info("control ended the watch")
            except grpc.aio.AioRpcError as error:
                if self.is_connected:
                    _log.warning("control is away", code=error.code().name, details=error.details())
            except ValueError as error:
                _log.error("control's message makes no sense", error=str(error))
            self.is_connected = False
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    async def _report(self, channel: grpc.aio.Channel) -> None:
        call: _Unary = channel.unary_unary(REPORT)
        while True:
            await self._wake.wait()
            await asyncio.sleep(_SETTLE_S)
            self._wake.clear()
            touched, self._touched = self._touched, set()
            is_full, self._must_say_all = self._must_say_all, False
            running = self._running()
            pods = running.pods
            said = pods if is_full else {name: pods[name] for name in touched if name in pods}
            removed = [] if is_full else sorted(touched - pods.keys())
            try:
                message = {"node": self._node, "full": is_full, "pods": list(said.values()), "removed": removed}
                message |= {"ingress": running.ingress, "problems": running.problems}
                await call(json.dumps(message).encode(), timeout=_REPORT_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                _log.debug("not reported", code=error.code().name)
                self._must_say_all = True
                await asyncio.sleep(_FIRST_PAUSE_S)
                if self.is_connected:
                    self._wake.set()
