"""Who calls, as clusters see it: the narrow part of a View that decides clusters and load assignments, and what is known of the servers' identities.

Called by `outbound_clusters` and `xds.clusters`. Views with equal clients share every cluster.
"""

import re
from dataclasses import dataclass

from lateen.base.names import spiffe_id
from lateen.config import store
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import RuleKey, rule_key, rule_labels
from lateen.mesh.endpoints import endpoints
from lateen.mesh.model import Labels, MtlsMode, selects
from lateen.mesh.peer_authentication import mtls_mode
from lateen.mesh.services import service
from lateen.mesh.view import View
from lateen.mesh.visibility import Scope, vantage_of
from lateen.plan.load_assignments import ClientMode, takes_mesh_tls


@dataclass(frozen=True)
class Client:
    """A kind of client. `labels`: those that selectors of its namespace's DestinationRules read."""

    namespace: str
    is_router: bool
    labels: Labels
    has_ipv4: bool
    has_ipv6: bool


@dataclass(frozen=True)
class Caller:
    """What of a client decides one service's clusters: the DestinationRule in force for it (None: none), and not its namespace, so that clients of
    many namespaces share them."""

    rule: RuleKey | None
    is_router: bool
    has_ipv4: bool
    has_ipv6: bool


@dataclass(frozen=True)
class Seat:
    """Clients that get the same of every service whose DestinationRules do not part them. `eyes`: a vantage."""

    eyes: Scope
    is_router: bool
    has_ipv4: bool
    has_ipv6: bool

    def caller(self, rule: RuleKey | None) -> Caller:
        """As a caller of a host with that rule in force."""
        return Caller(rule, self.is_router, self.has_ipv4, self.has_ipv6)


@query
def seat_of(db: Db, view: View) -> Seat:
    """Where a view sits."""
    return Seat(vantage_of(db, view), view.is_router, view.has_ipv4, view.has_ipv6)


def client_of(db: Db, view: View) -> Client:
    """The client that a view is."""
    return Client(view.namespace, view.is_router, rule_labels(db, view.namespace, view.labels), view.has_ipv4, view.has_ipv6)


def caller_of(db: Db, client: Client, namespace: str, hostname: str) -> Caller:
    """The client as a caller of one host of a namespace."""
    return Caller(rule_key(db, client.namespace, namespace, hostname, client.labels), client.is_router, client.has_ipv4, client.has_ipv6)


@query
def identities(db: Db, namespace: str, hostname: str) -> tuple[str, ...]:
    """The SPIFFE IDs that servers of a host may have: the service accounts of its endpoints that have a sidecar (of all, where none has) in every trust
    domain, and what the service itself lists. Small, and mostly equal when endpoints come and go: clusters depend on it, not on endpoints."""
    found = endpoints(db, namespace, hostname)
    meshed = [one for one in found if one.has_mesh_tls] or list(found)
    accounts = {(one.namespace, one.service_account) for one in meshed if one.pod is not None or one.service_account}
    aliases = store.mesh_field(db, "trust_domain_aliases")
    domains = (str(store.mesh_field(db, "trust_domain")), *(aliases if isinstance(aliases, tuple) else ()))
    one = service(db, namespace, hostname)
    listed = one.subject_alt_names if one else ()
    others = {_moved(name, alias) for name in listed if _IDENTITY.fullmatch(name) for alias in domains[1:]}
    return tuple(sorted({spiffe_id(domain, home, account) for domain in domains for home, account in accounts} | set(listed) | others))


SPIFFE = "spiffe://"
_IDENTITY = re.compile("spiffe://[^/]*/ns/[^/]*/sa/[^/]*")


def _moved(identity: str, domain: str) -> str:
    """The SPIFFE ID in another trust domain. Source: Istio trustDomainAliases: who may have an identity may have it in every alias."""
    return f"{SPIFFE}{domain}/{identity.removeprefix(SPIFFE).partition('/')[2]}"


@query
def is_all_meshed(db: Db, namespace: str, hostname: str, port_name: str, subset: Labels) -> bool:
    """Whether a port (of a subset) has endpoints, and every one of them takes mesh TLS there."""
    chosen = [one for one in endpoints(db, namespace, hostname) if one.port_name == port_name and selects(subset, one.labels)]
    return bool(chosen) and all(takes_mesh_tls(db, one, ClientMode.AUTO) for one in chosen)


@query
def is_all_strict(db: Db, namespace: str, hostname: str, port_name: str, subset: Labels) -> bool:
    """Whether a port (of a subset) has endpoints, and every one of them takes mesh TLS there and nothing else."""
    chosen = [one for one in endpoints(db, namespace, hostname) if one.port_name == port_name and selects(subset, one.labels)]
    return bool(chosen) and all(one.has_mesh_tls and mtls_mode(db, one.namespace, one.labels, one.port) is MtlsMode.STRICT for one in chosen)


@query
def has_sidecars(db: Db, namespace: str, hostname: str) -> bool:
    """Whether a host has endpoints, and every one has a sidecar. Source: Istio, mesh TLS of headless services."""
    found = endpoints(db, namespace, hostname)
    return bool(found) and all(one.has_mesh_tls for one in found)
