"""Gateways: the servers a gateway workload opens, merged over all Gateways that select it.

Called by `plan` (listeners, and the routes of gateways) and by findings. What a VirtualService binds to a server is the rules of routes;
certificates are `mesh.credentials`.
Source: Istio Gateway, Server; the order is oldest Gateway first, servers as written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef
from lateen.config.kinds.istio.gateway import Gateway, Server, ServerTls, ServerTlsMode
from lateen.config.store import age, everywhere, ref
from lateen.incremental import Db, index, query
from lateen.mesh.gateway_api.listeners import BoundGateway, api_gateways
from lateen.mesh.hosts import overlap
from lateen.mesh.ingress import ingress_gateways
from lateen.mesh.model import Labels, Protocol, label_pairs, selects
from lateen.mesh.protocols import declared_protocol
from lateen.mesh.services import service
from lateen.mesh.view import ServiceTarget, View

NO_TRANSLATION = "experimental.istio.io/disable-gateway-port-translation"
"""A Service's label: its ports don't translate a server's port into the pod's."""


RESERVED_PORTS = frozenset((15000, 15004, 15020, 15021, 15053, 15090))
"""What a proxy or its node opens for itself: administration, readiness, metrics, names. Source: Istio, ports used by its proxies."""


class ServerKind(Enum):
    """What shares a port: plain HTTP servers do, servers with TLS do, one plain TCP server alone."""

    HTTP = "http"
    TCP = "tcp"
    TLS = "tls"


CONFLICT = "IST0145"
"""Two Gateways want one host on one port."""


@dataclass(frozen=True)
class GatewayServer:
    """One server of one Gateway. `port`: as written, a Service's port. `hosts`: (namespace or `*`, host): VirtualServices of that namespace may claim it.

    `gateway`: namespace/name, as VirtualServices name it. `route_name`: of its route configuration; empty: not HTTP once any TLS has ended."""

    gateway: str
    origin: ObjectRef
    position: int
    port: int
    port_name: str
    bind: str
    protocol: Protocol
    hosts: tuple[tuple[str, str], ...]
    route_name: str
    tls: ServerTls | None = None

    @property
    def kind(self) -> ServerKind:
        """What it can share a port with."""
        if self.protocol.is_http:
            return ServerKind.HTTP
        return ServerKind.TLS if self.tls is not None else ServerKind.TCP

    @property
    def is_https_redirect(self) -> bool:
        """Plain HTTP is sent to https."""
        return self.tls is not None and self.tls.https_redirect

    @property
    def is_passthrough(self) -> bool:
        """TLS is not ended here."""
        return self.tls is not None and self.tls.mode in (ServerTlsMode.PASSTHROUGH, ServerTlsMode.AUTO_PASSTHROUGH)

    @property
    def is_http(self) -> bool:
        """Requests are routed: plain HTTP, or HTTPS ended here."""
        return bool(self.route_name)

    @property
    def names(self) -> tuple[str, ...]:
        """Its hosts without their namespaces, in order, each once."""
        return tuple(dict.fromkeys(host for _, host in self.hosts))


@dataclass(frozen=True)
class ServerGroup:
    """What one listener of a gateway serves. `port`: the workload's own. `bind` empty: every address.

    HTTP servers share `route_name`; each TLS server has its own."""

    port: int
    bind: str
    kind: ServerKind
    servers: tuple[GatewayServer, ...]

    @property
    def route_name(self) -> str:
        """The route configuration of plain HTTP servers; empty for the other kinds."""
        return self.servers[0].route_name if self.kind is ServerKind.HTTP else ""


@dataclass(frozen=True)
class Refusal:
    """A server that is not opened, why, and the server it gave way to: its Gateway as VirtualServices name it, and the object."""

    server: GatewayServer
    code: str
    reason: str
    winner: str
    winner_origin: ObjectRef


@dataclass(frozen=True)
class Merged:
    """All servers of a workload, by listener, and those that are not opened."""

    groups: tuple[ServerGroup, ...]
    refused: tuple[Refusal, ...] = ()


@query
def _selectors(db: Db) -> tuple[tuple[Labels, Gateway], ...]:
    gateways = sorted((*everywhere(db, Gateway), *ingress_gateways(db)), key=age)
    return tuple((label_pairs(gateway.spec.selector), gateway) for gateway in gateways)


@query
def gateways_for(db: Db, labels: Labels) -> tuple[Gateway, ...]:
    """The Gateways that select a workload, oldest first. One without a selector selects every gateway workload."""
    return tuple(gateway for selector, gateway in _selectors(db) if selects(selector, labels))


def _home_and_host(written: str, namespace: str) -> tuple[str, str]:
    home, _, host = written.rpartition("/")
    return (namespace if home == "." else home or "*", host)


def _route_name(server: Server, protocol: Protocol, gateway: Gateway, target: int) -> str:
    bind = f".{server.bind}" if server.bind else ""
    port = server.port
    assert port is not None
    if protocol.is_http:
        return f"http.{target}{bind}"
    ends_tls = server.tls is not None and server.tls.mode not in (ServerTlsMode.PASSTHROUGH, ServerTlsMode.AUTO_PASSTHROUGH)
    if protocol is Protocol.HTTPS and ends_tls:
        return f"https.{port.number}.{port.name}.{gateway.name}.{gateway.namespace}{bind}"
    return ""


def _read(gateway: Gateway, position: int, server: Server) -> GatewayServer | None:
    if server.port is None:
        return None
    protocol = declared_protocol(server.port.protocol)
    hosts = tuple(_home_and_host(host, gateway.namespace) for host in server.hosts)
    name, port = f"{gateway.namespace}/{gateway.name}", server.port
    route_name = _route_name(server, protocol, gateway, 0)
    return GatewayServer(name, ref(gateway), position, port.number, port.name, server.bind, protocol, hosts, route_name, server.tls)


def _targets(port: int, targets: tuple[ServiceTarget, ...], services: frozenset[str] | None) -> tuple[int, ...]:
    """The workload's ports behind a Service's port; the port itself where no Service has it. `services`: those it is bound to, and then nothing else counts;
    None: any. Source: Istio Gateway, Server.port."""
    found = {target.port for target in targets if target.service_port == port and (services is None or target.hostname in services)}
    return tuple(sorted(found)) or ((port,) if services is None else ())


@query
def _bound(db: Db, services: frozenset[str]) -> tuple[BoundGateway, ...]:
    """The listeners of the Gateway API that the workloads of these Services serve."""
    return tuple(one for one in api_gateways(db) if not services.isdisjoint(one.services))


@query
def _translating(db: Db, targets: tuple[ServiceTarget, ...]) -> tuple[ServiceTarget, ...]:
    kept = []
    for target in targets:
        found = service(db, target.namespace, target.hostname)
        if found is None or dict(found.labels).get(NO_TRANSLATION, "false") != "true":
            kept.append(target)
    return tuple(kept)


class _Merge:
    """Takes servers in order and says which of them open. Local to one query run."""

    def __init__(self) -> None:
        self.groups: dict[tuple[int, str], list[GatewayServer]] = {}
        self.refused: list[Refusal] = []
        self._tls_hosts: dict[tuple[int, str, tuple[str, str]], GatewayServer] = {}
        self._routes: dict[str, GatewayServer] = {}

    def add(self, server: GatewayServer, target: int) -> None:
        """Opens the server, or notes the refusal."""
        if target in RESERVED_PORTS:
            return self._refuse(server, "LTN0215", f"port {target} is the proxy's own", server)
        bind = "" if server.bind in ("0.0.0.0", "::") else server.bind
        if server.tls is not None:
            keys = [(target, bind, host) for host in server.hosts]
            taken = next((self._tls_hosts[key] for key in keys if key in self._tls_hosts), None)
            for key in keys:
                self._tls_hosts.setdefault(key, server)
            if taken is not None:
                return self._refuse(server, CONFLICT, "an older server has the same host on the same port", taken)
        held = self.groups.get((target, bind))
        opens_plain = server.kind is ServerKind.TCP and held is not None and held[0].kind is ServerKind.TLS
        if held and opens_plain and all(one.kind is ServerKind.TLS for one in held):
            held.append(server)
            return None
        if held and held[0].kind is not server.kind:
            code = CONFLICT if _shares_host(server, held[0]) else "LTN0211"
            return self._refuse(server, code, f"port {server.port} already speaks {held[0].kind.value}, an older server's choice", held[0])
        if held and server.kind is ServerKind.TCP:
            code = CONFLICT if _shares_host(server, held[0]) else "LTN0212"
            return self._refuse(server, code, f"port {server.port} already has a TCP server", held[0])
        if server.kind is ServerKind.TLS and server.route_name in self._routes:
            return self._refuse(server, "LTN0213", f"another server of the Gateway has the port name: `{server.port_name}`", self._routes[server.route_name])
        if server.kind is ServerKind.TLS and server.route_name:
            self._routes[server.route_name] = server
        self.groups.setdefault((target, bind), []).append(server)
        return None

    def _refuse(self, server: GatewayServer, code: str, reason: str, winner: GatewayServer) -> None:
        self.refused.append(Refusal(server, code, reason, winner.gateway, winner.origin))


def _shares_host(one: GatewayServer, other: GatewayServer) -> bool:
    """Whether two servers of different Gateways serve some host both."""
    return one.gateway != other.gateway and any(overlap(left[1], right[1]) for left in one.hosts for right in other.hosts)


def _named(server: GatewayServer, target: int) -> GatewayServer:
    """Plain HTTP route configurations are named after the workload's port."""
    if not server.protocol.is_http:
        return server
    return replace(server, route_name=f"http.{target}" + (f".{server.bind}" if server.bind else ""))


@query
def merged(db: Db, labels: Labels, targets: tuple[ServiceTarget, ...]) -> Merged:
    """The servers of a gateway workload with these labels and Services, merged, and those refused."""
    merge, translating = _Merge(), _translating(db, targets)
    selected = [(gateway, None) for gateway in gateways_for(db, labels)]
    bound = [(one.gateway, frozenset(one.services)) for one in _bound(db, frozenset(target.hostname for target in targets))]
    for gateway, services in sorted((*selected, *bound), key=lambda item: age(item[0])):
        for position, written in enumerate(gateway.spec.servers):
            server = _read(gateway, position, written)
            for target in _targets(server.port, translating, services) if server else ():
                if server:
                    merge.add(_named(server, target), target)
    groups = tuple(ServerGroup(port, bind, servers[0].kind, tuple(servers)) for (port, bind), servers in merge.groups.items())
    return Merged(groups, tuple(merge.refused))


def servers(db: Db, view: View) -> tuple[ServerGroup, ...]:
    """The listeners of a gateway's view, in order of their first server; none for a sidecar."""
    return merged(db, view.labels, view.targets).groups if view.is_router else ()


@index
def _by_route_name(db: Db, labels: Labels, targets: tuple[ServiceTarget, ...]) -> Mapping[str, tuple[GatewayServer, ...]]:
    found: dict[str, list[GatewayServer]] = {}
    for group in merged(db, labels, targets).groups:
        for server in group.servers:
            if server.route_name:
                found.setdefault(server.route_name, []).append(server)
    return {name: tuple(members) for name, members in found.items()}


def servers_of_route(db: Db, view: View, route_name: str) -> tuple[GatewayServer, ...]:
    """The servers that share a route configuration, oldest first; empty: there is no such route configuration."""
    return (_by_route_name.at(db, route_name, view.labels, view.targets) or ()) if view.is_router else ()


def http_route_names(db: Db, view: View) -> tuple[str, ...]:
    """The names of all route configurations of a gateway's view, sorted."""
    return tuple(sorted(_by_route_name.whole(db, view.labels, view.targets))) if view.is_router else ()


def refusal_findings(refusal: Refusal) -> Iterator[Finding]:
    """What the owner of a refused server should know, and of a conflict the other's."""
    where = f"spec.servers[{refusal.server.position}]"
    hint = "use another port or host" if refusal.winner != refusal.server.gateway else "merge the servers"
    yield Finding(refusal.code, Severity.WARNING, f"{refusal.reason}: `{refusal.winner}`", refusal.server.origin, where, hint)
    if refusal.code == CONFLICT and refusal.winner != refusal.server.gateway:
        text = f"a younger server on port {refusal.server.port} gives way to this one's: `{refusal.server.gateway}`"
        yield Finding(CONFLICT, Severity.INFO, text, refusal.winner_origin, "spec.servers", "use another port or host for one of them")
