"""The gRPC door: discovery streams as raw bytes over sessions. The one file of this room that touches sockets.

`control` makes one Door and serves its handler on a unix socket (the node relays each Envoy's stream there) and, where asked, over TCP with mutual
TLS. Per stream: one reader, one writer, and at most one response per type waiting.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import grpc
import structlog

from lateen.base.spiffe import SpiffeError, SpiffeId, parse_spiffe
from lateen.mesh.view import View
from lateen.serve.catalog import Catalog, Published
from lateen.serve.introduction import Introduction, Unwelcome, admit, introduced
from lateen.serve.ledger import Change, Ledger, Report
from lateen.serve.session import Action, Close, Rejected, Send, Session, Settled, Unwant, Want
from lateen.serve.variants import Delta, StateOfTheWorld, Variant
from lateen.wire.delta import DELTA_METHOD, HEALTH_TYPE, STATE_OF_THE_WORLD_METHOD, DeltaRequest, MalformedMessage

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.server.max_pending_requests", 100_000),  # the default drops streams silently when thousands of proxies connect at once
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),  # as istiod; a request of 10 000 names is below 1 MB
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),  # a proxy that is gone without a word is noticed within a minute
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),
)
FIRST_REQUEST_S = 10.0
"""A stream that says nothing for so long is no proxy."""
SLICE_S = 0.005
"""Sending to many proxies gives the loop back after so long."""
REFUSAL_PAUSE_S = 0.1
"""A refused client may still be writing its first requests; a status that overtakes them reaches it as an internal error."""
TICK_S = 0.25
"""How exactly graces are kept; they are of seconds."""
LARGE_BYTES = 64 * 1024
TURNS = 16
"""Responses of that size that are written at once; a whole configuration of 1000 services is some MB, twice while gRPC copies it."""
TURN_S = 1.0
"""A client that has not taken a response in this time is slow, and no reason to let others wait."""
REMEMBERED = 10_000
"""Clients whose broken streams left clusters warming; the oldest are forgotten."""


class Context(Protocol):
    """What is used of grpc.aio's ServicerContext."""

    async def read(self) -> Any:
        """Bytes, or `grpc.aio.EOF`. Any: gRPC ships no types."""

    async def write(self, message: bytes) -> None:
        """Sends one message, waiting for the transport's room."""

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the stream with a status; raises."""

    def auth_context(self) -> Any:
        """Properties of the peer's certificate. Any: gRPC ships no types."""

    def peer(self) -> str:
        """The peer's address."""


_Serve = Callable[[object, Context], Awaitable[None]]
"""Serves one stream."""


class Connection:
    """One proxy's stream. `number` names it in the ledger."""

    def __init__(self, number: int, introduction: Introduction, node: bytes, session: Session, now: float, variant: Variant) -> None:
        self.number = number
        self.introduction = introduction
        self.node = node
        self.session = session
        self.variant = variant
        self.connected_at = now
        self.view: View | None = None
        self.closing = ""
        self.outbox: deque[Send] = deque()
        self.has_news = asyncio.Event()


@dataclass(frozen=True)
class Listeners:
    """Who is told. `need`: something has to be refreshed; `report`: a publication is live; `rejected`: a proxy refused a response."""

    need: Callable[[], None]
    report: Callable[[Report], None]
    rejected: Callable[[Connection, Rejected], None]
    connected: Callable[[Connection, bool], None]
    health: Callable[[Connection, str | None], None] = lambda _connection, _problem: None
    """What the agent beside a proxy reports of its workload; None: it is well."""


class _Turn:
    """One of the turns that large responses take; left once, by whoever is first."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns: asyncio.Semaphore | None = turns

    def leave(self) -> None:
        """Lets the next one in."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()


class Door:
    """All discovery streams of this process."""

    def __init__(self, catalog: Catalog, ledger: Ledger, listeners: Listeners, clock: Callable[[], float] = time.monotonic) -> None:
        self.catalog, self.ledger, self.listeners = catalog, ledger, listeners
        self.connections: dict[int, Connection] = {}
        self.pushes = 0
        self.large_bytes = 0
        """Of large responses so far: what passed through the heap and left room in it."""
        self._clock = clock
        self._numbers = count(1)
        self._turns = asyncio.Semaphore(TURNS)
        self._unfinished: OrderedDict[str, set[str]] = OrderedDict()
        self._log = structlog.get_logger("serve")

    def handler(self, *, is_local: bool) -> grpc.GenericRpcHandler:
        """The discovery service. `is_local`: the peer is this machine's node, which vouches for its pods; else its certificate decides."""

        def stream(variant: Callable[[], Variant]) -> _Serve:
            async def serve(_: object, context: Context) -> None:
                try:
                    peer = None if is_local else peer_identity(context)
                except Unwelcome as error:
                    await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
                    return
                await self._stream(context, peer, variant())

            return serve

        return _DiscoveryHandler({DELTA_METHOD: stream(Delta), STATE_OF_THE_WORLD_METHOD: stream(StateOfTheWorld)})

    # Publications

    async def published(self, published: Published, changes: Iterable[Change]) -> None:
        """Sends a publication to whom it concerns. Gives the loop back every few milliseconds."""
        self.ledger.begin(published.revision, changes)
        started = self._clock()
        for connection in list(self.connections.values()):
            proxy = connection.introduction.proxy
            if connection.number in self.connections and (connection.view in published.views or connection.view is None or proxy in published.moved):
                self._show(connection, published.revision)
                if self._clock() - started > SLICE_S:
                    await asyncio.sleep(0)
                    started = self._clock()
        self._report(self.ledger.seal(published.revision, self._clock()))

    def _show(self, connection: Connection, revision: int) -> None:
        view = self.catalog.view(connection.introduction.proxy)
        if view is None:
            return
        if connection.view is not None and connection.view is not view:
            for subscription in connection.session.subscriptions.values():
                self.catalog.unwant(connection.view, subscription.url, subscription.extras)
                self.catalog.want(view, subscription.url, subscription.extras)
        connection.view = view
        snapshots = self.catalog.snapshots(view)
        if snapshots is None:
            return
        actions = connection.session.on_published(snapshots, revision, self._clock())
        if connection.session.is_concerned:
            self.ledger.concerns(revision, connection.number)
        self._perform(connection, actions)

    async def tick(self) -> None:
        """Keeps time for all sessions, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            for connection in list(self.connections.values()):
                wake_at = connection.session.wake_at
                if wake_at is not None and wake_at <= now:
                    self._perform(connection, connection.session.on_tick(now))
            self._report(self.ledger.late(now))

    # One stream

    async def _stream(self, context: Context, peer: SpiffeId | None, variant: Variant) -> None:
        try:
            async with asyncio.timeout(FIRST_REQUEST_S):
                raw = await context.read()
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no first request")
            return
        if not isinstance(raw, bytes):
            return
        try:
            requests = variant.requests(raw)
            connection = self._welcome(requests[0].node, peer, variant)
        except (Unwelcome, MalformedMessage) as error:
            self._log.warning("a stream is refused", peer=context.peer(), reason=str(error))
            await asyncio.sleep(REFUSAL_PAUSE_S)
            code = grpc.StatusCode.INVALID_ARGUMENT if isinstance(error, MalformedMessage) else grpc.StatusCode.PERMISSION_DENIED
            await context.abort(code, str(error))
            return
        await self._serve(connection, requests, context)

    def _welcome(self, node: bytes, peer: SpiffeId | None, variant: Variant) -> Connection:
        introduction = introduced(node)
        if peer is not None:
            admit(introduction, peer)
        session = Session(self._unfinished.pop(introduction.node_id, ()))
        connection = Connection(next(self._numbers), introduction, node, session, self._clock(), variant)
        self.connections[connection.number] = connection
        self.catalog.join(introduction.proxy)
        if self.catalog.view(introduction.proxy) is not None:
            self._show(connection, self.catalog.db.published_revision)
        self.listeners.need()
        self.listeners.connected(connection, True)
        return connection

    async def _serve(self, connection: Connection, requests: Iterable[DeltaRequest], context: Context) -> None:
        reader = asyncio.create_task(self._read(connection, requests, context))
        writer = asyncio.create_task(self._write(connection, context))
        try:
            done, _ = await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if reader in done:
                reader.result()
        except (MalformedMessage, Unwelcome) as error:
            connection.closing = str(error)
        except grpc.aio.AioRpcError:
            pass
        finally:
            reader.cancel()
            writer.cancel()
            self._farewell(connection)
        if connection.closing:
            self._log.warning("a stream is ended", node=connection.introduction.node_id, reason=connection.closing)
            await asyncio.sleep(REFUSAL_PAUSE_S)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, connection.closing)

    async def _read(self, connection: Connection, requests: Iterable[DeltaRequest], context: Context) -> None:
        """Until the client ends the stream. Raises MalformedMessage, Unwelcome."""
        while True:
            for request in requests:
                self._take(connection, request)
            raw = await context.read()
            if not isinstance(raw, bytes):
                return
            requests = connection.variant.requests(raw)

    def _take(self, connection: Connection, request: DeltaRequest) -> None:
        if request.node and request.node != connection.node:
            self._check_same(connection, request.node)
        if request.type_url == HEALTH_TYPE:
            self.listeners.health(connection, request.error)
        else:
            self._perform(connection, connection.session.on_request(request, self._clock()))

    @staticmethod
    def _check_same(connection: Connection, node: bytes) -> None:
        if introduced(node) != connection.introduction:
            raise Unwelcome("the node changed within a stream")

    async def _write(self, connection: Connection, context: Context) -> None:
        """Until the stream is to be ended."""
        while not connection.closing:
            await connection.has_news.wait()
            connection.has_news.clear()
            while connection.outbox:
                await self._send(connection, connection.outbox.popleft(), context)
                self.pushes += 1

    async def _send(self, connection: Connection, send: Send, context: Context) -> None:
        """Writes a response. Large ones take turns, or a thousand proxies that connect at once would have a thousand whole configurations in memory; a
        client that takes its own slowly gives its turn away."""
        if send.size_bytes < LARGE_BYTES:
            await self._written(connection, send, context)
            return
        self.large_bytes += send.size_bytes
        await self._turns.acquire()
        turn = _Turn(self._turns)
        late = asyncio.get_running_loop().call_later(TURN_S, turn.leave)
        try:
            await self._written(connection, send, context)
        finally:
            late.cancel()
            turn.leave()

    async def _written(self, connection: Connection, send: Send, context: Context) -> None:
        answer = connection.variant.response(send)
        if answer.raw is not None:
            await context.write(answer.raw)
        elif answer.acknowledgement is not None:
            self._perform(connection, connection.session.on_request(answer.acknowledgement, self._clock()))

    def _farewell(self, connection: Connection) -> None:
        del self.connections[connection.number]
        self._perform(connection, connection.session.on_close())
        if unfinished := connection.session.unfinished:
            self._unfinished[connection.introduction.node_id] = unfinished
            if len(self._unfinished) > REMEMBERED:
                self._unfinished.popitem(last=False)
        self.catalog.leave(connection.introduction.proxy)
        self.listeners.need()
        self.listeners.connected(connection, False)
        self._report(self.ledger.gone(connection.number, self._clock()))

    def _perform(self, connection: Connection, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    connection.outbox.append(action)
                    connection.has_news.set()
                case Want(type_url, names):
                    if connection.view is not None:
                        self.catalog.want(connection.view, type_url, names)
                        self.listeners.need()
                case Unwant(type_url, names):
                    if connection.view is not None:
                        self.catalog.unwant(connection.view, type_url, names)
                        self.listeners.need()
                case Rejected():
                    self._report(self.ledger.refused(connection.number, self._clock()))
                    self.listeners.rejected(connection, action)
                case Settled(revision):
                    self._report(self.ledger.settled(connection.number, revision, self._clock()))
                case Close(message):
                    connection.closing = message
                    connection.has_news.set()

    def _report(self, reports: Iterable[Report]) -> None:
        for report in reports:
            self.listeners.report(report)


def peer_identity(context: Context) -> SpiffeId:
    """The one SPIFFE identity of the peer's certificate. Raises Unwelcome, which the caller turns into a status."""
    names = [name.decode(errors="replace") for name in context.auth_context().get("x509_subject_alternative_name", ())]
    identities = [name for name in names if name.startswith("spiffe://")]
    if len(identities) != 1:
        raise Unwelcome("the certificate has no mesh identity" if not identities else "the certificate has more than one identity")
    try:
        return parse_spiffe(identities[0])
    except SpiffeError as error:
        raise Unwelcome(str(error)) from None


class _DiscoveryHandler(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC ships no types
    """Routes the discovery methods to raw bytes in and out."""

    def __init__(self, streams: Mapping[str, _Serve]) -> None:
        self._methods = {name: grpc.stream_stream_rpc_method_handler(stream, None, None) for name, stream in streams.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """None: not ours."""
        return self._methods.get(handler_call_details.method)
