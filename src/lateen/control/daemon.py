"""`lateen control`: the control process. Wires the parts, opens the doors, and runs until told to stop; may be killed at any time.

Doors: a unix socket (mode 0600) for the node and the command line; where asked, TCP with mutual TLS for proxies elsewhere.
"""

import asyncio
import gc
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import structlog

from lateen.base.errors import EnvoyMissing, LateenError
from lateen.base.paths import MeshPaths
from lateen.base.spiffe import DEFAULT_TRUST_DOMAIN, SpiffeId
from lateen.config.defaults import LOCAL
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.control import heap
from lateen.control.agents import Agents
from lateen.control.attribution import Attribution
from lateen.control.citadel import Citadel
from lateen.control.events import Events
from lateen.control.galley import Galley
from lateen.control.interface import Interface
from lateen.control.learning import Learning
from lateen.control.node_api import NodeApi
from lateen.control.pilot import Pilot
from lateen.control.registrar import Registrar
from lateen.identity.store import load_or_create
from lateen.insight.scratch import Scratch
from lateen.mesh.automatic_scope import SCOPE, ScopeMode
from lateen.node import log
from lateen.node.signer import METHOD as SIGN
from lateen.serve.door import SERVER_OPTIONS, Context, peer_identity
from lateen.sources.files import FileSource
from lateen.sources.journal import Journal
from lateen.wire.binary import envoy_path

READY_CHECK_S = 0.1
"""How often readiness is looked at until it is there."""
CERTIFICATE_RENEWAL_S = 6 * 3600.0
"""The TCP door gets a fresh certificate well within its life of 24 h."""
START_S = 30.0
"""Findings about the mesh as a whole wait for readiness, so long at most."""
STOP_GRACE_S = 0.2

Json = dict[str, Any]
"""Any: JSON."""
Unary = Callable[[Json], Awaitable[Json]]
Stream = Callable[[Json], AsyncIterator[Json]]


@dataclass(frozen=True)
class ControlOptions:
    """`sources`: files, folders or `-`. `listen`: HOST:PORT for proxies elsewhere, None: no. `local`: a node of this machine runs the pods."""

    paths: MeshPaths
    sources: tuple[str, ...]
    listen: str | None = None
    local: bool = False
    publish: Mapping[int, int] = field(default_factory=dict)
    scope: ScopeMode = ScopeMode.COMPLETE


def run(options: ControlOptions) -> int:
    """Be control until told to stop. The exit code. LateenError: it could not begin."""
    log.configure()
    heap.map_large_blocks()
    gc.set_threshold(50_000, 20, 50)  # objects of the engine live long: collect young ones seldom
    import uvloop

    uvloop.run(_Control(options).run())
    return 0


class _Control:
    """The parts, wired."""

    def __init__(self, options: ControlOptions) -> None:
        self.options = options
        self.events = Events()
        self.pilot = Pilot(self.events, LOCAL if options.local else MeshConfig())
        SCOPE.set(self.pilot.db, "mesh", options.scope)
        self.galley = Galley(FileSource(options.sources), self.pilot, self.events, has_node=options.local)
        self.node = NodeApi(self.pilot, self.galley.written, options.paths.run / "reported.json") if options.local else None
        self.interface = Interface(options.paths.name, self.pilot, self.galley, self.events, self.node, options.listen or "")
        self.log = structlog.get_logger("control")
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        paths = self.options.paths
        paths.run.mkdir(parents=True, exist_ok=True)
        authority = await asyncio.to_thread(load_or_create, paths.ca, DEFAULT_TRUST_DOMAIN, time.time())
        self.citadel = Citadel(authority, self.pilot.certificate_life_s)
        self.pilot.journal = Journal(paths.state / "facts.json")
        self.registrar = Registrar(self.pilot, paths.state / "registrations.db")
        self.registrar.restore()
        if self.options.scope is ScopeMode.AUTOMATIC:
            self.interface.learning = Learning(self.pilot, self.events, paths.state / "learned.json")
            self.interface.learning.restore()
        if self.node is not None:
            self.node.restore()
            self.galley.listeners.append(self.node.changed)
        await self.galley.load()
        server = await self._serve_locally()
        tcp = await self._serve_tcp() if self.options.listen else None
        async with asyncio.TaskGroup() as tasks:
            works = [self.pilot.run(), self.galley.run(), self.pilot.door.tick(), heap.keep_small(lambda: self.pilot.door.large_bytes), self._announce()]
            try:
                works.append(Attribution(self.pilot, Scratch(envoy_path())).run())
            except EnvoyMissing as error:
                self.log.warning("refusals of proxies cannot be looked into", reason=str(error))
            background = [tasks.create_task(work) for work in works]
            self.pilot.need()
            await self.stopping.wait()
            for each in (server, tcp):
                if each is not None:
                    await each.stop(STOP_GRACE_S)
            for task in background:
                task.cancel()
            if self.interface.learning is not None:
                await self.interface.learning.close()

    async def _announce(self) -> None:
        """Says once when everything runs."""
        asyncio.get_running_loop().call_later(START_S, self.galley.settle)
        while not self.interface.is_ready:  # noqa: ASYNC110  it depends on many things, and is asked only until it is there
            await asyncio.sleep(READY_CHECK_S)
        self.log.info("ready", objects=len(self.pilot.overlay.in_force))
        self.galley.settle()
        self.events.ready()
        if self.node is None:
            print(f"control of mesh {self.options.paths.name} is ready: {len(self.pilot.overlay.in_force)} objects", flush=True)  # noqa: T201  told on stdout

    async def _serve_locally(self) -> grpc.aio.Server:
        socket = self.options.paths.control_socket
        socket.unlink(missing_ok=True)
        server = grpc.aio.server(options=SERVER_OPTIONS)
        unary: dict[str, Unary] = {f"/lateen.v1.Control/{name}": method for name, method in self.interface.methods().items()}
        stream: dict[str, Stream] = {"/lateen.v1.Control/Events": self.interface.follow}

        async def sign(request: Json) -> Json:
            return self.citadel.sign(request, None)

        unary[SIGN] = sign
        if self.node is not None:
            unary["/lateen.v1.Node/Report"] = self.node.report
            stream["/lateen.v1.Node/Watch"] = self.node.watch
        server.add_generic_rpc_handlers((self.pilot.door.handler(is_local=True), _Methods(unary, stream)))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        socket.chmod(0o600)
        return server

    async def _serve_tcp(self) -> grpc.aio.Server:
        host, _, port = (self.options.listen or "").rpartition(":")
        if not host or not port.isdigit():
            raise LateenError(f"--listen: not HOST:PORT: `{self.options.listen}`")
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((self.pilot.door.handler(is_local=False), _Certificates(self.citadel), Agents(self.pilot, self.registrar).handler()))
        issued = self._tls(host)
        made = time.monotonic()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal made
            if time.monotonic() - made < CERTIFICATE_RENEWAL_S:
                return None
            made = time.monotonic()
            return self._tls(host)

        try:
            bound = server.add_secure_port(self.options.listen, grpc.dynamic_ssl_server_credentials(issued, renewed, require_client_authentication=True))
        except RuntimeError:
            bound = 0
        if not bound:
            raise LateenError(f"--listen {self.options.listen}: the address is taken or not of this machine; choose another")
        await server.start()
        self.log.info("proxies elsewhere are served", address=f"{host}:{bound}")
        return server

    def _tls(self, host: str) -> grpc.ServerCertificateConfiguration:
        key, chain = self.citadel.server_certificate((host.strip("[]"),))
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=self.citadel.authority.certificate)


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC ships no types
    """JSON methods: one answer each, or a stream of them."""

    def __init__(self, unary: Mapping[str, Unary], stream: Mapping[str, Stream]) -> None:
        self._handlers = {name: grpc.unary_unary_rpc_method_handler(_unary(method)) for name, method in unary.items()}
        self._handlers |= {name: grpc.unary_stream_rpc_method_handler(_stream(method)) for name, method in stream.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """None: not ours."""
        return self._handlers.get(handler_call_details.method)


class _Certificates(grpc.GenericRpcHandler):  # type: ignore[misc]  # as above
    """Signing over TCP: for the caller's own identity."""

    def __init__(self, citadel: Citadel) -> None:
        async def sign(raw: bytes, context: Any) -> bytes:  # Any: gRPC ships no types
            try:
                caller: SpiffeId = peer_identity(context)
                return json.dumps(citadel.sign(json.loads(raw), caller)).encode()
            except (LateenError, ValueError) as error:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
                raise

        self._handler = grpc.unary_unary_rpc_method_handler(sign)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """None: not ours."""
        return self._handler if handler_call_details.method == SIGN else None


def _unary(method: Unary) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            return json.dumps(await method(json.loads(raw or b"{}"))).encode()
        except (LateenError, ValueError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise

    return handle


def _stream(method: Stream) -> Callable[[bytes, Context], Awaitable[None]]:
    async def handle(raw: bytes, context: Context) -> None:
        with suppress(grpc.aio.AioRpcError):
            async for message in method(json.loads(raw or b"{}")):
                await context.write(json.dumps(message).encode())

    return handle
