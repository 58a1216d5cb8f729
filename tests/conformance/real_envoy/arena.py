"""A network namespace in which every address is local: any call of a case can be made, and every connection of Envoy's own ends in a sink.

A client's socket says by its mark how its connection is captured: OUTBOUND to 15001, INBOUND to 15006 (or where `capture` says), none: not at all.
"""

import asyncio
import ctypes
import os
import socket
import struct
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.nfnetlink.nftsocket import Regs
from pyroute2.nftables.expressions import genex
from pyroute2.nftables.main import NFTables

OUTBOUND, INBOUND = 1, 2
SOURCE = "192.0.2.254"
ENVOY = 1337
SINK = 1500
CAPTURED_AT = (15001, 15006)
"""Where connections with the marks OUTBOUND and INBOUND end."""
_in_force: list[tuple[int, int]] = []
SINK_S = 5.0
_NEW_NETWORK = 0x40000000
_LOCAL_TABLE, _SCOPE_HOST = 255, 254
_META_MARK, _EQUAL, _ACCEPT = 3, 0, 1


def enter() -> None:
    """Moves this process into a network namespace of its own, which ends with it. OSError: not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with IPRoute() as links:
        lo = links.link_lookup(ifname="lo")[0]
        links.link("set", index=lo, state="up")
        links.addr("add", index=lo, address=SOURCE, prefixlen=32)
        links.route("add", dst="0.0.0.0/0", type="local", oif=lo, table=_LOCAL_TABLE, scope=_SCOPE_HOST)
        links.route("add", dst="::/0", type="local", oif=lo, table=_LOCAL_TABLE, family=socket.AF_INET6)
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("60001 65535")
    capture(*CAPTURED_AT)


def capture(outbound: int, inbound: int) -> None:
    """Connections with the marks OUTBOUND and INBOUND end at these ports from now on, Envoy's own in the sink."""
    if _in_force[-1:] == [(outbound, inbound)]:
        return
    for family in (2, 10):
        with NFTables(nfgen_family=family) as rules:
            rules.begin()
            if _in_force:
                rules.table("del", name="arena")
            rules.table("add", name="arena")
            rules.chain("add", table="arena", name="output", hook="output", type="nat", policy=_ACCEPT, priority=-100)
            for mark, port in ((OUTBOUND, outbound), (INBOUND, inbound), (ENVOY, SINK)):
                rules.rule("add", table="arena", chain="output", expressions=(_redirect(mark, port),))
            rules.commit()
    _in_force[:] = [(outbound, inbound)]


async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Whatever Envoy connects to: answers HTTP/1 with 200, other bytes with a few, and ends."""
    try:
        async with asyncio.timeout(SINK_S):
            heard = await reader.read(65536)
            is_http = heard.split(b"\r\n", 1)[0].endswith((b" HTTP/1.1", b" HTTP/1.0"))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" if is_http else b"\x00 sink" if heard else b"")
            await writer.drain()
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()


def _redirect(mark: int, port: int) -> list[object]:
    def data(value: bytes) -> object:
        return {"attrs": [("NFTA_DATA_VALUE", value)]}

    return [
        genex("meta", {"dreg": Regs.NFT_REG_1, "key": _META_MARK}),
        genex("cmp", {"sreg": Regs.NFT_REG_1, "op": _EQUAL, "data": data(struct.pack("=I", mark))}),
        genex("immediate", {"dreg": Regs.NFT_REG_1, "data": data(struct.pack("!H", port))}),
        genex("redir", {"reg_proto_min": Regs.NFT_REG_1}),
    ]
