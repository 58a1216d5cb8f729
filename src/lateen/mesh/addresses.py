"""Automatic virtual addresses for services without one: ServiceEntry hosts and, where no cluster assigns them, Kubernetes Services. Called by `services` only.

Addresses are a hash of the host, so that they hardly ever move when services come and go, and the same mesh has the same addresses everywhere. Where two
hosts fall on one address the older service has it.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address

from lateen.mesh.model import Registry, Resolution, Service

_ENTRY_V4, _ENTRY_V6 = IPv4Address("240.240.0.0"), IPv6Address("2001:2::")
"""Source: Istio, automatic addresses of ServiceEntries."""
_SERVICE_V4, _SERVICE_V6 = IPv4Address("10.96.0.0"), IPv6Address("fd00:10:96::")
_ENTRY_PLACES, _SERVICE_SIZE = 255 * 255, 1 << 20
_TRIES = 4096
_RESERVED = 256
"""The first block is left for fixed addresses, as Kubernetes leaves the start of its range."""


def _needs_address(one: Service) -> bool:
    if one.addresses or "*" in one.hostname:
        return False
    if one.registered_in is Registry.KUBERNETES:
        return one.resolution is Resolution.STATIC
    return one.resolution is not Resolution.NONE


def _service_offset(key: tuple[str, str], step: int) -> int:
    start = int.from_bytes(blake2b("/".join(key).encode(), digest_size=4).digest(), "big")
    return _RESERVED + (start + step) % (_SERVICE_SIZE - _RESERVED - 1)


def _entry_offset(key: tuple[str, str], step: int) -> int:
    """Where Istio's proxies with DNS capture have a host, unless another one is there: FNV-1 over 255 times 255 places; none ends in 0."""
    start = 0x811C9DC5
    for byte in ":".join(key).encode():
        start = (start * 0x01000193 & 0xFFFFFFFF) ^ byte
    third, fourth = divmod((start + step) % _ENTRY_PLACES, 255)
    return third * 256 + (fourth or 255)


def allocated(services: Iterable[Service]) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """(namespace, host) → an IPv4 and an IPv6 address, for each service that needs one. No two share; where too many
    crowd the rest has none."""
    services = tuple(services)
    taken = {address for one in services for address in one.addresses}
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for one in sorted((one for one in services if _needs_address(one)), key=lambda one: (one.created, one.hostname, one.namespace)):
        is_service = one.registered_in is Registry.KUBERNETES
        v4, v6 = (_SERVICE_V4, _SERVICE_V6) if is_service else (_ENTRY_V4, _ENTRY_V6)
        key = (one.namespace, one.hostname)
        for step in range(_TRIES):
            offset = _service_offset(key, step) if is_service else _entry_offset(key, step)
            pair = (str(v4 + offset), str(v6 + offset))
            if not taken.intersection(pair):
                taken.update(pair)
                found.setdefault(key, pair)
                break
    return found
