"""The plan of listeners: what a proxy opens and what happens to a connection, as frozen values. Made by the files beside this one, emitted by `xds.listeners`.

No YAML kind and no Envoy message appears here. Chains are tried as Envoy does: the most specific match wins, so their order means nothing.
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_network
from itertools import product

from lateen.base.names import ObjectRef
from lateen.plan.route import Retries

TLS = "tls"
RAW = "raw_buffer"
HTTP_PROTOCOLS = ("http/1.1", "h2c")
"""What the HTTP inspector calls plaintext HTTP."""
HTTP10 = "http/1.0"
"""And its oldest version. A declared HTTP port takes it, to refuse it by name (426) where it is not wanted; a detected one leaves it to TCP then."""
MESH_HTTP_ALPN = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_TCP_ALPN = ("istio-peer-exchange", "istio")
MESH_ALPN = ("istio", "istio-peer-exchange", *MESH_HTTP_ALPN)
"""What clients of the mesh offer. Source: Istio, ALPN of mutual TLS."""


class Direction(Enum):
    """Which way traffic goes; OUTBOUND also for a gateway's listeners. Source: Envoy core.v3.TrafficDirection."""

    INBOUND = "INBOUND"
    OUTBOUND = "OUTBOUND"


class Patience(Enum):
    """How long a connection's first bytes are waited for."""

    MOMENT = "moment"  # then it is TCP: the server may speak first
    CLIENT = "client"  # as long as it takes: by what is declared the client speaks first, and nobody else could take the connection
    HANDSHAKE = "handshake"  # as long as anybody may take to begin TLS, then it is closed


class Role(Enum):
    """What an HTTP connection manager stands for; its header handling follows from it."""

    CLIENT = "client"  # a sidecar's way out
    SERVER = "server"  # a sidecar's way in
    GATEWAY = "gateway"


@dataclass(frozen=True)
class StringMatch:
    """A string that is equal, has a prefix or suffix. `kind`: exact, prefix, suffix."""

    kind: str
    value: str


@dataclass(frozen=True)
class SecretSource:
    """A certificate or root by name. `path`: of a file that Envoy watches; `cluster`: of another server of secrets, reached as `authority`;
    both empty: over ADS."""

    name: str
    path: str = ""
    cluster: str = ""
    authority: str = ""


@dataclass(frozen=True)
class ServerTls:
    """How TLS is ended. `root` None: no client certificate is asked for. `needs_client`: without one the handshake fails. Versions empty: Envoy's."""

    certificates: tuple[SecretSource, ...]
    root: SecretSource | None = None
    needs_client: bool = False
    client_names: tuple[StringMatch, ...] = ()
    alpn: tuple[str, ...] = ("h2", "http/1.1")
    min_version: str = ""
    max_version: str = ""
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    certificate_hashes: tuple[str, ...] = ()
    certificate_spki: tuple[str, ...] = ()
    accepts_untrusted: bool = False


@dataclass(frozen=True)
class ChainMatch:
    """Which connections a chain takes; empty fields take all. `port`: the original destination's. `destinations`, `sources`: CIDRs."""

    port: int = 0
    transport: str = ""
    protocols: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class TcpTarget:
    """Where bytes go: a cluster and its share."""

    cluster: str
    weight: int = 1


@dataclass(frozen=True)
class Tunnel:
    """HTTP tunnelling of TCP. `method`: CONNECT or POST; `host`: `name:port` asked for."""

    method: str
    host: str


@dataclass(frozen=True)
class NameCache:
    """A cache of names that a dynamic forward proxy looks up; filter and cluster must say the same of it. `family`: V4_ONLY, V6_ONLY or ALL."""

    name: str
    family: str
    max_hosts: int | None = None


@dataclass(frozen=True)
class Tcp:
    """Bytes are forwarded. Durations in seconds; `idle_timeout_s` None: Envoy's hour, 0: none. `is_hashed_by_source`: the source address chooses the host.

    `takes_server_name`: the cluster is named by the connection's SNI; `targets` is empty then. `is_mutual`: the chain ends mesh TLS.
    `names`: the server name is looked up there, for port `names_port`; None: it isn't. `origins`: the DestinationRules that say how bytes are forwarded."""

    targets: tuple[TcpTarget, ...]
    stat_prefix: str = ""
    idle_timeout_s: float | None = None
    max_duration_s: float | None = None
    is_hashed_by_source: bool = False
    takes_server_name: bool = False
    names: NameCache | None = None
    names_port: int = 0
    tunnel: Tunnel | None = None
    is_mutual: bool = False
    origins: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True)
class InboundRoute:
    """The one route of an inbound port, inline in its listener. `retries` None: nothing is retried here. `operation`: its name in traces."""

    name: str
    host: str
    cluster: str
    operation: str
    retries: Retries | None = None


@dataclass(frozen=True)
class OpenRoute:
    """The one route for requests to no known service, inline. `host`: of the virtual host, and the route's name."""

    name: str
    host: str
    cluster: str


@dataclass(frozen=True)
class Http:
    """Requests are routed. `route`: a route configuration by name, or inline. `alpn`: what is offered upstream, where the cluster leaves it open;
    empty: the cluster's.

    `has_grpc_web`: browsers' gRPC is translated. `is_mutual`: the chain ends mesh TLS. `names`: caches in which a request's host is looked up, where its
    cluster is a dynamic forward proxy."""

    route: str | InboundRoute | OpenRoute
    role: Role
    stat_prefix: str
    alpn: str = ""
    has_grpc_web: bool = False
    is_mutual: bool = False
    is_proxy: bool = False
    names: tuple[NameCache, ...] = ()


@dataclass(frozen=True)
class Chain:
    """One filter chain. `name`: for logs and for Envoy's own matching of changes."""

    match: ChainMatch
    does: Tcp | Http
    tls: ServerTls | None = None
    name: str = ""
    origin: ObjectRef | None = None


@dataclass(frozen=True)
class Listener:
    """One listener. `addresses`: IP addresses, the first names it; or one path of a unix socket, with `port` 0.

    `is_bound`: Envoy opens the port, else traffic is handed to it. `inspects_tls`, `inspects_http`: a connection's first bytes are looked at, but at the
    original destination ports `tls_free_ports`, `http_free_ports`; `patience`: how long they are waited for."""

    name: str
    addresses: tuple[str, ...]
    port: int
    direction: Direction
    chains: tuple[Chain, ...]
    fallback: Chain | None = None
    is_bound: bool = True
    is_capture_all: bool = False
    keeps_original_destination: bool = False
    inspects_tls: bool = False
    inspects_http: bool = False
    tls_free_ports: tuple[int, ...] = ()
    http_free_ports: tuple[int, ...] = ()
    patience: Patience = Patience.MOMENT
    takes_proxy_protocol: bool = False
    origins: frozenset[ObjectRef] = field(default=frozenset())


def unique_chains(chains: list[Chain]) -> tuple[Chain, ...]:
    """Chains without what an earlier one takes: Envoy refuses matches that overlap. A server name, protocol or network that is taken is left out of a later
    chain; one that keeps none of its own is left out itself."""
    found: list[Chain] = []
    taken: set[_Atom] = set()
    for chain in possible(chains):
        match = chain.match
        names = tuple(one for one in match.server_names if taken.isdisjoint(_atoms(replace(match, server_names=(one,)))))
        match = replace(match, server_names=names or match.server_names)
        protocols = tuple(one for one in match.protocols if taken.isdisjoint(_atoms(replace(match, protocols=(one,)))))
        match = replace(match, protocols=protocols or match.protocols)
        networks = tuple(one for one in match.destinations if taken.isdisjoint(_atoms(replace(match, destinations=(one,)))))
        match = replace(match, destinations=networks or match.destinations)
        atoms = _atoms(match)
        if taken.isdisjoint(atoms):
            taken |= atoms
            found.append(chain if match == chain.match else replace(chain, match=match))
    return tuple(found)


_Atom = tuple[int, str, str, str, str, tuple[str, ...]]


def _atoms(match: ChainMatch) -> set[_Atom]:
    """The single combinations that a match is made of."""
    lists = (match.server_names or ("",), match.protocols or ("",), match.destinations or ("",))
    return {(match.port, match.transport, *one, match.sources) for one in product(*lists)}


def possible(chains: list[Chain]) -> list[Chain]:
    """Chains as Envoy takes them: server names in lower case, only whole names and `*.` ones; networks that are some. A chain that asks for nothing else
    but the impossible is left out: it would never be taken."""
    found = []
    for chain in chains:
        match = chain.match
        names = tuple(dict.fromkeys(name.lower() for name in match.server_names if "*" not in name.removeprefix("*.")))
        networks = tuple(text for text in match.destinations if _is_network(text))
        if bool(names) != bool(match.server_names) or bool(networks) != bool(match.destinations):
            continue
        found.append(chain if (names, networks) == (match.server_names, match.destinations) else _narrowed(chain, names, networks))
    return found


def _narrowed(chain: Chain, names: tuple[str, ...], networks: tuple[str, ...]) -> Chain:
    return replace(chain, match=replace(chain.match, server_names=names, destinations=networks))


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
