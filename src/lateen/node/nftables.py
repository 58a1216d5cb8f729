"""Packet rules by netlink: one nftables table for both families, replaced in one transaction. Needs no installed tool.

Called by `node.redirect`, in a thread inside the namespace. pyroute2 knows how the messages look; the transaction is ours, since it commits message by message.
"""

import os
import socket
import struct
from collections.abc import Iterable
from typing import Any, Final, assert_never

from pyroute2.netlink import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, nlmsg
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFT_MSG_DELTABLE,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWTABLE,
    Cmp,
    Meta,
    Regs,
    nft_chain_msg,
    nft_rule_msg,
    nft_table_msg,
)
from pyroute2.nftables.expressions import genex

from lateen.node.packets import (
    Chain,
    Condition,
    Destination,
    Hook,
    InInterface,
    Jump,
    Leave,
    Network,
    OutInterface,
    Ports,
    Redirect,
    Rule,
    Sender,
    SentBy,
    Source,
    Transport,
)

TABLE: Final = "lateen"
_INET: Final = 1
_NETLINK_NETFILTER: Final = 12
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_HOOK_NUMBERS: Final = {Hook.PREROUTING: 0, Hook.OUTPUT: 3}
_NAT_PRIORITY: Final = -100
_ACCEPT: Final = 1
_JUMP: Final = -3
_RETURN: Final = -5
_NETWORK_HEADER: Final = 1
_TRANSPORT_HEADER: Final = 2
_FAMILY: Final = {4: 2, 6: 10}
_ADDRESS_AT: Final = {(4, True): 12, (4, False): 16, (6, True): 8, (6, False): 24}
"""Where the source (True) and destination (False) address lie in the network header."""
_SENDERS: Final = {Sender.MARK: Meta.NFT_META_MARK, Sender.USER: Meta.NFT_META_SKUID, Sender.GROUP: Meta.NFT_META_SKGID}
_TIMEOUT_S: Final = 5.0
_Expression = dict[str, Any]
"""One nftables expression, as pyroute2 takes it."""


def replace_table(chains: Iterable[Chain]) -> None:
    """Puts `chains` into the current namespace, instead of what an earlier call put there, in one step. Raises OSError."""
    requests = [_table(NFT_MSG_NEWTABLE), _table(NFT_MSG_DELTABLE), _table(NFT_MSG_NEWTABLE)]
    listed = tuple(chains)
    requests += [_chain(chain) for chain in listed]
    requests += [_rule(chain.name, rule) for chain in listed for rule in chain.rules]
    _commit(requests)


def delete_table() -> None:
    """Removes what `replace_table` put into the current namespace, if anything. Raises OSError."""
    _commit([_table(NFT_MSG_NEWTABLE), _table(NFT_MSG_DELTABLE)])


def _table(kind: int) -> nlmsg:
    return _message(nft_table_msg(), kind, [["NFTA_TABLE_NAME", TABLE]])


def _chain(chain: Chain) -> nlmsg:
    attributes: list[Any] = [["NFTA_CHAIN_TABLE", TABLE], ["NFTA_CHAIN_NAME", chain.name]]
    if chain.hook is not None:
        hook = {"attrs": [["NFTA_HOOK_HOOKNUM", _HOOK_NUMBERS[chain.hook]], ["NFTA_HOOK_PRIORITY", _NAT_PRIORITY]]}
        attributes += [["NFTA_CHAIN_TYPE", "nat"], ["NFTA_CHAIN_HOOK", hook], ["NFTA_CHAIN_POLICY", _ACCEPT]]
    return _message(nft_chain_msg(), NFT_MSG_NEWCHAIN, attributes)


def _rule(chain: str, rule: Rule) -> nlmsg:
    expressions: list[_Expression] = []
    if rule.version is not None:
        expressions += _meta(Meta.NFT_META_NFPROTO, bytes([_FAMILY[rule.version]]))
    for condition in rule.conditions:
        expressions += _condition(condition)
    match rule.verdict:
        case Leave():
            expressions.append(_verdict(_RETURN))
        case Jump(target):
            expressions.append(_verdict(_JUMP, target))
        case Redirect(port):
            expressions += [
                genex("immediate", {"dreg": Regs.NFT_REG_1, "data": _data(struct.pack("!H", port))}),
                genex("redir", {"reg_proto_min": Regs.NFT_REG_1}),
            ]
        case _:
            assert_never(rule.verdict)
    attributes = [["NFTA_RULE_TABLE", TABLE], ["NFTA_RULE_CHAIN", chain], ["NFTA_RULE_EXPRESSIONS", expressions]]
    return _message(nft_rule_msg(), NFT_MSG_NEWRULE, attributes)


def _condition(condition: Condition) -> list[_Expression]:
    match condition:
        case Transport():
            return _meta(Meta.NFT_META_L4PROTO, bytes([condition.value]))
        case Ports(ports, is_negated):
            if not is_negated and len(ports) != 1:
                raise ValueError("one port per rule, unless negated")
            load = genex("payload", {"dreg": Regs.NFT_REG_1, "base": _TRANSPORT_HEADER, "offset": 2, "len": 2})
            return [load, *(_compare(struct.pack("!H", port), is_negated) for port in ports)]
        case Source(network):
            return _address(network, is_source=True, is_negated=False)
        case Destination(network, is_negated):
            return _address(network, is_source=False, is_negated=is_negated)
        case InInterface(name):
            return _meta(Meta.NFT_META_IIFNAME, name.encode().ljust(16, b"\0"))
        case OutInterface(name):
            return _meta(Meta.NFT_META_OIFNAME, name.encode().ljust(16, b"\0"))
        case SentBy(kind, number, is_negated):
            return _meta(_SENDERS[kind], struct.pack("=I", number), is_negated)
        case _:
            assert_never(condition)


def _address(network: Network, *, is_source: bool, is_negated: bool) -> list[_Expression]:
    size = network.max_prefixlen // 8
    offset = _ADDRESS_AT[network.version, is_source]
    load = genex("payload", {"dreg": Regs.NFT_REG_1, "base": _NETWORK_HEADER, "offset": offset, "len": size})
    mask = {"sreg": Regs.NFT_REG_1, "dreg": Regs.NFT_REG_1, "len": size, "mask": _data(network.netmask.packed), "xor": _data(bytes(size))}
    return [load, genex("bitwise", mask), _compare(network.network_address.packed, is_negated)]


def _meta(key: int, value: bytes, is_negated: bool = False) -> list[_Expression]:
    return [genex("meta", {"dreg": Regs.NFT_REG_1, "key": key}), _compare(value, is_negated)]


def _compare(value: bytes, is_negated: bool) -> _Expression:
    made: _Expression = genex("cmp", {"sreg": Regs.NFT_REG_1, "op": Cmp.NFT_CMP_NEQ if is_negated else Cmp.NFT_CMP_EQ, "data": _data(value)})
    return made


def _data(value: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", value)]}


def _verdict(code: int, chain: str = "") -> _Expression:
    attributes: list[Any] = [("NFTA_VERDICT_CODE", code)]
    if chain:
        attributes.append(("NFTA_VERDICT_CHAIN", chain))
    made: _Expression = genex("immediate", {"dreg": Regs.NFT_REG_VERDICT, "data": {"attrs": [("NFTA_DATA_VERDICT", {"attrs": attributes})]}})
    return made


def _message(message: nlmsg, kind: int, attributes: list[Any]) -> nlmsg:
    message["attrs"] = attributes
    message["nfgen_family"] = _INET
    message["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | kind
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | (0 if kind == NFT_MSG_DELTABLE else NLM_F_CREATE | NLM_F_APPEND)
    return message


def _bound(kind: int) -> nlmsg:
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST
    return message


def _commit(requests: list[nlmsg]) -> None:
    """Sends one batch and reads every acknowledgement. Raises OSError with the first refusal; then the kernel has changed nothing."""
    batch = bytearray()
    for sequence, message in enumerate([_bound(_BATCH_BEGIN), *requests, _bound(_BATCH_END)]):
        message["header"]["sequence_number"] = sequence
        message.encode()
        batch += message.data
    pending = set(range(1, len(requests) + 1))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(_TIMEOUT_S)
        netlink.bind((0, 0))
        netlink.send(batch)
        while pending:
            for sequence, error in _acknowledgements(netlink.recv(65536)):
                if error:
                    raise OSError(error, f"nftables refused step {sequence}: {os.strerror(error)}")
                pending.discard(sequence)


def _acknowledgements(data: bytes) -> Iterable[tuple[int, int]]:
    """(sequence, error number or 0) of each acknowledgement in what the kernel sent."""
    at = 0
    while at + 16 <= len(data):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, at)
        if kind == 2:
            (error,) = struct.unpack_from("=i", data, at + 16)
            yield sequence, -error
        at += max(16, length + 3 & ~3)
