"""Which connections of a pod go to its proxy: the rules in a real network namespace, both families, with servers that say where they were reached."""

import ctypes
import os
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lateen.base.names import PROXY_MARK
from lateen.node import iptables, nftables, redirect
from lateen.node.redirect import BadCapture, RedirectPlan, chains, redirect_plan

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0 and os.environ.get("CI") != "true", reason="needs root: a network namespace")
OUT, IN, APP, DNS = redirect.OUTBOUND_PORT, redirect.INBOUND_PORT, 8080, redirect.DNS_PORT
OWN = {4: "198.51.100.1", 6: "fd12::1"}
FAR = {4: "203.0.113.9", 6: "fd34::9"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
TRAFFIC = "traffic.sidecar.istio.io/"


class Place:
    """A network namespace where every port of interest answers with its number."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(1)
        self.path = self.pool.submit(self._enter).result()

    def _enter(self):
        assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0
        from pyroute2 import IPRoute

        with IPRoute() as route:
            route.link("set", index=1, state="up")
            route.link("add", ifname="eth0", kind="veth", peer={"ifname": "peer"})
            index, peer = route.link_lookup(ifname="eth0")[0], route.link_lookup(ifname="peer")[0]
            for version, length in ((4, 24), (6, 64)):
                route.addr("add", index=index, address=OWN[version], prefixlen=length, **({"flags": 2} if version == 6 else {}))
            route.addr("add", index=1, address="::6", prefixlen=128, flags=2)
            route.link("set", index=peer, state="up")
            route.link("set", index=index, state="up")
            route.route("add", dst="203.0.113.0/24", oif=index)
            route.route("add", dst="fd34::/64", oif=index, family=10)
        for port in (OUT, IN, APP, DNS, 15021):
            self._answer(port)
        return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"

    def _answer(self, port):
        stream = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        threading.Thread(target=self._streams, args=(stream, port), daemon=True).start()
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            one = socket.socket(family, socket.SOCK_DGRAM)
            one.bind((host, port))
            threading.Thread(target=self._datagrams, args=(one, port), daemon=True).start()

    def _streams(self, server, port):
        while True:
            one, _ = server.accept()
            one.sendall(str(port).encode())
            one.close()

    def _datagrams(self, server, port):
        while True:
            _, sender = server.recvfrom(100)
            server.sendto(str(port).encode(), sender)

    def reached(self, address, port, *, mark=0, source=None, udp=False):
        """The port that really answered; 0: none, after long enough for a busy machine."""
        return self.pool.submit(self._reached, address, port, mark, source, udp, 30).result()

    def is_lost(self, address, port, *, mark=0, udp=False):
        """Whether nobody answers; where this is so, every call waits its time out."""
        return self.pool.submit(self._reached, address, port, mark, None, udp, 0.3).result() == 0

    def _reached(self, address, port, mark, source, udp, patience_s):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as one:
            one.settimeout(patience_s)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            try:
                if source:
                    one.bind((source, 0))
                one.connect((address, port))
                if udp:
                    one.send(b"?")
                return int(one.recv(10) or 0)
            except OSError:
                return 0


@pytest.fixture(scope="module")
def place():
    made = Place()
    yield made
    made.pool.shutdown()


def put(place, means, plan):
    if means == "iptables":
        if not shutil.which("iptables-restore"):
            pytest.skip("no iptables here")
        place.pool.submit(nftables.delete_table).result()
        place.pool.submit(iptables.replace_rules, chains(plan)).result()
    else:
        if shutil.which("iptables-restore"):
            place.pool.submit(iptables.delete_rules).result()
        assert redirect.apply(place.path, plan) == "nftables"


@NEEDS_ROOT
@pytest.mark.live
@pytest.mark.parametrize("means", ["nftables", "iptables"])
@pytest.mark.parametrize("version", [4, 6])
def test_outbound(place, version, means):
    put(place, means, RedirectPlan())
    own, far, loopback = OWN[version], FAR[version], LOOPBACK[version]
    assert place.reached(far, 80) == OUT  # an application's connection
    assert place.is_lost(far, 80, mark=PROXY_MARK)  # the proxy's own goes out
    assert place.reached(loopback, APP) == APP and place.reached(own, APP) == APP  # to itself: directly
    assert place.reached(own, APP, mark=PROXY_MARK) == IN  # a proxy that chose its own pod: as any client
    assert place.reached(loopback, APP, mark=PROXY_MARK) == APP
    assert place.reached(own, APP, mark=PROXY_MARK, source="127.0.0.6" if version == 4 else "::6") == APP  # passed through
    assert place.reached(far, 53) == DNS and place.reached(far, 53, udp=True) == DNS and place.reached(loopback, 53, udp=True) == DNS
    assert place.is_lost(far, 53, udp=True, mark=PROXY_MARK)
    assert place.is_lost(far, 443, udp=True)


@NEEDS_ROOT
@pytest.mark.live
@pytest.mark.parametrize("version", [4, 6])
def test_exclusions_and_inclusions(place, version):
    far, other = FAR[version], {4: "203.0.113.77", 6: "fd34::77"}[version]
    size = {4: 32, 6: 128}[version]
    put(place, "nftables", redirect_plan({f"{TRAFFIC}excludeOutboundPorts": "80", f"{TRAFFIC}excludeOutboundIPRanges": f"{other}/{size}"}))
    assert place.is_lost(far, 80) and place.reached(far, 81) == OUT and place.is_lost(other, 81)
    put(place, "nftables", redirect_plan({f"{TRAFFIC}includeOutboundIPRanges": f"{other}/{size}", f"{TRAFFIC}includeOutboundPorts": "90"}))
    assert place.is_lost(far, 80) and place.reached(other, 80) == OUT and place.reached(far, 90) == OUT
    put(place, "nftables", redirect_plan({f"{TRAFFIC}includeOutboundIPRanges": ""}))
    assert place.is_lost(far, 80)
    put(place, "nftables", redirect_plan({f"{TRAFFIC}excludeInterfaces": "eth0"}))
    assert place.is_lost(far, 80)


def _inbound(plan):
    return [(rule.conditions[1:], rule.verdict) for chain in chains(plan) if chain.name == "inbound" for rule in chain.rules]


def test_inbound_rules_are_istio_s():
    every = _inbound(redirect_plan({f"{TRAFFIC}excludeInboundPorts": "9000"}))
    spared = [conditions[0].ports[0] for conditions, _ in every[:-1]]
    assert spared == [15008, 9000, 15020, 15021, 15090] and every[-1] == ((), redirect.Jump("in_redirect"))
    some = _inbound(redirect_plan({f"{TRAFFIC}includeInboundPorts": "80,15021, 81"}))
    assert [conditions[0].ports for conditions, _ in some] == [(80,), (81,)]
    assert _inbound(redirect_plan({f"{TRAFFIC}includeInboundPorts": ""})) == []


@pytest.mark.parametrize(("name", "value"), [("excludeOutboundPorts", "http"), ("excludeInboundPorts", "0"), ("includeOutboundIPRanges", "10.0.0.0/33")])
def test_a_wrong_annotation_is_named(name, value):
    with pytest.raises(BadCapture, match=f"{name} names no .*{value}"):
        redirect_plan({TRAFFIC + name: value})
