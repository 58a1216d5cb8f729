"""The calls of a case, made as real connections: HTTP/1.1, HTTP/2 by hand-made frames, bytes; plaintext, TLS, TLS with a client certificate."""

import asyncio
import contextlib
import itertools
import re
import socket
import ssl
import struct
from dataclasses import dataclass, replace

import arena

from lateen.insight.simulate.call import Call, ClientTls, Direction, Speech

SO_MARK = 36
CALL_TIMEOUT_S = 5.0
PORTS = itertools.cycle(range(2000, 60000))
"""Ports of the client's own choice, none used twice within minutes: where the kernel still remembers one, redirection changes it, and the access log names another."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"})
"""What Envoy's HTTP/1 codec knows. A call with another method is made over HTTP/2, which takes any."""
AUTHORITY = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:@\[\]-]*")
"""Characters of an authority, RFC 3986. Envoy refuses others with 400."""
UNKNOWN_BYTES = b"\x00\x01\x02 bytes of no protocol \xff\n"


@dataclass
class Seen:
    """What the client saw. `port`: its own, by which the access log names the call; 0: never connected. `answer`: the first bytes that came back."""

    port: int = 0
    is_refused: bool = False
    error: str = ""
    answer: bytes = b""


@dataclass
class Identity:
    """Files of the client's certificate, and the server certificate (DER) that mesh workloads show here."""

    chain: str
    key: str
    mesh_certificate: bytes


@dataclass(frozen=True)
class Manner:
    """How a client goes about a call. `greets`: with a PROXY header before everything else. `expects_mesh`: a mesh client leaves where the server shows another certificate than
    the mesh's; one that brings what a gateway's MUTUAL server accepts does not. `patience_s`: how long it waits for the answer."""

    greets: bool = False
    expects_mesh: bool = True
    patience_s: float = CALL_TIMEOUT_S


def spoken(call: Call) -> Call:
    """The call as a client can say it: HTTP/2 has no empty authority, so one that names no host names the address."""
    if speech(call) is not Speech.HTTP2 or call.host:
        return call
    return replace(call, host=f"[{call.address}]:{call.port}" if ":" in call.address else f"{call.address}:{call.port}")


def speech(call: Call) -> Speech:
    """How the call is spoken on the wire."""
    needs_http2 = call.speech is Speech.HTTP and call.method not in METHODS and call.alpn != "http/1.1"
    return Speech.HTTP2 if needs_http2 else call.speech


def is_malformed(call: Call) -> bool:
    """Whether it is no request of HTTP, which Envoy's codec refuses before any configuration is looked at: a path that begins with no `/`, a host that is none (an IPv6 address without brackets),
    a method that an HTTP/1.1 codec does not know."""
    if call.speech is Speech.TCP:
        return False
    if call.host.count(":") > 1 and not call.host.startswith("["):
        return True
    return not call.path.startswith("/") or not AUTHORITY.fullmatch(call.host) or (speech(call) is Speech.HTTP and call.method not in METHODS)


async def made(call: Call, identity: Identity, manner: Manner) -> Seen:
    """Makes the call; never raises for what the network does."""
    seen = Seen()
    try:
        async with asyncio.timeout(manner.patience_s):
            await _make(call, identity, seen, manner)
    except TimeoutError:
        seen.error = "timeout"
    except (OSError, asyncio.IncompleteReadError) as error:
        seen.error = f"{type(error).__name__}: {error}"
        seen.is_refused = isinstance(error, ConnectionRefusedError)
    return seen


async def _make(call: Call, identity: Identity, seen: Seen, manner: Manner) -> None:
    family = socket.AF_INET6 if ":" in call.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    marks = {Direction.OUTBOUND: arena.OUTBOUND, Direction.INBOUND: arena.INBOUND, Direction.GATEWAY: 0}
    if mark := marks[call.direction]:
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    if family == socket.AF_INET:
        _bind(sock)
    # made before it connects: from then on, Envoy waits 200 ms for the first bytes
    secure = {} if call.tls is ClientTls.PLAINTEXT else {"ssl": _context(call, identity), "server_hostname": call.sni}
    await asyncio.get_running_loop().sock_connect(sock, (call.address, call.port))
    seen.port = sock.getsockname()[1]
    if manner.greets:
        kind = "TCP6" if family == socket.AF_INET6 else "TCP4"
        greeting = f"PROXY {kind} {sock.getsockname()[0]} {call.address} {seen.port} {call.port}\r\n"
        await asyncio.get_running_loop().sock_sendall(sock, greeting.encode())
    reader, writer = await asyncio.open_connection(sock=sock, **secure)
    try:
        if manner.expects_mesh and call.tls is ClientTls.MTLS and call.alpn.startswith("istio") and call.direction is not Direction.INBOUND:
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            if shown != identity.mesh_certificate:
                seen.error = "not a certificate of the mesh"
                return
        writer.write(_request(call))
        await writer.drain()
        if speech(call) is Speech.HTTP2:
            seen.answer = await _http2_answer(reader)
        else:
            while not is_whole(seen.answer) and (chunk := await reader.read(65536)):
                seen.answer += chunk
    finally:
        writer.close()
        with contextlib.suppress(Exception):
            await writer.wait_closed()


def is_whole(answer: bytes) -> bool:
    """Whether an HTTP/1.1 answer with a length has come to its end: Envoy keeps a connection open for a second after some."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    return bool(end and answer.startswith(b"HTTP/1.1 ") and length and len(body) >= int(length[1]))


def _bind(sock: socket.socket) -> None:
    """To the next port that nobody has."""
    for port in itertools.islice(PORTS, 100):
        try:
            sock.bind((arena.SOURCE, port))
        except OSError:
            continue
        return


def _context(call: Call, identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if call.alpn:
        context.set_alpn_protocols([call.alpn])
    if call.tls is ClientTls.MTLS:
        context.load_cert_chain(identity.chain, identity.key)
    return context


def _request(call: Call) -> bytes:
    match speech(call):
        case Speech.TCP:
            return UNKNOWN_BYTES
        case Speech.HTTP:
            lines = [f"{call.method} {call.path} HTTP/1.1", f"host: {call.host}", *(f"{name}: {value}" for name, value in call.headers), "connection: close"]
            return ("\r\n".join(lines) + "\r\n\r\n").encode()
        case Speech.HTTP2:
            scheme = "http" if call.tls is ClientTls.PLAINTEXT else "https"
            pseudo = ((":method", call.method), (":scheme", scheme), (":path", call.path), (":authority", call.host))
            block = b"".join(_field(*pair) for pair in (*pseudo, *call.headers))
            return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 0x5, 1, block)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _field(name: str, value: str) -> bytes:
    return b"\x00" + _literal(name) + _literal(value)


def _literal(text: str) -> bytes:
    raw = text.encode()
    length = len(raw)
    if length < 127:
        return bytes([length]) + raw
    rest, encoded = length - 127, b"\x7f"
    while rest >= 128:
        encoded, rest = encoded + bytes([rest % 128 | 128]), rest // 128
    return encoded + bytes([rest]) + raw


async def _http2_answer(reader: asyncio.StreamReader) -> bytes:
    """All frames up to the end of stream 1, a reset of it, or the end of the connection."""
    answer = b""
    while True:
        head = await reader.read(9)
        while 0 < len(head) < 9:
            more = await reader.read(9 - len(head))
            if not more:
                return answer + head
            head += more
        if not head:
            return answer
        length, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")
        if length > 1 << 20:
            return answer + head
        answer += head + await reader.readexactly(length)
        if (stream == 1 and (kind == 3 or (kind in (0, 1) and flags & 1))) or kind == 7:
            return answer
