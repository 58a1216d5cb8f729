"""The name server of every pod: sockets inside the pod's network, one table for all. Called by whoever runs pods; the answers are `node.names`'.

What is not the mesh's goes to the servers of this machine. The table stays on disk, so that names outlive control, and a new node begins with them.
"""

import asyncio
import contextlib
import json
import random
import secrets
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, cast

import structlog

from lateen.node.disk import write_durably
from lateen.node.dns_message import (
    AAAA,
    NO_ERROR,
    NO_SUCH_NAME,
    SERVER_FAILURE,
    A,
    MalformedQuery,
    Query,
    addresses,
    answer,
    encoded_query,
    query,
    renumbered,
    truncated,
)
from lateen.node.names import Alias, Names, Unknown, names
from lateen.node.netns import inside_async

CAPTURED_PORT: Final = 15053
PROXY_PORT: Final = 15054
PLAIN_PORT: Final = 53
_UPSTREAM_TIMEOUT_S: Final = 2.0
_ROUNDS: Final = 2
_PENDING: Final = 1024
"""Questions under way to the machine's servers; more are refused, so that a flood cannot fill the node."""
_TCP_IDLE_S: Final = 10.0
_TCP_CONNECTIONS: Final = 64
"""Per pod."""
_TTL_S: Final = 30
_log = structlog.get_logger("node.dns")


def machine_servers(path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """The name servers this machine uses, at most three. Empty: none."""
    found = []
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with contextlib.suppress(ValueError):
                    found.append(str(ip_address(words[1])))
    return tuple(found[:3])


@dataclass(frozen=True)
class _Door:
    """Who asks through a socket."""

    namespace: str
    is_proxy: bool


@dataclass
class _Pod:
    transports: list[asyncio.DatagramTransport] = field(default_factory=list)
    servers: list[asyncio.Server] = field(default_factory=list)
    connections: int = 0


class DnsServer:
    """See the module."""

    def __init__(self, record: Path, upstream: Sequence[str] | None = None, domain: str = "cluster.local", port: int = 53) -> None:
        """`record`: where the table is kept. `upstream`: None: this machine's own servers, at `port`."""
        self._record = record
        self._domain = domain
        self._upstream = machine_servers() if upstream is None else tuple(upstream)
        self._port = port
        self._pods: dict[str, _Pod] = {}
        self._pending = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.names = Names(domain)
        with contextlib.suppress(OSError, ValueError):
            self.names = names(json.loads(record.read_bytes()), domain)

    def set_table(self, table: Mapping[str, Any]) -> None:
        """Answer from now on by this DnsTable (its `spec`), and keep it."""
        self.names = names(table, self._domain)
        try:
            write_durably(self._record, json.dumps(table).encode())
        except OSError as error:
            _log.error("the names of the mesh are not kept", file=str(self._record), reason=str(error))

    async def serve(self, pod: str, netns: str, namespace: str, is_captured: bool) -> None:
        """Listen in a pod's network: on 15053 and, for its proxy, 15054; or, where nothing is captured, on 53. Fine if it does already. OSError."""
        if pod in self._pods:
            return
        doors = {CAPTURED_PORT: _Door(namespace, False)} if is_captured else {PLAIN_PORT: _Door(namespace, False)}
        doors[PROXY_PORT] = _Door(namespace, True)
        entry = self._pods[pod] = _Pod()
        made = await inside_async(netns, lambda: [(door, _sockets(port)) for port, door in doors.items()])
        loop = asyncio.get_running_loop()
        for door, (datagrams, streams) in made:
            for one in datagrams:
                transport, _ = await loop.create_datagram_endpoint(partial(_Datagrams, self, door), sock=one)
                entry.transports.append(transport)
            for one in streams:
                entry.servers.append(await asyncio.start_server(self._connected(entry, door), sock=one))

    async def stop_serving(self, pod: str) -> None:
        """Close the pod's sockets."""
        entry = self._pods.pop(pod, None)
        if entry is not None:
            for transport in entry.transports:
                transport.close()
            for server in entry.servers:
                server.close()

    async def close(self) -> None:
        """Close everything."""
        for pod in list(self._pods):
            await self.stop_serving(pod)
        for task in list(self._tasks):
            task.cancel()

    def begin(self, door: _Door, message: bytes, transport: asyncio.DatagramTransport, sender: tuple[Any, ...]) -> None:
        """Answer one datagram."""
        try:
            asked = query(message)
        except MalformedQuery:
            return
        known = self._known(door, asked)
        if known is not None:
            transport.sendto(truncated(asked, known), sender)
            return

        async def forwarded() -> None:
            found = await self._elsewhere(door, asked, message, is_stream=False)
            if not transport.is_closing():
                transport.sendto(truncated(asked, found) if len(found) > asked.limit_bytes else found, sender)

        task = asyncio.get_running_loop().create_task(forwarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _known(self, door: _Door, asked: Query) -> bytes | None:
        """The answer that needs no one else. None: somebody must be asked."""
        found = self.names.answer(asked.name, door.namespace, door.is_proxy)
        if isinstance(found, tuple):
            return answer(asked, NO_ERROR, _shuffled(found), _TTL_S)
        return answer(asked, NO_SUCH_NAME) if found is Unknown.NO_SUCH_NAME else None

    async def _elsewhere(self, door: _Door, asked: Query, message: bytes, *, is_stream: bool) -> bytes:
        if self._pending >= _PENDING:
            return answer(asked, SERVER_FAILURE)
        self._pending += 1
        try:
            found = self.names.answer(asked.name, door.namespace, door.is_proxy)
            if isinstance(found, Alias):
                return await self._aliased(door, asked, found.target)
            return await self._asked_upstream(message, is_stream=is_stream) or answer(asked, SERVER_FAILURE)
        finally:
            self._pending -= 1

    async def _aliased(self, door: _Door, asked: Query, target: str) -> bytes:
        """The addresses of the name behind an ExternalName, with the name."""
        inner = self.names.answer(target, door.namespace, door.is_proxy)
        if isinstance(inner, tuple):
            return answer(asked, NO_ERROR, inner, _TTL_S, target)
        if asked.kind not in (A, AAAA) or inner is Unknown.NO_SUCH_NAME or isinstance(inner, Alias):
            return answer(asked, NO_ERROR, (), _TTL_S, target)
        try:
            reply = await self._asked_upstream(encoded_query(target, asked.kind, secrets.randbits(16)), is_stream=False)
        except UnicodeEncodeError:
            reply = None
        return answer(asked, SERVER_FAILURE) if reply is None else answer(asked, NO_ERROR, addresses(reply), _TTL_S, target)

    async def _asked_upstream(self, message: bytes, *, is_stream: bool) -> bytes | None:
        """The answer of this machine's servers. None: none of them gives one."""
        identifier = struct.unpack_from("!H", message)[0]
        sent = renumbered(message, secrets.randbits(16))
        for _ in range(_ROUNDS):
            for server in self._upstream:
                try:
                    async with asyncio.timeout(_UPSTREAM_TIMEOUT_S):
                        reply = await (_over_tcp if is_stream else _over_udp)(server, self._port, sent)
                        return renumbered(reply, identifier)
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    continue
        return None

    def _connected(self, entry: _Pod, door: _Door) -> Any:  # what asyncio.start_server takes
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            entry.connections += 1
            try:
                while entry.connections <= _TCP_CONNECTIONS:
                    async with asyncio.timeout(_TCP_IDLE_S):
                        length = struct.unpack("!H", await reader.readexactly(2))[0]
                        message = await reader.readexactly(length)
                    asked = query(message)
                    found = self._known(door, asked) or await self._elsewhere(door, asked, message, is_stream=True)
                    writer.write(struct.pack("!H", len(found)) + found)
                    await writer.drain()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, MalformedQuery):
                pass
            finally:
                entry.connections -= 1
                writer.close()

        return serve


class _Datagrams(asyncio.DatagramProtocol):
    """One UDP socket of one pod."""

    def __init__(self, server: DnsServer, door: _Door) -> None:
        self._server = server
        self._door = door
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Source: asyncio.DatagramProtocol."""
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no subclass of it in Python 3.11

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Source: asyncio.DatagramProtocol."""
        if self._transport is not None:
            self._server.begin(self._door, data, self._transport, addr)


class _Once(asyncio.DatagramProtocol):
    """Waits for the one answer to one question."""

    def __init__(self, sent: bytes) -> None:
        self._identifier = sent[:2]
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Source: asyncio.DatagramProtocol."""
        if data[:2] == self._identifier and not self.reply.done():
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Source: asyncio.DatagramProtocol."""
        if not self.reply.done():
            self.reply.set_exception(exc)


async def _over_udp(server: str, port: int, message: bytes) -> bytes:
    transport, once = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Once(message), remote_addr=(server, port))
    try:
        transport.sendto(message)
        return await once.reply
    finally:
        transport.close()


async def _over_tcp(server: str, port: int, message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, port)
    try:
        writer.write(struct.pack("!H", len(message)) + message)
        return await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
    finally:
        writer.close()


def _sockets(port: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """UDP and TCP sockets on loopback, of both families where there are two. Runs inside the pod's network. OSError."""
    datagrams: list[socket.socket] = []
    streams: list[socket.socket] = []
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind, made in ((socket.SOCK_DGRAM, datagrams), (socket.SOCK_STREAM, streams)):
            one = socket.socket(family, kind | socket.SOCK_NONBLOCK)
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((host, port))
                if kind == socket.SOCK_STREAM:
                    one.listen(128)
            except OSError:
                one.close()
                if family == socket.AF_INET:
                    raise
                continue
            made.append(one)
    return datagrams, streams


def _shuffled(found: Sequence[str]) -> Sequence[str]:
    return random.sample(found, len(found)) if len(found) > 1 else found
