"""DNS messages, as much of them as the node reads and writes itself: one question, address answers. Called by `node.dns`. Source: RFC 1035, RFC 6891."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

A: Final = 1
CNAME: Final = 5
AAAA: Final = 28
_OPT: Final = 41
_INTERNET: Final = 1
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
_SMALLEST_BYTES: Final = 512
_LARGEST_BYTES: Final = 4096
_RESPONSE, _TRUNCATED, _DESIRED, _AVAILABLE, _AUTHORITATIVE = 0x8000, 0x0200, 0x0100, 0x0080, 0x0400
_JUMPS: Final = 64
"""Compression pointers followed in one name; a loop has more."""


class MalformedQuery(Exception):
    """Not a query with one question."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `name`: lower case, without the last dot. `question`: its bytes, given back as they came. `limit_bytes`: largest answer over UDP."""

    identifier: int
    flags: int
    name: str
    kind: int
    question: bytes
    limit_bytes: int


def query(message: bytes) -> Query:
    """Read a query. MalformedQuery."""
    try:
        identifier, flags, questions, _, _, additional = struct.unpack_from("!6H", message)
        if flags & _RESPONSE or questions != 1:
            raise MalformedQuery
        name, at = _name(message, 12)
        kind, _ = struct.unpack_from("!2H", message, at)
        end = at + 4
        limit = _SMALLEST_BYTES
        if additional and message[end : end + 1] == b"\0":
            extra, size = struct.unpack_from("!2H", message, end + 1)
            if extra == _OPT:
                limit = min(_LARGEST_BYTES, max(_SMALLEST_BYTES, size))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MalformedQuery from error
    return Query(identifier, flags, name.lower(), kind, message[12:end], limit)


def _name(message: bytes, at: int) -> tuple[str, int]:
    """The name at `at`, and where the next thing begins."""
    labels: list[str] = []
    end = -1
    for _ in range(_JUMPS):
        length = message[at]
        if length >= 0xC0:
            end = at + 2 if end < 0 else end
            at = (length & 0x3F) << 8 | message[at + 1]
        elif length == 0:
            return ".".join(labels), at + 1 if end < 0 else end
        else:
            labels.append(message[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
            if len(labels) > 128:
                break
    raise MalformedQuery


def _encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".") if label) + b"\0"


def answer(asked: Query, code: int, addresses: Sequence[str] = (), ttl_s: int = 30, alias: str = "") -> bytes:
    """The answer to `asked`: those of `addresses` that are of the kind asked for. `alias`: the name they really belong to."""
    owner = b"\xc0\x0c"
    records = []
    if alias:
        target = _encoded(alias)
        records.append(owner + struct.pack("!HHIH", CNAME, _INTERNET, ttl_s, len(target)) + target)
        owner = target
    for address in addresses:
        packed = ip_address(address).packed
        if asked.kind == (A if len(packed) == 4 else AAAA):
            records.append(owner + struct.pack("!HHIH", asked.kind, _INTERNET, ttl_s, len(packed)) + packed)
    flags = _RESPONSE | _AUTHORITATIVE | _AVAILABLE | (asked.flags & _DESIRED) | code
    return struct.pack("!6H", asked.identifier, flags, 1, len(records), 0, 0) + asked.question + b"".join(records)


def truncated(asked: Query, message: bytes) -> bytes:
    """What fits into one UDP answer: the message itself, or its head with the sign to ask again over TCP."""
    if len(message) <= asked.limit_bytes:
        return message
    flags = struct.unpack_from("!H", message, 2)[0] | _TRUNCATED
    return struct.pack("!6H", asked.identifier, flags, 1, 0, 0, 0) + asked.question


def renumbered(message: bytes, identifier: int) -> bytes:
    """The same message under another identifier."""
    return struct.pack("!H", identifier) + message[2:]


def encoded_query(name: str, kind: int, identifier: int) -> bytes:
    """A query of our own. UnicodeEncodeError: not a name."""
    return struct.pack("!6H", identifier, _DESIRED, 1, 0, 0, 0) + _encoded(name) + struct.pack("!2H", kind, _INTERNET)


def addresses(message: bytes) -> tuple[str, ...]:
    """The addresses in an answer, whatever their owner. Empty: none, or the message makes no sense."""
    found = []
    try:
        _, _, questions, answers, _, _ = struct.unpack_from("!6H", message)
        at = 12
        for _ in range(questions):
            at = _name(message, at)[1] + 4
        for _ in range(answers):
            at = _name(message, at)[1]
            kind, _, _, length = struct.unpack_from("!HHIH", message, at)
            at += 10
            if (kind, length) in ((A, 4), (AAAA, 16)):
                found.append(str(ip_address(message[at : at + length])))
            at += length
    except (struct.error, IndexError, MalformedQuery, UnicodeDecodeError):
        return ()
    return tuple(found)
