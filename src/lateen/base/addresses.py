"""What is an IP address, in the senses that rooms ask for. Called by every room that reads addresses somebody wrote."""

import re
from ipaddress import ip_address, ip_network

_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}")


def is_ip(text: str) -> bool:
    """An IP address, of whatever kind."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_range(text: str) -> bool:
    """An IP address or a CIDR block; host bits may be set."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_plain_ip(text: str) -> bool:
    """An IP address that means the same on every machine: one without a zone. Quick for IPv4, of which a mesh has thousands."""
    return _IPV4.fullmatch(text) is not None or (is_ip(text) and "%" not in text)


def is_callable(text: str) -> bool:
    """Where an endpoint can be called as it is written: an address or a unix socket's path; anything else would have to be resolved."""
    return text.startswith("unix://") or is_plain_ip(text)
