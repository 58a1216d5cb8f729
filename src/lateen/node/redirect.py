"""Interception without changing the application: which of a pod's connections go to its proxy, as packet rules. Called by whoever runs pods.

Source of the rules: Istio, iptables capture (istio-iptables), with its annotations. A proxy is told from an application by the mark on its sockets,
or by its user where sockets cannot be marked. Put in by netlink (`nftables`), where the kernel or its policy refuses that by `iptables`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

import structlog

from lateen.base.errors import LateenError
from lateen.base.names import INBOUND_PORT, OUTBOUND_PORT, PROXY_MARK
from lateen.node import iptables, nftables
from lateen.node.netns import inside
from lateen.node.packets import (
    Chain,
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

DNS_PORT: Final = 15053
TUNNEL_PORT: Final = 15008
"""Mesh tunnels (HBONE) come in as they are. Source: Istio."""
STATUS_PORT: Final = 15020
OWN_PORTS: Final = (STATUS_PORT, 15021, 15090)
"""Status, health and metrics: never intercepted. Source: Istio, its injection template."""
_TRAFFIC: Final = "traffic.sidecar.istio.io/"
_LOOPBACK: Final = {4: ip_network("127.0.0.1/32"), 6: ip_network("::1/128")}
_PASS_THROUGH: Final = (ip_network("127.0.0.6/32"), ip_network("::6/128"))
"""Where a proxy's connections to an application it passes through come from. Source: Istio."""
_TCP = (Transport.TCP,)
_log = structlog.get_logger("node.redirect")


class BadCapture(LateenError):
    """An annotation that says nothing possible; the text names it."""


@dataclass(frozen=True)
class RedirectPlan:
    """What is intercepted. None for ports or ranges: all of them; an empty tuple: none."""

    inbound_ports: tuple[int, ...] | None = None
    excluded_inbound_ports: tuple[int, ...] = OWN_PORTS
    outbound_ranges: tuple[Network, ...] | None = None
    excluded_outbound_ranges: tuple[Network, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    """Besides the ranges: these ports whatever the address."""
    excluded_outbound_ports: tuple[int, ...] = ()
    excluded_interfaces: tuple[str, ...] = ()
    captures_dns: bool = True
    proxy: tuple[Sender, int] = (Sender.MARK, PROXY_MARK)
    outbound_port: int = OUTBOUND_PORT
    inbound_port: int = INBOUND_PORT
    """Where the proxy takes what is intercepted."""


def redirect_plan(annotations: Mapping[str, str], captures_dns: bool = True, status_port: int = STATUS_PORT) -> RedirectPlan:
    """What a pod's annotations ask for. `status_port`: where its status is told, if it is. BadCapture. Source: Istio, traffic.sidecar.istio.io annotations."""

    def said(name: str, default: str) -> str:
        return annotations.get(_TRAFFIC + name, default).strip()

    own = {*OWN_PORTS} - {STATUS_PORT} | ({status_port} if status_port else set())
    include_inbound, include_ranges = said("includeInboundPorts", "*"), said("includeOutboundIPRanges", "*")
    return RedirectPlan(
        inbound_ports=None if include_inbound == "*" else _ports("includeInboundPorts", include_inbound),
        excluded_inbound_ports=tuple(sorted({*own, *_ports("excludeInboundPorts", said("excludeInboundPorts", ""))})),
        outbound_ranges=None if include_ranges == "*" else _ranges("includeOutboundIPRanges", include_ranges),
        excluded_outbound_ranges=_ranges("excludeOutboundIPRanges", said("excludeOutboundIPRanges", "")),
        outbound_ports=_ports("includeOutboundPorts", said("includeOutboundPorts", "")),
        excluded_outbound_ports=_ports("excludeOutboundPorts", said("excludeOutboundPorts", "")),
        excluded_interfaces=tuple(part.strip() for part in said("excludeInterfaces", "").split(",") if part.strip()),
        captures_dns=captures_dns,
    )


def _ports(name: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if not (part.isdigit() and 0 < int(part) <= 65535):
            raise BadCapture(f"annotation {_TRAFFIC}{name} names no port: `{part}`")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _ranges(name: str, text: str) -> tuple[Network, ...]:
    found = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        try:
            found.append(ip_network(part, strict=False))
        except ValueError:
            raise BadCapture(f"annotation {_TRAFFIC}{name} names no range of addresses: `{part}`") from None
    return tuple(found)


def chains(plan: RedirectPlan) -> tuple[Chain, ...]:
    """The rules, in the order in which they are asked."""
    return (
        Chain("in_redirect", None, (Rule(_TCP, Redirect(plan.inbound_port)),)),
        Chain("redirect", None, (Rule(_TCP, Redirect(plan.outbound_port)),)),
        Chain("inbound", None, _inbound(plan)),
        Chain("outbound", None, _outbound(plan)),
        Chain("prerouting", Hook.PREROUTING, _entrance(plan)),
        Chain("output", Hook.OUTPUT, (*(Rule((OutInterface(name),), Leave()) for name in plan.excluded_interfaces), Rule((), Jump("outbound")))),
    )


def _entrance(plan: RedirectPlan) -> tuple[Rule, ...]:
    return (*(Rule((InInterface(name),), Leave()) for name in plan.excluded_interfaces), Rule(_TCP, Jump("inbound")))


def _inbound(plan: RedirectPlan) -> tuple[Rule, ...]:
    if plan.inbound_ports is not None:
        return tuple(Rule((*_TCP, Ports((port,))), Jump("in_redirect")) for port in plan.inbound_ports if port not in plan.excluded_inbound_ports)
    spared = (TUNNEL_PORT, *plan.excluded_inbound_ports)
    return (*(Rule((*_TCP, Ports((port,))), Leave()) for port in spared), Rule(_TCP, Jump("in_redirect")))


def _outbound(plan: RedirectPlan) -> tuple[Rule, ...]:
    is_proxy, is_other = SentBy(*plan.proxy), SentBy(*plan.proxy, is_negated=True)
    loopback = OutInterface("lo")
    rules = [Rule((Transport.TCP, Ports((port,))), Leave()) for port in plan.excluded_outbound_ports]
    rules += [Rule((loopback, Source(network)), Leave()) for network in _PASS_THROUGH]
    # a proxy that chose its own pod as the endpoint: through the inbound side, as any other client
    own = Ports((53, TUNNEL_PORT) if plan.captures_dns else (TUNNEL_PORT,), is_negated=True)
    rules += [Rule((loopback, Destination(address, is_negated=True), Transport.TCP, own, is_proxy), Jump("in_redirect")) for address in _LOOPBACK.values()]
    # an application that talks to itself, also by the pod's address: directly
    itself = (Transport.TCP, Ports((53,), is_negated=True)) if plan.captures_dns else (Transport.TCP,)
    rules += [Rule((loopback, *itself, is_other), Leave()), Rule((is_proxy,), Leave())]
    if plan.captures_dns:
        rules += [Rule((transport, Ports((53,))), Redirect(DNS_PORT)) for transport in Transport]
    rules += [Rule((Destination(address),), Leave()) for address in _LOOPBACK.values()]
    rules += [Rule((Destination(network),), Leave()) for network in plan.excluded_outbound_ranges]
    rules += [Rule((Transport.TCP, Ports((port,))), Jump("redirect")) for port in plan.outbound_ports]
    if plan.outbound_ranges is None:
        return (*rules, Rule(_TCP, Jump("redirect")))
    return (*rules, *(Rule((Transport.TCP, Destination(network)), Jump("redirect")) for network in plan.outbound_ranges))


def apply(namespace: str, plan: RedirectPlan) -> str:
    """Put the rules into the network namespace at path `namespace`, instead of those of an earlier call; returns by which means. OSError, LateenError."""
    wanted = chains(plan)
    try:
        inside(namespace, lambda: nftables.replace_table(wanted))
    except OSError as error:
        _log.info("nftables by netlink is refused; using iptables", reason=str(error))
        inside(namespace, lambda: iptables.replace_rules(wanted))
        return "iptables"
    return "nftables"


def remove(namespace: str) -> None:
    """Take away what `apply` put in by nftables. Not needed before the namespace itself goes. OSError."""
    inside(namespace, nftables.delete_table)
