"""The name server in a network namespace of its own, over UDP and TCP, with another server behind it."""

import asyncio
import ctypes
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from lateen.node import dns_message as message
from lateen.node.dns import CAPTURED_PORT, PLAIN_PORT, PROXY_PORT, DnsServer, machine_servers
from lateen.node.netns import inside

pytestmark = [pytest.mark.live]
if os.geteuid() != 0 and os.environ.get("CI") != "true":
    pytest.skip("needs root: a network namespace", allow_module_level=True)

TABLE = {
    "entries": {"web.default.svc.cluster.local": ["10.96.0.1"], "api.example.com": ["240.240.0.1"]},
    "headless": {},
    "aliases": {"out.default.svc.cluster.local": "www.example.com"},
}


@pytest.fixture
def netns(tmp_path):
    libc = ctypes.CDLL(None, use_errno=True)
    stop = ThreadPoolExecutor(1)

    def enter():
        assert libc.unshare(0x40000000) == 0
        from pyroute2 import IPRoute

        with IPRoute() as route:
            route.link("set", index=1, state="up")
        return f"/proc/{os.getpid()}/task/{__import__('threading').get_native_id()}/ns/net"

    yield stop.submit(enter).result()
    stop.shutdown()


def ask(netns, name, kind=message.A, port=CAPTURED_PORT, tcp=False):
    def work():
        sent = message.encoded_query(name, kind, 77)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as one:
            one.settimeout(12)
            one.connect(("127.0.0.1", port))
            one.send((struct.pack("!H", len(sent)) if tcp else b"") + sent)
            reply = one.recv(4096)[2 if tcp else 0 :]
        assert reply[:2] == sent[:2]
        return reply[3] & 15, message.addresses(reply)

    return asyncio.to_thread(inside, netns, work)


class Upstream(asyncio.DatagramProtocol):
    """Knows one name; stays silent for another."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        query = message.query(data)
        if query.name != "silent.example.com":
            known = {"www.example.com": ("192.0.2.7",), "api.example.com": ("192.0.2.8",)}.get(query.name)
            self.transport.sendto(message.answer(query, message.NO_ERROR if known else message.NO_SUCH_NAME, known or ()), sender)


@pytest.fixture
async def server(tmp_path):
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", 0))
    made = DnsServer(tmp_path / "dns.json", ["127.0.0.1"], port=transport.get_extra_info("sockname")[1])
    made.set_table(TABLE)
    yield made
    await made.close()
    transport.close()


async def test_answers_in_a_captured_pod(server, netns):
    await server.serve("default.one", netns, "default", True)
    for tcp in (False, True):
        assert await ask(netns, "web", tcp=tcp) == (message.NO_ERROR, ("10.96.0.1",))
        assert await ask(netns, "web.default.svc.cluster.local", message.AAAA, tcp=tcp) == (message.NO_ERROR, ())
        assert (await ask(netns, "none.default.svc.cluster.local", tcp=tcp))[0] == message.NO_SUCH_NAME
    assert await ask(netns, "www.example.com") == (message.NO_ERROR, ("192.0.2.7",))
    assert await ask(netns, "out") == (message.NO_ERROR, ("192.0.2.7",))
    assert await ask(netns, "api.example.com") == (message.NO_ERROR, ("240.240.0.1",))
    assert await ask(netns, "api.example.com", port=PROXY_PORT) == (message.NO_ERROR, ("192.0.2.8",))
    assert (await ask(netns, "silent.example.com"))[0] == message.SERVER_FAILURE
    with pytest.raises(OSError):
        await ask(netns, "web", port=PLAIN_PORT, tcp=True)


async def test_changes_are_answered_at_once_and_outlive_the_process(server, netns, tmp_path):
    await server.serve("default.one", netns, "default", False)
    assert await ask(netns, "web", port=PLAIN_PORT) == (message.NO_ERROR, ("10.96.0.1",))
    server.set_table({"entries": {"web.default.svc.cluster.local": ["10.96.0.9"]}})
    assert await ask(netns, "web", port=PLAIN_PORT) == (message.NO_ERROR, ("10.96.0.9",))
    await server.stop_serving("default.one")
    later = DnsServer(tmp_path / "dns.json", [])
    await later.serve("default.one", netns, "default", False)
    assert await ask(netns, "web", port=PLAIN_PORT) == (message.NO_ERROR, ("10.96.0.9",))
    assert (await ask(netns, "www.example.com", port=PLAIN_PORT))[0] == message.SERVER_FAILURE
    await later.close()


def test_this_machine_s_servers(tmp_path):
    (tmp_path / "resolv.conf").write_text(
        "# x\nnameserver 192.0.2.1\nnameserver junk\noptions a\nnameserver fd00::53\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
    )
    assert machine_servers(tmp_path / "resolv.conf") == ("192.0.2.1", "fd00::53", "192.0.2.2")
    assert machine_servers(tmp_path / "absent") == ()
