"""Bridge, virtual cables and addresses, over netlink. Called by `namespaces.py` only; nothing of ours is decided here."""

import errno
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from lateen.local.isolation.addresses import Subnets
from lateen.local.isolation.seam import PodNetwork

_NO_DUPLICATE_CHECK = 0x02
"""IFA_F_NODAD: an IPv6 address is usable at once; we know that nobody else has it."""


@contextmanager
def _netlink() -> Iterator[Any]:  # pyroute2 has no types
    with IPRoute() as route:
        yield route


def taken_networks(except_link: str) -> tuple[str, ...]:
    """The destinations of this machine's routes and the networks of its addresses, as CIDR, without those of one link."""
    found: set[str] = set()
    with _netlink() as route:
        skipped = set(route.link_lookup(ifname=except_link))
        for family in (2, 10):
            for message in route.get_routes(family=family):
                destination, out = message.get_attr("RTA_DST"), message.get_attr("RTA_OIF")
                if destination and out not in skipped:
                    found.add(f"{destination}/{message['dst_len']}")
            for message in route.get_addr(family=family):
                if message["index"] not in skipped:
                    found.add(f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}")
    return tuple(sorted(found))


def hardware_address(ipv4: str) -> str:
    """A locally administered address that follows from the IPv4 address, so that neighbours' tables stay true when a pod is replaced."""
    return "02:4c:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(ipv4).packed)


def ensure_bridge(name: str, subnets: Subnets, has_ipv6: bool) -> None:
    """The bridge, up, with its addresses. Fine if it is there already."""
    with _netlink() as route:
        found = route.link_lookup(ifname=name)
        if not found:
            route.link("add", ifname=name, kind="bridge", address=hardware_address(subnets.gateway_ipv4), br_mcast_snooping=0)
            found = route.link_lookup(ifname=name)
        index = found[0]
        _add_address(route, index, subnets.gateway_ipv4, subnets.ipv4.prefixlen)
        if has_ipv6:
            _add_address(route, index, subnets.gateway_ipv6, subnets.ipv6.prefixlen)
        route.link("set", index=index, state="up")


def _add_address(route: Any, index: int, address: str, prefix: int) -> None:
    flags = {"flags": _NO_DUPLICATE_CHECK} if ":" in address else {}
    try:
        route.addr("add", index=index, address=address, prefixlen=prefix, **flags)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise


def add_cable(network: PodNetwork, bridge: str) -> None:
    """A cable from the bridge into the pod's namespace, where its end is `eth0`."""
    with _netlink() as route:
        peer = {"ifname": "eth0", "net_ns_fd": str(network.netns), "address": hardware_address(network.ipv4)}
        route.link("add", ifname=network.link, kind="veth", peer=peer)
        index = route.link_lookup(ifname=network.link)[0]
        route.link("set", index=index, master=route.link_lookup(ifname=bridge)[0], state="up")


def configure_inside(network: PodNetwork, subnets: Subnets) -> None:
    """Addresses, loopback and default routes. Runs in a thread that is in the pod's network."""
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")  # no capabilities, yet port 80 as in a container
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
    with _netlink() as route:
        loopback, inside = route.link_lookup(ifname="lo")[0], route.link_lookup(ifname="eth0")[0]
        route.link("set", index=loopback, state="up")
        if network.ipv6:
            _add_address(route, loopback, "::6", 128)  # where a proxy's own connections come from. Source: Istio, inbound pass-through
        _add_address(route, inside, network.ipv4, subnets.ipv4.prefixlen)
        if network.ipv6:
            _add_address(route, inside, network.ipv6, subnets.ipv6.prefixlen)
        route.link("set", index=inside, state="up")
        route.route("add", dst="0.0.0.0/0", gateway=subnets.gateway_ipv4, oif=inside)
        if network.ipv6:
            route.route("add", dst="::/0", gateway=subnets.gateway_ipv6, oif=inside, family=10)


def exists(name: str) -> bool:
    """Whether this machine has a link of that name."""
    with _netlink() as route:
        return bool(route.link_lookup(ifname=name))


def delete(name: str) -> None:
    """Delete a link. Fine if there is none."""
    with _netlink() as route:
        for index in route.link_lookup(ifname=name):
            try:
                route.link("del", index=index)
            except NetlinkError as error:
                if error.code != errno.ENODEV:
                    raise
