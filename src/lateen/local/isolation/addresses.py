"""Which addresses a mesh and its pods get. Pure: what is taken is an argument."""

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

IPV4_PREFIX = 20
"""4093 pods on one machine."""
IPV6_PREFIX = 64
_IPv4 = ipaddress.IPv4Network
_IPv6 = ipaddress.IPv6Network


class NoAddress(Exception):
    """Every candidate is taken."""


@dataclass(frozen=True)
class Subnets:
    """The two networks of a mesh; the first host of each is the bridge's own."""

    ipv4: ipaddress.IPv4Network
    ipv6: ipaddress.IPv6Network

    @property
    def gateway_ipv4(self) -> str:
        """The bridge's address, default gateway of every pod."""
        return str(self.ipv4[1])

    @property
    def gateway_ipv6(self) -> str:
        """As `gateway_ipv4`."""
        return str(self.ipv6[1])


def subnets(mesh: str, taken: Iterable[str]) -> Subnets:
    """Free networks for a mesh, the same ones whenever they are free. `taken`: routes and addresses of this machine as CIDR. NoAddress."""
    used = [ipaddress.ip_network(cidr, strict=False) for cidr in taken]
    used_ipv4 = [network for network in used if isinstance(network, _IPv4) and network.prefixlen > 0]
    used_ipv6 = [network for network in used if isinstance(network, _IPv6) and network.prefixlen > 0]
    digest = hashlib.sha256(mesh.encode()).digest()
    blocks = 1 << (IPV4_PREFIX - 8)
    first = int.from_bytes(digest[:2], "big") % blocks
    candidates = (_IPv4(((10 << 24) + ((first + step) % blocks << (32 - IPV4_PREFIX)), IPV4_PREFIX)) for step in range(blocks))
    ipv4 = next((each for each in candidates if not any(each.overlaps(network) for network in used_ipv4)), None)
    if ipv4 is None:
        raise NoAddress("10.0.0.0/8")
    for step in range(256):
        word = hashlib.sha256(digest + bytes([step])).digest()
        ipv6 = _IPv6((b"\xfd" + word[:7] + bytes(8), IPV6_PREFIX))
        if not any(ipv6.overlaps(network) for network in used_ipv6):
            return Subnets(ipv4, ipv6)
    raise NoAddress("fd00::/8")


def free_host(within: Subnets, used: frozenset[int], last: int) -> int:
    """The number of a host that no pod has: the first free one after `last`, so that an address rests before it is used again. NoAddress."""
    size = within.ipv4.num_addresses - 1
    for step in range(1, size):
        host = 2 + (last - 2 + step) % (size - 2)
        if host not in used:
            return host
    raise NoAddress(str(within.ipv4))
