"""Where each Envoy's configuration stream ends: a socket per pod, one connection to control, and the record between them.

The rules are in `wire.relay`; here are the sockets. Called by whoever runs pods. Killing control breaks no stream of an Envoy; killing the node
breaks them all, and
each Envoy comes back by itself.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

import grpc
import grpc.aio
import structlog

from lateen.node.known import KnownGood
from lateen.wire.delta import DELTA_METHOD, STATE_OF_THE_WORLD_METHOD, MalformedMessage, decode_response, encode_request
from lateen.wire.relay import Action, Keep, RelaySession, RestartUpstream, SendDown, SendUp
from lateen.wire.world import World

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
"""Between attempts to reach control: it is on this machine, and answers everyone within this time of its return."""
_EVENTS: Final = 64
"""Events of one stream that wait: beyond it, reading stops and the sender is held back."""
_UPWARD: Final = 4096
"""Requests that wait for a control that does not read; beyond it the stream is given up and begun anew."""
_LONGEST_SOCKET_PATH: Final = 100
_GRACE_S: Final = 0.5
_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
CHANNEL_OPTIONS: Final = (
    *_OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
)
_REFUSALS: Final = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT})
_log = structlog.get_logger("node.relay")


Dial = Callable[[], grpc.aio.Channel]
"""Gives the channel that a new stream is to take."""


class _Context(Protocol):
    """What is used of grpc.aio.ServicerContext (gRPC ships no types)."""

    async def read(self) -> object:
        """One request, or grpc.aio.EOF."""

    async def write(self, message: bytes) -> None:
        """Sends one response; waits while Envoy does not read."""

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the stream with a status."""


class _Call(Protocol):
    """What is used of grpc.aio.StreamStreamCall."""

    async def wait_for_connection(self) -> None:
        """Raises AioRpcError if there is no peer."""

    async def read(self) -> object:
        """One response, or grpc.aio.EOF."""

    async def write(self, message: bytes) -> None:
        """Sends one request."""

    def cancel(self) -> bool:
        """Ends the stream."""


class Upstream(Enum):
    """What is known of control."""

    UNKNOWN = "unknown"
    CONNECTED = "connected"
    AWAY = "away"


@dataclass(slots=True)
class PodStream:
    """What `status` may show of one pod's stream. `refusal`: control's words if it will not have this proxy; `refused`: Envoy's if it will not have what
    control sent; empty otherwise."""

    is_connected: bool = False
    upstream: Upstream = Upstream.UNKNOWN
    refusal: str = ""
    refused: str = ""
    streams: int = 0
    answered_from_record: int = 0


@dataclass(slots=True)
class _Pod:
    """`report`: how the workload is (None: well), if somebody said; `open`: its streams."""

    server: grpc.aio.Server
    directory: int
    stream: PodStream = field(default_factory=PodStream)
    report: "_Reported | None" = None
    open: set["_EnvoyStream"] = field(default_factory=set)


class Relay:
    """All pods' streams. Use: `async with Relay(…) as relay: await relay.serve(…)`."""

    def __init__(self, control: Path | Dial, known: KnownGood) -> None:
        """`control`: the socket where control serves discovery, which need not exist yet, or what gives the channel to it for each new stream."""
        self._control = control
        self._known = known
        self._pods: dict[str, _Pod] = {}
        self._channel: grpc.aio.Channel | None = None
        self.upstream = Upstream.UNKNOWN

    async def __aenter__(self) -> "Relay":
        """Connects when the first Envoy does."""
        if isinstance(self._control, Path):
            self._channel = grpc.aio.insecure_channel(f"unix:{self._control}", options=CHANNEL_OPTIONS)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes every stream. Envoys keep their configuration."""
        for pod in list(self._pods):
            await self.stop_serving(pod)
        if self._channel is not None:
            await self._channel.close(None)

    async def serve(self, pod: str, socket: Path, owner: tuple[int, int] | None = None) -> None:
        """Listens at `socket` (0600, of `owner`) for the Envoy of `pod`, under which name its record is kept. A socket left by a dead node is replaced."""
        if pod in self._pods:
            return
        socket.unlink(missing_ok=True)  # noqa: ASYNC240  # a local name: no wait
        directory = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        path = str(socket) if len(str(socket)) <= _LONGEST_SOCKET_PATH else f"/proc/self/fd/{directory}/{socket.name}"
        server = grpc.aio.server(options=_OPTIONS)
        entry = _Pod(server, directory)
        methods = {DELTA_METHOD: self._handler(pod, entry), STATE_OF_THE_WORLD_METHOD: self._handler(pod, entry, is_world=True)}
        server.add_generic_rpc_handlers((_DiscoveryHandler(methods),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        socket.chmod(0o600)  # noqa: ASYNC240  # likewise
        if owner is not None:
            os.chown(socket, *owner)
        self._pods[pod] = entry

    async def stop_serving(self, pod: str) -> None:
        """Closes the socket of one pod. Its record stays (`KnownGood.forget` takes that)."""
        entry = self._pods.pop(pod, None)
        if entry is not None:
            await entry.server.stop(_GRACE_S)
            os.close(entry.directory)

    async def report(self, pod: str, problem: str | None) -> None:
        """Tells control how the workload of `pod` is, now and on every later stream. `problem` None: it is well."""
        entry = self._pods.get(pod)
        if entry is not None:
            entry.report = _Reported(problem)
            for stream in list(entry.open):
                await stream.tell(entry.report)

    def channel(self) -> grpc.aio.Channel:
        """To control."""
        if isinstance(self._control, Path):
            return self._channel
        return self._control()

    def stream_of(self, pod: str) -> PodStream | None:
        """What is known of the pod's stream. None: not served."""
        entry = self._pods.get(pod)
        return entry.stream if entry else None

    def _handler(self, pod: str, entry: _Pod, *, is_world: bool = False) -> "_Handler":
        async def handle(_: object, context: _Context) -> None:
            stream = _EnvoyStream(self, self._known, pod, entry, World() if is_world else None)
            entry.open.add(stream)
            try:
                await stream.run(context)
            finally:
                entry.open.discard(stream)

        return handle


_Handler = Callable[[object, _Context], Awaitable[None]]


class _DiscoveryHandler(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC ships no types
    """The methods that Envoy and gRPC call, with bytes left as they are."""

    def __init__(self, handlers: Mapping[str, _Handler]) -> None:
        self._methods = {name: grpc.stream_stream_rpc_method_handler(handle, None, None) for name, handle in handlers.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> object:
        """Source: grpc.GenericRpcHandler."""
        return self._methods.get(handler_call_details.method)


@dataclass(frozen=True, slots=True)
class _Requested:
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Responded:
    upstream: "_UpstreamStream"
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Opened:
    upstream: "_UpstreamStream"


@dataclass(frozen=True, slots=True)
class _Closed:
    upstream: "_UpstreamStream"


@dataclass(frozen=True, slots=True)
class _Reported:
    problem: str | None


class _Hung(Enum):
    UP = "envoy hung up"


_Event = _Reported | _Requested | _Responded | _Opened | _Closed | _Hung


class _UpstreamStream:
    """One stream to control, with the requests that wait for it."""

    def __init__(self, call: _Call) -> None:
        self.call = call
        self.outbox: asyncio.Queue[bytes] = asyncio.Queue(_UPWARD)

    async def write(self) -> None:
        """Sends what waits, until the stream ends."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self.call.write(await self.outbox.get())

    def send(self, raw: bytes) -> None:
        """Queues one request; a control that reads nothing loses the stream."""
        try:
            self.outbox.put_nowait(raw)
        except asyncio.QueueFull:
            self.call.cancel()


class _EnvoyStream:
    """One stream of one Envoy, or of one gRPC client (`world`: its adapter), from its first request to its end."""

    def __init__(self, relay: Relay, known: KnownGood, pod: str, entry: _Pod, world: World | None = None) -> None:
        self._relay = relay
        self._known = known
        self._pod = pod
        self._shown = entry.stream
        self._first_report = entry.report
        self._world = world
        self._session = RelaySession(known.of(pod), is_reachable=relay.upstream is not Upstream.AWAY)
        self._events: asyncio.Queue[_Event] = asyncio.Queue(_EVENTS)
        self._upstream: _UpstreamStream | None = None

    async def run(self, context: _Context) -> None:
        """Until Envoy hangs up, or sends what is no request."""
        self._shown.is_connected = True
        self._shown.streams += 1
        if self._first_report is not None:
            self._session.on_report(self._first_report.problem)
        tasks = [asyncio.create_task(self._read(context)), asyncio.create_task(self._keep_upstream())]
        try:
            await self._turn(context)
        except MalformedMessage as error:
            _log.warning("not a discovery request", pod=self._pod, error=str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._shown.is_connected = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def tell(self, report: _Reported) -> None:
        """The workload's health."""
        await self._events.put(report)

    async def _turn(self, context: _Context) -> None:
        while True:
            deadline = self._session.deadline
            try:
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    event = await self._events.get()
            except TimeoutError:
                await self._perform(self._session.on_time(time.monotonic()), context)
                continue
            if event is _Hung.UP:
                return
            await self._perform(self._on(event), context)
            self._shown.refused = self._session.refused

    def _on(self, event: _Event) -> tuple[Action, ...]:
        now = time.monotonic()
        match event:
            case _Reported(problem):
                return self._session.on_report(problem)
            case _Requested(raw) if self._world is not None:
                return tuple(action for each in self._world.on_request(raw) for action in self._session.on_request(encode_request(each), now))
            case _Requested(raw):
                return self._session.on_request(raw, now)
            case _Opened(upstream):
                self._upstream = upstream
                return self._session.on_upstream_open(now)
            case _Responded(upstream, raw) if upstream is self._upstream:
                return self._session.on_response(raw, now)
            case _Closed(upstream) if self._upstream is None or upstream is self._upstream:
                self._upstream = None
                return self._session.on_upstream_closed(now)
            case _:
                return ()

    async def _perform(self, actions: tuple[Action, ...], context: _Context) -> None:
        for action in actions:
            match action:
                case SendDown(raw) if self._world is not None:
                    await self._translated(self._world, raw, context)
                case SendDown(raw):
                    await context.write(raw)
                case SendUp(raw) if self._upstream is not None:
                    self._upstream.send(raw)
                case Keep():
                    self._known.keep(self._pod, action)
                case RestartUpstream() if self._upstream is not None:
                    upstream, self._upstream = self._upstream, None
                    upstream.call.cancel()
                case _:
                    pass

    async def _translated(self, world: World, raw: bytes, context: _Context) -> None:
        response = decode_response(raw)
        bodies = {resource.name: resource.body for resource in response.resources}
        answer = world.on_response(response.type_url, response.nonce, bodies, response.removed)
        if answer.raw is not None:
            await context.write(answer.raw)
        elif answer.acknowledgement is not None:
            await self._perform(self._session.on_request(encode_request(answer.acknowledgement), time.monotonic()), context)

    async def _read(self, context: _Context) -> None:
        try:
            while isinstance(raw := await context.read(), bytes):
                await self._events.put(_Requested(raw))
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            pass
        await self._events.put(_Hung.UP)

    async def _keep_upstream(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            upstream = _UpstreamStream(self._relay.channel().stream_stream(DELTA_METHOD)())
            writer = asyncio.create_task(upstream.write())
            try:
                await upstream.call.wait_for_connection()
                self._show(Upstream.CONNECTED)
                await self._events.put(_Opened(upstream))
                while isinstance(raw := await upstream.call.read(), bytes):
                    pause_s = _FIRST_PAUSE_S
                    await self._events.put(_Responded(upstream, raw))
                self._show(Upstream.AWAY)
            except grpc.aio.AioRpcError as error:
                self._show(Upstream.AWAY, error)
            except asyncio.CancelledError:
                if _is_being_cancelled():
                    raise
            finally:
                upstream.call.cancel()
                writer.cancel()
            await self._events.put(_Closed(upstream))
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    def _show(self, upstream: Upstream, error: grpc.aio.AioRpcError | None = None) -> None:
        self._relay.upstream = self._shown.upstream = upstream
        refusal = (error.details() or "") if error is not None and error.code() in _REFUSALS else ""
        if refusal and refusal != self._shown.refusal:
            _log.warning("control refuses this proxy", pod=self._pod, reason=refusal)
        self._shown.refusal = refusal


def _is_being_cancelled() -> bool:
    """Whether the task itself is to end: gRPC raises the same exception when only its call was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
