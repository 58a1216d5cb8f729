"""Envoy's admin socket, as far as the node and the command line need it.

Asks over the unix socket in the proxy's directory; nothing of it is reachable by applications.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lateen.base.errors import LateenError

TIMEOUT_S: Final = 5.0
"""Envoy answers from its main thread, which is busy for seconds only while it takes a very large configuration."""
_LONGEST_SOCKET_PATH: Final = 100


class AdminUnreachable(LateenError):
    """Envoy did not answer on its admin socket."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of one answer."""

    status: int
    body: bytes


class Admin:
    """The admin socket of one Envoy."""

    def __init__(self, socket: Path) -> None:
        """`socket` need not exist yet."""
        self._socket = socket

    async def ask(self, method: str, path: str, timeout_s: float = TIMEOUT_S) -> Answer:
        """One request. Raises AdminUnreachable."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await _connect(self._socket)
                try:
                    return await exchanged(reader, writer, method, path, (("host", "admin"), ("content-length", "0")))
                finally:
                    writer.close()
        except (OSError, ValueError, TimeoutError) as error:
            raise AdminUnreachable(f"Envoy does not answer on {self._socket}: {error or 'timeout'}") from None

    async def is_ready(self) -> bool:
        """Whether Envoy has its configuration and serves."""
        try:
            return (await self.ask("GET", "/ready", 1.0)).status == 200
        except AdminUnreachable:
            return False


async def exchanged(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, headers: Sequence[tuple[str, str]], most_bytes: int = -1
) -> Answer:
    """One request and its answer over a connection that is then done with. `most_bytes`: no more is read, and ValueError; -1: all. OSError."""
    lines = (f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "connection: close", "", "")
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    if most_bytes < 0:
        return _parsed(await reader.read(-1))
    found = bytearray()
    while part := await reader.read(65536):
        found += part
        if len(found) > most_bytes:
            raise ValueError(f"more than {most_bytes} bytes")
    return _parsed(bytes(found))


async def _connect(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if len(str(socket)) <= _LONGEST_SOCKET_PATH:
        return await asyncio.open_unix_connection(str(socket))
    directory = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{socket.name}")
    finally:
        os.close(directory)


def _parsed(raw: bytes) -> Answer:
    """Raises ValueError for what is no HTTP answer."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("no answer")
    lines = head.split(b"\r\n")
    is_chunked = any(line.lower().replace(b" ", b"") == b"transfer-encoding:chunked" for line in lines[1:])
    return Answer(int(lines[0].split()[1]), _joined(body) if is_chunked else body)


def _joined(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if length == 0:
            break
        parts.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(parts)
