"""Packet rules of one network namespace, as values: what `node.redirect` decides and `node.nftables` or `node.iptables` put into the kernel.

One list for both address families: a rule that names an address is of that address's family, every other rule of both.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


class Transport(Enum):
    """The protocol above IP. The value is its number."""

    TCP = 6
    UDP = 17


class Hook(Enum):
    """Where a chain is entered: NAT of what comes in, or of what the namespace's own processes send."""

    PREROUTING = "prerouting"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Ports:
    """The destination port is one of `ports`; `is_negated`: none of them. One port unless negated."""

    ports: tuple[int, ...]
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """The packet comes from `network`."""

    network: Network


@dataclass(frozen=True, slots=True)
class Destination:
    """The packet goes to `network`; `is_negated`: elsewhere, within the same family."""

    network: Network
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class InInterface:
    """It came in through this interface."""

    name: str


@dataclass(frozen=True, slots=True)
class OutInterface:
    """It leaves through this interface."""

    name: str


class Sender(Enum):
    """What a sender is known by."""

    MARK = "mark"
    USER = "user"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class SentBy:
    """The socket has this mark, or its process this user or group; `is_negated`: it has not."""

    kind: Sender
    number: int
    is_negated: bool = False


Condition = Transport | Ports | Source | Destination | InInterface | OutInterface | SentBy


@dataclass(frozen=True, slots=True)
class Leave:
    """This chain has nothing more to say: the packet goes on unchanged, or back to the chain that jumped here."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """To this port of the namespace itself."""

    port: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Go on in another chain."""

    chain: str


Verdict = Leave | Redirect | Jump


@dataclass(frozen=True, slots=True)
class Rule:
    """If every condition holds: the verdict. No condition: always."""

    conditions: tuple[Condition, ...]
    verdict: Verdict

    @property
    def version(self) -> int | None:
        """4 or 6 if the rule names an address; None: both."""
        return next((condition.network.version for condition in self.conditions if isinstance(condition, Source | Destination)), None)


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in their order. `hook`: None for a chain that others jump to."""

    name: str
    hook: Hook | None
    rules: tuple[Rule, ...]
