"""The names of the mesh, as one pod sees them: what a question is answered with, and the pod's hosts file. Pure. Called by `node.dns` and `node.hosts`.

Source: Istio, DNS proxying (pkg/dns/client): short names of the pod's own namespace, wildcards, headless Services; names that are not the mesh's go on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Unknown(Enum):
    """Why there is no answer. NOT_OURS: ask the next server. NO_SUCH_NAME: it would be ours, but there is none."""

    NOT_OURS = "not ours"
    NO_SUCH_NAME = "no such name"


@dataclass(frozen=True)
class Alias:
    """The name stands for another one."""

    target: str


Answer = tuple[str, ...] | Alias | Unknown
"""Addresses (perhaps none of the kind asked for), or why not."""


@dataclass(frozen=True)
class Names:
    """`addresses`: full name, lower case → addresses, of pods behind headless Services too. `wildcards`: `x.y` for `*.x.y`. `fixed`: names that have a
    Service's own address, and so belong into hosts files. `scoped`: namespace → names that only its pods know, which come first there."""

    domain: str = "cluster.local"
    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wildcards: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    scoped: Mapping[str, "Names"] = field(default_factory=dict)

    def answer(self, name: str, namespace: str, is_proxy: bool = False) -> Answer:
        """What `name` (lower case, no last dot) is for a pod of `namespace`. `is_proxy`: only the cluster's own names, not those the mesh made up."""
        own = self.scoped[namespace].answer(name, "", is_proxy) if namespace in self.scoped else Unknown.NOT_OURS
        if not isinstance(own, Unknown):
            return own
        for full in self._spellings(name, namespace):
            if is_proxy and not self._is_ours(full):
                continue
            if full in self.addresses:
                return tuple(self.addresses[full])
            if full in self.aliases:
                return Alias(self.aliases[full])
        if not is_proxy:
            labels = name.split(".")
            for index in range(1, len(labels)):
                found = self.wildcards.get(".".join(labels[index:]))
                if found is not None:
                    return tuple(found)
        return Unknown.NO_SUCH_NAME if self._is_ours(name) else Unknown.NOT_OURS

    def _is_ours(self, name: str) -> bool:
        return name == self.domain or name.endswith(f".{self.domain}")

    def _spellings(self, name: str, namespace: str) -> tuple[str, ...]:
        """The full names that `name` may stand for, itself first."""
        dots = name.count(".")
        if dots == 0:
            return (name, f"{name}.{namespace}.svc.{self.domain}")
        if name.endswith(".svc"):
            return (name, f"{name}.{self.domain}")
        return (name, f"{name}.svc.{self.domain}") if dots == 1 else (name,)

    def hosts(self, own_lines: str, namespace: str) -> str:
        """The pod's hosts file: its own lines, then a line per address of a Service with all its spellings."""
        suffix = f".svc.{self.domain}"
        lines = []
        own = self.scoped.get(namespace, Names())
        addresses = {name: found.addresses[name] for found in (self, own) for name in found.fixed}
        for full in sorted(addresses):
            spellings = [full]
            if full.endswith(suffix):
                short = full.removesuffix(suffix)
                name, _, where = short.partition(".")
                spellings += [f"{short}.svc", short, *([name] if where == namespace else [])]
            lines += [f"{address}\t{' '.join(spellings)}" for address in addresses[full]]
        return own_lines.rstrip("\n") + "\n" + "".join(f"{line}\n" for line in lines)


def names(table: Mapping[str, Any], domain: str = "cluster.local") -> Names:
    """The names in the `spec` of a DnsTable as control sends it: `entries`, `headless`, `aliases`, `scoped`."""
    entries: Mapping[str, Sequence[str]] = table.get("entries") or {}
    headless: Mapping[str, Mapping[str, Sequence[str]]] = table.get("headless") or {}
    plain = {host.lower(): tuple(found) for host, found in entries.items() if not host.startswith("*.")}
    fixed = frozenset(host for host in plain if host not in headless)
    for host, pods in headless.items():
        plain |= _members(host.lower(), pods.items())
    wildcards = {host[2:].lower(): tuple(found) for host, found in entries.items() if host.startswith("*.")}
    aliases = {host.lower(): target.lower().rstrip(".") for host, target in (table.get("aliases") or {}).items()}
    scoped = {namespace: names({"entries": found}, domain) for namespace, found in (table.get("scoped") or {}).items()}
    return Names(domain, plain, wildcards, aliases, fixed, scoped)


def _members(host: str, pods: Iterable[tuple[str, Sequence[str]]]) -> dict[str, tuple[str, ...]]:
    return {f"{pod.lower()}.{host}": tuple(found) for pod, found in pods}
