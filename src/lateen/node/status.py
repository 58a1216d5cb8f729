"""What answers at a pod's status port: whether its proxy is ready, and the metrics of proxy and application in one page. Called by whoever runs pods.

Source: Istio, its agent's port (ProxyConfig.statusPort): `/healthz/ready`, `/stats/prometheus`, `/quitquitquit`.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import structlog

from lateen.node.admin import Admin, AdminUnreachable, Answer, exchanged
from lateen.node.netns import inside_async

READY, STATS, QUIT = "/healthz/ready", "/stats/prometheus", "/quitquitquit"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
MERGE: Final = "prometheus.istio.io/merge-metrics"
"""Annotation of a pod: `false` keeps the application's metrics apart. Source: Istio."""
STATUS_PORT: Final = "status.sidecar.istio.io/port"
"""Annotation of a pod: its status port. Source: Istio."""
_LARGEST_HEAD: Final = 16384
_LARGEST_PAGE: Final = 64 << 20
"""Of an application's metrics: beyond that they are left out, so that none can fill the node."""
_TIMEOUT_S: Final = 10.0
_CONNECTIONS: Final = 16
"""Per pod: scrapers and probes are few."""
_WORDS: Final = {200: "OK", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_log = structlog.get_logger("node.status")


@dataclass(frozen=True)
class Scrape:
    """Where an application tells its metrics."""

    port: int = 80
    path: str = "/metrics"


def scrape_of(annotations: Mapping[str, str], own_port: int) -> Scrape | None:
    """What a pod's annotations say of its metrics; None: nothing, or nothing possible. Source: Istio, metrics merging: `prometheus.io/…`."""
    said = {name: annotations[f"prometheus.io/{name}"].strip() for name in ("scrape", "port", "path") if f"prometheus.io/{name}" in annotations}
    if not said or said.get("scrape", "").lower() in ("false", "f", "0"):
        return None
    port, path = said.get("port", "") or "80", said.get("path", "") or "/metrics"
    if not (port.isdigit() and 0 < int(port) <= 65535) or int(port) == own_port or not re.fullmatch(r"[!-~]+", path):
        return None
    return Scrape(int(port), path if path.startswith("/") else f"/{path}")


def is_merged(annotations: Mapping[str, str], configured: bool) -> bool:
    """Whether a pod's application tells its metrics with its proxy's: as its own annotation says, else as configured."""
    said = annotations.get(MERGE, "").strip().lower()
    return said in ("true", "t", "1") if said in ("true", "t", "1", "false", "f", "0") else configured


def port_of(annotations: Mapping[str, str], configured: int) -> int:
    """A pod's status port: its own annotation's, if that is one, else the configured one. 0: none."""
    said = annotations.get(STATUS_PORT, "").strip()
    return int(said) if said.isdigit() and int(said) <= 65535 else configured


@dataclass(frozen=True)
class Subject:
    """A pod that tells its status. `netns`: path of its network namespace. `scrape` None: the proxy's metrics alone are told."""

    pod: str
    netns: str
    port: int
    is_ready: Callable[[], bool]
    admin: Admin
    scrape: Scrape | None = None


class StatusServer:
    """The status port of one pod. A node that ends takes it along, the next one opens it again."""

    def __init__(self, subject: Subject) -> None:
        """Nothing is opened yet."""
        self._subject = subject
        self._servers: list[asyncio.Server] = []
        self._connections = 0

    async def start(self) -> None:
        """Listen. OSError. Fine if it does already."""
        if not self._servers:
            for one in await inside_async(self._subject.netns, lambda: _sockets(self._subject.port)):
                self._servers.append(await asyncio.start_server(self._connected, sock=one, limit=_LARGEST_HEAD))

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            async with asyncio.timeout(3 * _TIMEOUT_S):
                await self._serve(reader, writer)
        except (OSError, ValueError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or asked for nothing
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        peer = writer.get_extra_info("peername")[0]
        answer = Answer(503, b"too many at once\n") if self._connections > _CONNECTIONS else await self._answer(method, target, peer)
        start = f"HTTP/1.1 {answer.status} {_WORDS[answer.status]}\r\ncontent-type: {TEXT}\r\ncontent-length: {len(answer.body)}\r\nconnection: close\r\n\r\n"
        writer.write(start.encode() + (b"" if method == "HEAD" else answer.body))
        await writer.drain()

    async def _answer(self, method: str, target: str, peer: str) -> Answer:
        path, _, query = target.partition("?")
        if path == QUIT:
            return _quit(method, peer)
        if path not in (READY, STATS):
            return Answer(404, b"")
        if method not in ("GET", "HEAD"):
            return Answer(405, b"")
        if path == READY:
            return Answer(200, b"") if self._subject.is_ready() else Answer(503, b"the proxy is not ready\n")
        return await self._metrics(query)

    async def _metrics(self, query: str) -> Answer:
        """The proxy's and then the application's. What cannot be had is left out, as there is nobody who could tell."""
        subject = self._subject
        found = await asyncio.gather(self._own(f"{STATS}?{query}" if query else STATS), self._application() if subject.scrape else _nothing())
        return Answer(200, b"".join(part if not part or part.endswith(b"\n") else part + b"\n" for part in found))

    async def _own(self, target: str) -> bytes:
        try:
            found = await self._subject.admin.ask("GET", target, _TIMEOUT_S)
        except AdminUnreachable:
            return b""
        return found.body if found.status == 200 else b""

    async def _application(self) -> bytes:
        scrape = self._subject.scrape or Scrape()
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    found = await self._ask(family, host, scrape)
            except ConnectionRefusedError:
                continue
            except (OSError, ValueError, TimeoutError) as error:
                _log.warning("the application's metrics are left out", pod=self._subject.pod, port=scrape.port, reason=str(error) or "timeout")
                return b""
            if found.status == 200 and len(found.body) <= _LARGEST_PAGE:
                return found.body
            _log.warning("the application's metrics are left out", pod=self._subject.pod, port=scrape.port, status=found.status, size_bytes=len(found.body))
            return b""
        return b""

    async def _ask(self, family: socket.AddressFamily, host: str, scrape: Scrape) -> Answer:
        made = await inside_async(self._subject.netns, lambda: socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        try:
            await asyncio.get_running_loop().sock_connect(made, (host, scrape.port))
            reader, writer = await asyncio.open_connection(sock=made, limit=_LARGEST_HEAD)
        except BaseException:
            made.close()
            raise
        try:
            authority = f"[{host}]:{scrape.port}" if ":" in host else f"{host}:{scrape.port}"
            return await exchanged(reader, writer, "GET", scrape.path, (("host", authority), ("accept", TEXT)), _LARGEST_PAGE)
        finally:
            writer.close()


async def _nothing() -> bytes:
    return b""


def _quit(method: str, peer: str) -> Answer:
    """Jobs ask their proxy to go when they have done. A Job's proxy goes with its application here, so this is granted, and nothing is left to do."""
    if not ip_address(peer).is_loopback and not (":" in peer and peer.startswith("::ffff:127.")):
        return Answer(403, b"only for the pod itself\n")
    return Answer(200, b"OK") if method == "POST" else Answer(405, b"")


def _sockets(port: int) -> list[socket.socket]:
    """One for both families where there are two. Runs inside the pod's network. OSError."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return [_listening(socket.AF_INET6, ("::", port))]
    return [_listening(socket.AF_INET, ("0.0.0.0", port))]


def _listening(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind(address)
        one.listen(64)
    except OSError:
        one.close()
        raise
    return one
