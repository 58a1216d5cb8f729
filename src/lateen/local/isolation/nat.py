"""Address translation by netlink: pods reach the outside as this machine, and whatever no proxy takes reaches Services by their addresses.

Called by `namespaces`, each time with all there is: a table is replaced in one transaction, so no connection meets half of it. What a pod's proxy takes is
decided before, by the rules of `node.redirect`. Messages are encoded here: they are the same for every pod, and a general library takes a millisecond per rule.
"""

import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from typing import Final

SERVICES: Final = "lateen-services"
_FAMILIES: Final = {4: 2, 6: 10}
_DESTINATION: Final = {4: (16, 4), 6: (24, 16)}
"""Offset and length in the network header."""
_PROTOCOLS: Final = {"TCP": 6, "UDP": 17}
_OUTPUT, _POSTROUTING = 3, 4
_AFTER_REDIRECTION, _SOURCE_NAT = -99, 100
"""Priorities: what `node.redirect` (-100) sends to the proxy is not looked at again."""
_NETFILTER: Final = 12
_SUBSYSTEM: Final = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 2, 3, 6
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NESTED: Final = 0x8000
_REGISTER_1, _REGISTER_2 = 1, 2
_L4PROTO, _OIFNAME = 16, 7
_NETWORK, _TRANSPORT = 1, 2
_EQUAL, _NOT_EQUAL = 0, 1
_DNAT, _RANDOM = 1, 1
_ERROR: Final = 2
_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, order=True)
class Forward:
    """Connections to a Service's address and port go to one of `targets` (address, port), each as often as the others. Empty: they are left alone."""

    address: str
    protocol: str
    port: int
    targets: tuple[tuple[str, int], ...]


def masquerade(table: str, bridge: str, network: IPv4Network) -> bytes:
    """The transaction after which what leaves `network` by another link than the bridge carries this machine's address."""
    rule = (
        _expression("payload", _numbers(_REGISTER_1, _NETWORK, 12, 4)),
        _expression("bitwise", _numbers(_REGISTER_1, _REGISTER_1, 4) + _data(4, network.netmask.packed) + _data(5, bytes(4))),
        _compare(network.network_address.packed),
        _expression("meta", _numbers(_REGISTER_1, _OIFNAME)),
        _compare(bridge.encode().ljust(16, b"\0"), _NOT_EQUAL),
        _expression("masq", b""),
    )
    return _batch(_replaced(table, 4, (_POSTROUTING, _SOURCE_NAT), [rule]))


def forward(forwards: Iterable[Forward]) -> bytes:
    """The transaction after which a pod's network has these forwards and no others."""
    wanted = sorted(each for each in forwards if each.targets and each.protocol in _PROTOCOLS)
    steps: list[tuple[int, int, bytes]] = []
    for version in _FAMILIES:
        rules = [rule for each in wanted if ip_address(each.address).version == version for rule in _forward(each, version)]
        steps += _replaced(SERVICES, version, (_OUTPUT, _AFTER_REDIRECTION), rules)
    return _batch(steps)


def removed(table: str) -> bytes:
    """The transaction that removes what `masquerade` made."""
    return _batch([_table(table, 4, _NEW_TABLE), _table(table, 4, _DELETE_TABLE)])


def commit(transaction: bytes) -> None:
    """Do a transaction in the network namespace this thread is in. OSError: refused, then nothing has changed."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER) as netlink:
        netlink.settimeout(_TIMEOUT_S)
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(transaction) + 65536)
        netlink.bind((0, 0))
        netlink.send(transaction)
        data = netlink.recv(65536)
    (error,) = struct.unpack_from("=i", data, 16)
    if struct.unpack_from("=H", data, 4)[0] == _ERROR and error:
        raise OSError(-error, f"nftables refused step {struct.unpack_from('=I', data, 8)[0]}: {os.strerror(-error)}")


def _forward(each: Forward, version: int) -> Iterable[tuple[bytes, ...]]:
    """One rule per target; each takes its share of what the rules before it have left."""
    offset, length = _DESTINATION[version]
    match = (
        _expression("payload", _numbers(_REGISTER_1, _NETWORK, offset, length)),
        _compare(ip_address(each.address).packed),
        _expression("meta", _numbers(_REGISTER_1, _L4PROTO)),
        _compare(bytes([_PROTOCOLS[each.protocol]])),
        _expression("payload", _numbers(_REGISTER_1, _TRANSPORT, 2, 2)),
        _compare(struct.pack("!H", each.port)),
    )
    targets = [target for target in each.targets if ip_address(target[0]).version == version]
    for index, (address, port) in enumerate(targets):
        left = len(targets) - index
        share = () if left == 1 else (_expression("numgen", _numbers(_REGISTER_1, left, _RANDOM, 0)), _compare(bytes(4)))
        yield (
            *match,
            *share,
            _expression("immediate", _numbers(_REGISTER_1) + _data(2, ip_address(address).packed)),
            _expression("immediate", _numbers(_REGISTER_2) + _data(2, struct.pack("!H", port))),
            _expression("nat", _numbers(_DNAT, _FAMILIES[version], _REGISTER_1) + _attribute(5, struct.pack("!I", _REGISTER_2))),
        )


# encoding. Source: Linux, uapi/linux/netfilter/nf_tables.h; attributes of an expression are numbered from 1 in the order given there.


def _attribute(kind: int, payload: bytes) -> bytes:
    length = len(payload) + 4
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def _nest(kind: int, payload: bytes) -> bytes:
    return _attribute(kind | _NESTED, payload)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _numbers(*values: int) -> bytes:
    return b"".join(_attribute(kind, struct.pack("!I", value)) for kind, value in enumerate(values, 1))


def _data(kind: int, value: bytes) -> bytes:
    return _nest(kind, _attribute(1, value))


def _expression(name: str, attributes: bytes) -> bytes:
    return _nest(1, _text(1, name) + _nest(2, attributes))


def _compare(value: bytes, how: int = _EQUAL) -> bytes:
    return _expression("cmp", _numbers(_REGISTER_1, how) + _data(3, value))


def _table(name: str, version: int, kind: int) -> tuple[int, int, bytes]:
    return (kind, version, _text(1, name))


def _replaced(table: str, version: int, place: tuple[int, int], rules: list[tuple[bytes, ...]]) -> list[tuple[int, int, bytes]]:
    """The steps that put a table of one nat chain at `place` (hook, priority) instead of the one of that name; no table if there are no rules."""
    steps = [_table(table, version, _NEW_TABLE), _table(table, version, _DELETE_TABLE)]
    if rules:
        hook = _attribute(1, struct.pack("!I", place[0])) + _attribute(2, struct.pack("!i", place[1]))
        chain = _text(1, table) + _text(3, "nat") + _nest(4, hook) + _text(7, "nat")
        steps += [_table(table, version, _NEW_TABLE), (_NEW_CHAIN, version, chain)]
    head = _text(1, table) + _text(2, "nat")
    return steps + [(_NEW_RULE, version, head + _nest(4, b"".join(rule))) for rule in rules]


def _batch(steps: list[tuple[int, int, bytes]]) -> bytes:
    """One transaction. Only its last step is acknowledged; a refusal comes for any."""
    parts = [_message(_BATCH_BEGIN, _REQUEST, 0, struct.pack("!BBH", 0, 0, 10))]
    for number, (kind, version, attributes) in enumerate(steps, 1):
        flags = _REQUEST | (0 if kind == _DELETE_TABLE else _CREATE | _APPEND) | (_ACK if number == len(steps) else 0)
        parts.append(_message(_SUBSYSTEM | kind, flags, number, struct.pack("!BBH", _FAMILIES[version], 0, 0) + attributes))
    return b"".join([*parts, _message(_BATCH_END, _REQUEST, len(steps) + 1, struct.pack("!BBH", 0, 0, 10))])


def _message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", len(payload) + 16, kind, flags, sequence, 0) + payload
