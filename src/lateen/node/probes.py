"""Asks an application whether it is well: HTTP, TCP, gRPC, and whether its ports listen. Called in a thread, by `local` inside the pod's network, by `agent`.

The question goes straight to the application's port, and Envoy is not involved. Source: Kubernetes, core/v1 Probe. Each function returns None if all is
well, else one line that says what is not.
"""

import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

_LISTEN = "0A"
_FIRST_GOOD, _FIRST_BAD = 200, 400
_MAX_BODY_BYTES = 10_240


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A GET. `scheme`: HTTP or HTTPS; `headers`: more of them, or others than ours."""

    host: str
    port: int
    path: str = "/"
    scheme: str = "HTTP"
    headers: tuple[tuple[str, str], ...] = ()


def _connected(host: str, port: int, timeout_s: float) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.settimeout(timeout_s)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


def _reason(error: OSError) -> str:
    return "it did not answer in time" if isinstance(error, TimeoutError) else (error.strerror or str(error))


def http(check: HttpCheck, timeout_s: float) -> str | None:
    """GET; well is a status from 200 to 399. Certificates are not checked, redirects not followed."""
    host, port = check.host, check.port
    shown = f"[{host}]" if ":" in host else host
    path = check.path if check.path.startswith("/") else f"/{check.path}"
    try:
        with _connected(host, port, timeout_s) as plain:
            connection = HTTPConnection(shown, port, timeout=timeout_s)
            connection.sock = _secured(plain) if check.scheme.upper() == "HTTPS" else plain
            headers = {"User-Agent": "kube-probe/lateen", "Accept": "*/*", "Connection": "close"} | dict(check.headers)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read(_MAX_BODY_BYTES)
    except HTTPException as error:
        return f"no HTTP answer from port {port}: {error!r}"
    except OSError as error:
        return f"no answer from port {port}: {_reason(error)}"
    return None if _FIRST_GOOD <= answer.status < _FIRST_BAD else f"port {port} answered with status {answer.status}"


def _secured(plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


def tcp(host: str, port: int, timeout_s: float) -> str | None:
    """A connection is all that is asked for."""
    try:
        _connected(host, port, timeout_s).close()
    except OSError as error:
        return f"port {port}: {_reason(error)}"
    return None


def grpc(host: str, port: int, service: str, timeout_s: float) -> str | None:
    """grpc.health.v1.Health/Check must say SERVING. `service` empty: the server as a whole.

    One call over a bare socket: gRPC's own client opens its sockets from threads of its own, which are not in a pod's network.
    """
    try:
        with _connected(host, port, timeout_s) as connection:
            connection.sendall(_health_request(service, f"{host}:{port}"))
            message = _first_message(connection)
    except OSError as error:
        return f"no answer from port {port}: {_reason(error)}"
    if message is None:
        return f"port {port} has no health service, or does not know the service: {service or '(all)'}"
    return None if message.startswith(b"\x08\x01") else f"port {port} says it is not serving"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Source: RFC 9113, 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _health_request(service: str, authority: str) -> bytes:
    """Preface, empty SETTINGS, one request. Source: RFC 9113; RFC 7541, 6.2.2 (literals that no one remembers)."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
    block = b"".join(b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode() for name, value in fields)
    name = service.encode()[:120]
    body = b"\x0a" + bytes((len(name),)) + name if name else b""
    headers, data, end_headers, end_stream = 1, 0, 4, 1
    message = b"\x00" + struct.pack(">I", len(body)) + body
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(headers, end_headers, 1, block) + _frame(data, end_stream, 1, message)


def _first_message(connection: socket.socket) -> bytes | None:
    """The first message of the answer. None: it ended without one."""
    data, headers, reset, settings, goaway = 0, 1, 3, 4, 7
    received = b""
    while True:
        head = _exactly(connection, 9)
        if head is None:
            return None
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = _exactly(connection, length)
        if payload is None or kind in (reset, goaway):
            return None
        if kind == settings and not flags & 1:
            connection.sendall(_frame(settings, 1, 0, b""))
        if kind == data:
            received += payload
            if len(received) >= 5 and len(received) >= 5 + int.from_bytes(received[1:5], "big"):
                return received[5:]
        if kind in (data, headers) and flags & 1:
            return None


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    content = b""
    while len(content) < count:
        part = connection.recv(count - len(content))
        if not part:
            return None
        content += part
    return content


def listens(ports: Iterable[int], pid: int) -> str | None:
    """Whether every one of these TCP ports has a listener in the network of `pid`. Nothing is sent to the application."""
    wanted = set(ports)
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN:
                wanted.discard(int(fields[1].rpartition(":")[2], 16))
    return None if not wanted else f"nothing listens on port {', '.join(map(str, sorted(wanted)))} yet"
