"""The domains of a sidecar's virtual hosts: by which Hosts a service is called. Called by `plan.virtual_hosts`.

Source: Istio, virtual host domains: the name in full, with a trailing dot, short forms as the client's DNS search path allows them, and addresses.
"""

from dataclasses import dataclass
from functools import lru_cache

from lateen.mesh.model import Labels, Registry, Service
from lateen.mesh.visibility import Scope

UNSPECIFIED = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Audience:
    """Sidecars whose routes are the same. `labels`: those that VirtualServices or DestinationRules read. `takes_auto_addresses`:
    their DNS answers with automatic addresses."""

    eyes: Scope
    labels: Labels
    dns_domain: str
    has_ipv4: bool = True
    has_ipv6: bool = False
    takes_auto_addresses: bool = False


def bracketed(host: str) -> str:
    """A host as the Host header has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_ip(host: str) -> bool:
    """An IP address and no name."""
    return ":" in host or host.replace(".", "").isdigit()


@lru_cache(maxsize=16384)
def alternates(host: str, domain: str) -> tuple[str, ...]:
    """Other names for `host` that a client in `domain` may use, its trailing-dot form first. None for addresses."""
    if is_ip(host):
        return ()
    return (f"{host}.", *(_in_cluster(host, domain) if ".svc." in domain else _by_shared_suffix(host, domain)))


def _in_cluster(host: str, domain: str) -> tuple[str, ...]:
    home, _, cluster = domain.partition(".svc.")
    if not host.endswith(f".svc.{cluster}"):
        return ()
    short = host.removesuffix(f".svc.{cluster}")
    name, dot, namespace = short.partition(".")
    if not dot or not namespace:
        return ()
    if name == "*":  # alone it would stand for every host, not only for those of the namespace
        return (f"{short}.svc", short)
    return (name, f"{short}.svc", short) if namespace == home else (short, f"{short}.svc")


def _by_shared_suffix(host: str, domain: str) -> tuple[str, ...]:
    labels, others = host.split("."), domain.split(".")
    shared = 0
    while shared < min(len(labels), len(others)) and labels[-1 - shared] == others[-1 - shared]:
        shared += 1
    if not shared or shared == len(labels):
        return ()
    unique = labels[: len(labels) - shared]
    own = ".".join(unique)
    if own == "*":
        return ()
    return (own, f"{own}.{labels[len(labels) - shared]}") if len(unique) == 2 else (own,)


def abroad(domain: str) -> str:
    """The domain of a client that is at home in no namespace of the cluster; any other domain as it is."""
    _, sign, cluster = domain.partition(".svc.")
    return f"{sign}{cluster}" if sign else domain


def is_at_home(service: Service, domain: str) -> bool:
    """Whether a client in `domain` may call a service, or an alias of it, by its first name alone."""
    return ".svc." in domain and any(host.endswith(f".{domain}") for host in (service.hostname, *service.aliases))


def addresses(service: Service, to: Audience) -> tuple[str, ...]:
    """The addresses at which the audience reaches a service: of its address families, else the first."""
    found = service.addresses or (service.auto_addresses if to.takes_auto_addresses else ())
    usable = tuple(address for address in found if (to.has_ipv6 if ":" in address else to.has_ipv4))
    return usable or found[:1]


def service_domains(service: Service, to: Audience) -> tuple[tuple[str, ...], frozenset[str]]:
    """All domains of a service, most telling first, and those of them that are mere alternates, which give way to a service of that very name."""
    found: list[str] = []
    extra: set[str] = set()
    for host in (service.hostname, *service.aliases):
        found.append(bracketed(host))
        others = alternates(host, to.dns_domain)
        found += others
        extra.update(others)
    if service.is_headless and service.registered_in is Registry.KUBERNETES:
        found += [f"*.{domain}" for domain in found]
    found += [bracketed(address) for address in addresses(service, to) if address not in UNSPECIFIED]
    return tuple(found), frozenset(extra)


def with_port(domains: tuple[str, ...], port: int) -> tuple[str, ...]:
    """Each domain, and each with a port."""
    return tuple(form for domain in domains for form in (domain, f"{domain}:{port}"))
