"""Hosts: how exact and wildcard names contain one another. Called wherever a Gateway, a Sidecar, a VirtualService or a DestinationRule names hosts.

Source: Istio host.Name: a wildcard is `*`, `*suffix` or `*.suffix`; it stands for one or more characters.
"""


def is_within(host: str, other: str) -> bool:
    """Whether every name that `host` stands for is one that `other` stands for."""
    if not other.startswith("*"):
        return host == other
    suffix = other[1:]
    if host.startswith("*"):
        return host[1:].endswith(suffix)
    return len(host) > len(suffix) and host.endswith(suffix)


def overlap(host: str, other: str) -> str | None:
    """The names that both stand for: the narrower of the two; None: nothing in common."""
    if is_within(host, other):
        return host
    return other if is_within(other, host) else None


def specificity(host: str) -> tuple[bool, int, str]:
    """Sort key: exact names first, then the longest wildcard, then by name."""
    return (host.startswith("*"), -len(host), host)
