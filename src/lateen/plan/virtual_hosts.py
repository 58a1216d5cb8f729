"""The route configurations of sidecars: which virtual hosts there are, with which domains, and what decides each. Called by `xds.routes`.

A layout (names, domains, owners) is computed apart from the routes in it, so that a change of routes re-runs one virtual host and joins bytes.
Source: Istio, outbound route configurations and virtual hosts of sidecars.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lateen.base.names import MESH_GATEWAY, PASSTHROUGH, ObjectRef, outbound_cluster, virtual_host_name
from lateen.config.kinds.istio.mesh_config import MeshOutboundMode
from lateen.incremental import Db, index, query
from lateen.mesh.destination_rules import rule_labels
from lateen.mesh.hosts import is_within, specificity
from lateen.mesh.imports import Imports
from lateen.mesh.model import Port, Protocol, Resolution, Service
from lateen.mesh.view import View
from lateen.mesh.virtual_services import Heading, claims_of, imported_claims, source_label_keys
from lateen.mesh.visibility import EgressListener, Scope, scope, scoped_listeners, scoped_policy, vantage
from lateen.plan.destinations import Caller, tcp_cluster
from lateen.plan.domains import Audience, abroad, is_at_home, service_domains, with_port
from lateen.plan.http_routes import default_route, http_routes
from lateen.plan.route import Forward, HashKey, Respond, Route, RouteMatch, Target, VirtualHost

HTTP_PROXY = "http_proxy"
HACK_PORT = 80
"""Where VirtualServices for hosts that no service has still count. Source: Istio."""
ALLOW_ANY, BLOCK_ALL, DYNAMIC_DNS = "allow_any", "block_all", "allow_any_dynamic_dns"
DYNAMIC_DNS_CLUSTER = "AllowAnyDynamicDNSCluster"
"""Looks up any Host. Source: Istio outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS."""


@dataclass(frozen=True)
class Entry:
    """One virtual host of a layout. `owner`: key of the VirtualService whose routes it has; None: the service's own route. `host`, `port`: of the service."""

    name: str
    domains: tuple[str, ...]
    host: str
    port: int
    owner: ObjectRef | None = None


@dataclass(frozen=True)
class Layout:
    """The virtual hosts of a route configuration, sorted by name. `port`: the listener's, 0 for an HTTP proxy or a socket.
    `has_catch_all`: any other Host has its own."""

    port: int
    entries: tuple[Entry, ...]
    has_catch_all: bool


def audience(db: Db, view: View) -> Audience:
    """What of a sidecar's view its routes depend on."""
    wanted = source_label_keys(db)
    labels = {pair for pair in view.labels if pair[0] in wanted} | set(rule_labels(db, view.namespace, view.labels))
    takes_auto = dict(view.metadata).get("DNS_CAPTURE") == "true"
    return Audience(scope(db, view), tuple(sorted(labels)), view.dns_domain, view.has_ipv4, view.has_ipv6, takes_auto)


def caller(to: Audience, port: int) -> Caller:
    """The audience at one of its listeners."""
    return Caller(to.eyes, to.labels, MESH_GATEWAY, port)


def listener_port(route_name: str) -> int:
    """The port a sidecar's route configuration is for; 0: an HTTP proxy or a socket."""
    text = route_name.rpartition(":")[2]
    return int(text) if text.isdigit() and not route_name.startswith(("/", "@")) else 0


@dataclass(frozen=True)
class Way:
    """An egress listener without its services. `position`: among those of its scope. `is_proxy`: its clients speak to an HTTP proxy."""

    position: int
    imports: Imports
    is_proxy: bool


@query
def way_out(db: Db, eyes: Scope, port: int, bind: str) -> Way | None:
    """The way out that a port or (port 0) a socket or the HTTP proxy belongs to, else the one for everything. Its services are read apart."""
    for position, one in enumerate(scoped_listeners(db, eyes)):
        is_proxy = one.port is not None and one.port.protocol is Protocol.HTTP_PROXY
        if one.port is None or (one.port.number == port and (port or one.bind == bind)) or (is_proxy and bind == HTTP_PROXY):
            return Way(position, one.imports, is_proxy)
    return None


@query
def layout(db: Db, to: Audience, route_name: str) -> Layout | None:
    """The virtual hosts of one route configuration; None: no listener of theirs could name it."""
    port = listener_port(route_name)
    way = way_out(db, to.eyes, port, "" if port else route_name)
    if way is None:
        return None
    if way.is_proxy:
        port = 0
    host = route_name.rpartition(":")[0] if port else ""
    found = _at_port.at(db, (port, host), vantage(db, to.eyes), way.position) or ()
    services = {service.hostname: service for service in found}
    claims = claims_of(db, to.eyes.namespace, way.imports, host) if host else imported_claims(db, to.eyes.namespace, way.imports)
    shared = _drafts(db, replace(to, eyes=vantage(db, to.eyes), labels=(), dns_domain=abroad(to.dns_domain)), way.position, port) if not host else {}
    drafts = {name: _service_drafts(one, port, to) if host or is_at_home(one, to.dns_domain) else shared[name] for name, one in services.items()}
    entries = _entries(db, to, port, services, drafts, claims)
    if not host:
        return Layout(port, tuple(sorted(entries, key=lambda entry: entry.name)), True)
    own = next((entry for entry in entries if entry.host == host), None)
    return Layout(port, (replace(own, domains=("*",)),), False) if own else None


@index
def _at_port(db: Db, eyes: Scope, position: int) -> Mapping[tuple[int, str], tuple[Service, ...]]:
    """(port, "") → the services that have it, with that port alone (port 0: with all) and the aliases imported with them; (port, host): one of them."""
    way = scoped_listeners(db, eyes)[position]
    found: dict[int, dict[str, Service]] = {}
    for seen in way.services:
        aliases = tuple(alias for alias in seen.aliases if _is_imported(alias, way))
        service = seen if aliases == seen.aliases else replace(seen, aliases=aliases)
        found.setdefault(0, {})[service.hostname] = service
        for port in service.ports:
            found.setdefault(port.number, {})[service.hostname] = service if len(service.ports) == 1 else replace(service, ports=(port,))
    whole = {(port, ""): tuple(services.values()) for port, services in found.items()}
    return whole | {(port, host): (service,) for port, services in found.items() for host, service in services.items()}


def _is_imported(alias: str, way: EgressListener) -> bool:
    namespace = alias.split(".")[1] if "." in alias else ""
    return any(home in ("*", namespace) and is_within(alias, host) for home, host in way.imports.wanted)


def _is_routed(port: Port) -> bool:
    return port.protocol.is_http or port.protocol.is_detected


def _owner(host: str, exact: Mapping[str, Heading], wild: tuple[tuple[str, Heading], ...]) -> Heading | None:
    """The VirtualService that a service belongs to: by its exact name, else by the longest wildcard; of equals the first."""
    return exact.get(host) or next((heading for pattern, heading in wild if is_within(host, pattern)), None)


@dataclass(frozen=True)
class Draft:
    """A virtual host before others have taken its names. `mere`: those of its domains that give way to a service of that very name."""

    entry: Entry
    mere: frozenset[str] = frozenset()


Drafts = Mapping[int, Draft]
"""Of one service, by port."""


def _draft(host: str, number: int, listener: int, domains: tuple[str, ...], mere: frozenset[str] = frozenset()) -> Draft:
    """Domains with ports where the listener does not ignore them; without them there only for port 80."""
    if not listener:
        forms = with_port(domains, number)
        domains = forms if number == HACK_PORT else forms[1::2]
    return Draft(Entry(virtual_host_name(host, number), domains, host, number), mere)


def _service_drafts(service: Service, listener: int, to: Audience) -> Drafts:
    domains, mere = service_domains(service, to)
    return {one.number: _draft(service.hostname, one.number, listener, domains, mere) for one in service.ports if _is_routed(one)}


@query
def _drafts(db: Db, to: Audience, position: int, port: int) -> Mapping[str, Drafts]:
    """Host → drafts of the services at a port. Called for an audience that is at home nowhere, so that all share what is not of their own namespace."""
    return {one.hostname: _service_drafts(one, port, to) for one in _at_port.at(db, (port, ""), to.eyes, position) or ()}


class _Names:
    """Names and domains taken so far, in order of precedence. Local to one query run."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._known = set(services)
        self._names: set[str] = set()
        self._domains: set[str] = set()

    def entry(self, draft: Draft, owner: ObjectRef | None) -> Entry | None:
        """A virtual host with the domains that are still free; None: nothing is left."""
        one = draft.entry
        if one.name in self._names:
            return None
        self._names.add(one.name)
        kept = []
        for domain in one.domains:
            taken = domain.lower() in self._domains or (domain in draft.mere and domain in self._known)
            if not taken:
                self._domains.add(domain.lower())
                kept.append(domain)
        if not kept:
            return None
        if len(kept) == len(one.domains) and owner is None:
            return one
        return replace(one, domains=tuple(kept), owner=owner)


def _entries(db: Db, to: Audience, port: int, services: Mapping[str, Service], drafts: Mapping[str, Drafts], claims: tuple[Heading, ...]) -> list[Entry]:
    names = _Names(services)
    owned: set[str] = set()
    found: list[Entry | None] = []
    exact: dict[str, Heading] = {}
    wild: dict[str, Heading] = {}
    for heading in claims:
        for host in heading.hosts:
            (wild if host.startswith("*") else exact).setdefault(host, heading)
    ranked = tuple(sorted(wild.items(), key=lambda item: specificity(item[0])))
    owners = {host: owner for host in services if (owner := _owner(host, exact, ranked))} if ranked else {}
    for heading in claims:
        members, extra = _members(heading, services, owners)
        ports = {one.number: None for service in members for one in service.ports if _is_routed(one)}
        if not ports and port == HACK_PORT:
            ports = {HACK_PORT: None}
        if not ports or not applies(db, heading.key, caller(to, port)):
            continue
        for number in ports:
            found += [names.entry(_draft(host, number, port, (host,)), heading.key) for host in extra]
            for service in members:
                draft = drafts[service.hostname].get(number)
                if draft is not None:
                    owned.add(service.hostname)
                    found.append(names.entry(draft, heading.key))
    for service in services.values():
        if service.hostname not in owned and service.resolution is not Resolution.ALIAS:
            found += [names.entry(draft, None) for draft in drafts[service.hostname].values()]
    return [entry for entry in found if entry is not None]


def _members(heading: Heading, services: Mapping[str, Service], owners: Mapping[str, Heading]) -> tuple[list[Service], list[str]]:
    """The services a VirtualService is for, and its hosts that no service has."""
    members: dict[str, Service] = {}
    extra = []
    for host in heading.hosts:
        if not host.startswith("*"):
            if host in services:
                members[host] = services[host]
            else:
                extra.append(host)
            continue
        covered = [service for name, service in services.items() if is_within(name, host)]
        members |= {service.hostname: service for service in covered if owners.get(service.hostname) is heading}
        if not covered:
            extra.append(host)
    return list(members.values()), extra


@query
def applies(db: Db, key: ObjectRef, at: Caller) -> bool:
    """Whether a VirtualService has any route for the caller; without one it counts as not there."""
    return bool(http_routes(db, key, at))


def owned_host(db: Db, to: Audience, entry: Entry, port: int) -> VirtualHost:
    """One virtual host of a layout with the routes of the VirtualService that has it. `port`: the listener's."""
    return VirtualHost(entry.name, entry.domains, http_routes(db, entry.owner, caller(to, port)) if entry.owner is not None else ())


def default_host(db: Db, entry: Entry, keys: tuple[HashKey, ...]) -> VirtualHost:
    """One that no VirtualService has: to its service. `keys`: what of a request chooses the endpoint."""
    return VirtualHost(entry.name, entry.domains, (default_route(db, entry.host, entry.port, keys),))


@query
def catch_all(db: Db, eyes: Scope) -> VirtualHost:
    """What happens to any other Host: it is let through, or answered with 502. Source: Istio outboundTrafficPolicy."""
    policy = scoped_policy(db, eyes)
    if not policy.is_open and policy.proxy is None:
        return VirtualHost(BLOCK_ALL, ("*",), (Route(BLOCK_ALL, RouteMatch(), Respond(502)),))
    name, cluster = ALLOW_ANY, PASSTHROUGH
    if policy.proxy is not None:
        host, port = tcp_cluster(db, Caller(eyes, (), MESH_GATEWAY, 0), policy.proxy)
        cluster = outbound_cluster(port, policy.proxy.subset, host)
    elif policy.mode is MeshOutboundMode.ALLOW_ANY_DYNAMIC_DNS:
        name, cluster = DYNAMIC_DNS, DYNAMIC_DNS_CLUSTER
    return VirtualHost(name, ("*",), (Route(name, RouteMatch(), Forward((Target(cluster),))),))
