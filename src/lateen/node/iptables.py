"""Packet rules by iptables-restore and ip6tables-restore, for machines where nftables by netlink is refused.

Called by `node.redirect`, in a thread inside the namespace.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator
from typing import Final, assert_never

from lateen.base.errors import LateenError
from lateen.node.packets import Chain, Condition, Destination, InInterface, Jump, Leave, OutInterface, Ports, Redirect, Rule, Sender, SentBy, Source, Transport

_TIMEOUT_S: Final = 10.0
_COMMANDS: Final = {4: "iptables-restore", 6: "ip6tables-restore"}
_PREFIX: Final = "LATEEN_"
"""Our chains are told from others' by it."""


class IptablesFailed(LateenError):
    """The tool is missing or refused the rules."""


def replace_rules(chains: Iterable[Chain], versions: Iterable[int] = (4, 6)) -> None:
    """Puts `chains` into the current namespace. Raises IptablesFailed."""
    listed = tuple(chains)
    for version in versions:
        _restore(_COMMANDS[version], restore_text(listed, version))


def delete_rules(versions: Iterable[int] = (4, 6)) -> None:
    """Empties the NAT table of the current namespace, which is the pod's alone. Raises IptablesFailed."""
    for version in versions:
        _restore(_COMMANDS[version], "*nat\nCOMMIT\n", flush=True)


def restore_text(chains: Iterable[Chain], version: int) -> str:
    """What iptables-restore (4) or ip6tables-restore (6) is given: the whole NAT table."""
    listed = tuple(chains)
    lines = ["*nat", *(f":{chain_name(chain)} {'ACCEPT' if chain.hook else '-'} [0:0]" for chain in listed)]
    for chain in listed:
        lines += _rules(chain, version)
    return "\n".join([*lines, "COMMIT", ""])


def chain_name(chain: Chain) -> str:
    """The chain's name for iptables: the kernel's own for one with a hook."""
    return chain.hook.value.upper() if chain.hook else _PREFIX + chain.name.upper()


def _rules(chain: Chain, version: int) -> Iterator[str]:
    for rule in chain.rules:
        if rule.version in (None, version):
            yield f"-A {chain_name(chain)} {' '.join([*map(_condition, rule.conditions), _verdict(rule)])}"


def _verdict(rule: Rule) -> str:
    match rule.verdict:
        case Leave():
            return "-j RETURN"
        case Jump(chain):
            return f"-j {_PREFIX}{chain.upper()}"
        case Redirect(port):
            return f"-j REDIRECT --to-ports {port}"
        case _:
            assert_never(rule.verdict)


def _condition(condition: Condition) -> str:
    match condition:
        case Transport():
            return f"-p {condition.name.lower()}"
        case Ports((port,), is_negated):
            return f"{'! ' if is_negated else ''}--dport {port}"
        case Ports(ports, is_negated):
            return f"-m multiport {'! ' if is_negated else ''}--dports {','.join(map(str, ports))}"
        case Source(network):
            return f"-s {network}"
        case Destination(network, is_negated):
            return f"{'! ' if is_negated else ''}-d {network}"
        case InInterface(name):
            return f"-i {name}"
        case OutInterface(name):
            return f"-o {name}"
        case SentBy(Sender.MARK, number, is_negated):
            return f"-m mark {'! ' if is_negated else ''}--mark {number}"
        case SentBy(kind, number, is_negated):
            option = "--uid-owner" if kind is Sender.USER else "--gid-owner"
            return f"-m owner {'! ' if is_negated else ''}{option} {number}"
        case _:
            assert_never(condition)


def _restore(command: str, text: str, *, flush: bool = True) -> None:
    arguments = [command] if flush else [command, "--noflush"]
    environment = os.environ | {"XTABLES_LOCKFILE": "/dev/null"}
    try:
        done = subprocess.run(arguments, input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IptablesFailed(f"{command}: {error}") from None
    if done.returncode != 0:
        raise IptablesFailed(f"{command}: {done.stderr.decode(errors='replace').strip()}")
