"""What an egress listener imports: hosts of namespaces, less those it excludes. Called by `mesh.visibility` and `mesh.virtual_services`.

Source: Istio Sidecar egress hosts: `namespace/host`, the namespace `*` for all and `.` for the Sidecar's own; with `~` before the namespace the entry takes
away from what the others import, `~/host` in every namespace.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lateen.mesh.hosts import is_within

EXCLUDED = "~"
"""Stands before the namespace of an entry that takes away."""


@dataclass(frozen=True)
class Imports:
    """`wanted`, `unwanted`: (namespace or `*`, host or wildcard) that entries import, and that others take away."""

    wanted: tuple[tuple[str, str], ...]
    unwanted: tuple[tuple[str, str], ...] = ()

    def has(self, namespace: str, names: Iterable[str]) -> bool:
        """Whether a service of the namespace comes in: the first of the names is its hostname, the others are its aliases."""
        names = tuple(names)
        return any(is_within(name, host) for host in _of(self.wanted, namespace) for name in names) and not self.excludes(namespace, names[0])

    def concerns(self, namespace: str, hosts: Iterable[str]) -> bool:
        """Whether a VirtualService of the namespace for these hosts counts: one of them is imported and not excluded."""
        wanted = _of(self.wanted, namespace)
        return any(_meet(host, one) and not self.excludes(namespace, host) for host in hosts for one in wanted)

    def excludes(self, namespace: str, host: str) -> bool:
        """Whether an entry takes the host away."""
        return any(is_within(host, one) for one in _of(self.unwanted, namespace))


EVERYTHING = Imports((("*", "*"),))


def imports_of(written: Iterable[str], namespace: str) -> Imports:
    """The entries of a Sidecar of the namespace."""
    wanted: list[tuple[str, str]] = []
    unwanted: list[tuple[str, str]] = []
    for entry in written:
        home, _, host = entry.rpartition("/")
        is_excluded = home.startswith(EXCLUDED)
        home = home.removeprefix(EXCLUDED) or "*"
        (unwanted if is_excluded else wanted).append((namespace if home == "." else home, host))
    return Imports(tuple(wanted), tuple(unwanted))


def _of(entries: tuple[tuple[str, str], ...], namespace: str) -> list[str]:
    return [host for home, host in entries if home in ("*", namespace)]


def _meet(host: str, other: str) -> bool:
    return is_within(host, other) or (host.startswith("*") and is_within(other, host))
