"""Inbound listeners of a sidecar: chains for each port and each way a client may speak, and those for ports no service has. Called by `plan.listeners`.

Source: Istio, inbound filter chains by mutual TLS mode and protocol; conditions on ALPN are its own, so both meshes' clients are understood.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lateen.base.names import BLACK_HOLE, INBOUND_PASSTHROUGH, VIRTUAL_INBOUND, ObjectRef, inbound_cluster
from lateen.config.kinds.istio.virtual_service import HttpRetry
from lateen.config.store import mesh_field
from lateen.incremental import Db, query
from lateen.mesh.capture import capture_ports
from lateen.mesh.inbound import InboundPort, inbound_ports
from lateen.mesh.model import MtlsMode, Protocol
from lateen.mesh.peer_authentication import mtls_mode, port_modes
from lateen.mesh.view import View
from lateen.plan.http_action import retries
from lateen.plan.http_settings import accepts_http10
from lateen.plan.intercept import is_captured, wildcards
from lateen.plan.listener import (
    HTTP10,
    HTTP_PROTOCOLS,
    MESH_ALPN,
    MESH_HTTP_ALPN,
    MESH_TCP_ALPN,
    RAW,
    TLS,
    Chain,
    ChainMatch,
    Direction,
    Http,
    InboundRoute,
    Listener,
    Role,
    ServerTls,
    Tcp,
    TcpTarget,
    unique_chains,
)
from lateen.plan.route import Retries
from lateen.plan.server_tls import mesh_tls, server_tls
from lateen.plan.tcp_chains import to_cluster

CATCH_ALL = "virtualInbound"


class _Speaks:
    """How a port's bytes are read."""

    HTTP, TCP, DETECTED = "http", "tcp", "detected"


@dataclass(frozen=True)
class _Shape:
    """One chain of a port: what of a connection it takes, whether mesh TLS is ended, whether requests are routed."""

    transport: str
    protocols: tuple[str, ...]
    ends_tls: bool
    is_http: bool


_RAW_HTTP = _Shape(RAW, HTTP_PROTOCOLS, False, True)
_RAW_TCP = _Shape(RAW, (), False, False)
_FOREIGN = _Shape(TLS, (), False, False)
SHAPES: dict[tuple[MtlsMode, str], tuple[_Shape, ...]] = {
    (MtlsMode.PERMISSIVE, _Speaks.DETECTED): (_Shape(TLS, MESH_HTTP_ALPN, True, True), _RAW_HTTP, _Shape(TLS, MESH_TCP_ALPN, True, False), _RAW_TCP, _FOREIGN),
    (MtlsMode.PERMISSIVE, _Speaks.HTTP): (_Shape(TLS, MESH_ALPN, True, True), _Shape(RAW, (), False, True)),
    (MtlsMode.PERMISSIVE, _Speaks.TCP): (_Shape(TLS, MESH_ALPN, True, False), _FOREIGN, _RAW_TCP),
    (MtlsMode.STRICT, _Speaks.DETECTED): (_Shape(TLS, MESH_HTTP_ALPN, True, True), _Shape(TLS, (), True, False)),
    (MtlsMode.STRICT, _Speaks.HTTP): (_Shape(TLS, (), True, True),),
    (MtlsMode.STRICT, _Speaks.TCP): (_Shape(TLS, (), True, False),),
    (MtlsMode.DISABLE, _Speaks.DETECTED): (_RAW_HTTP, _RAW_TCP, _FOREIGN),
    (MtlsMode.DISABLE, _Speaks.HTTP): (_Shape("", (), False, True),),
    (MtlsMode.DISABLE, _Speaks.TCP): (_Shape("", (), False, False),),
}
"""Mode and protocol → the chains of a port. Source: Istio, inbound filter chain options."""


BEFORE_REQUEST = Retries(2, "reset-before-request", avoids_tried_hosts=False)
"""Inbound retries where the mesh says nothing: only what the application has seen nothing of. Source: Istio."""


@query
def inbound_retries(db: Db) -> Retries | None:
    """How inbound requests are retried; None: not at all. Source: Istio MeshConfig.defaultInboundHttpRetryPolicy."""
    said = mesh_field(db, "default_inbound_http_retry_policy")
    return retries(said, True) if isinstance(said, HttpRetry) else BEFORE_REQUEST


def _speaks(protocol: Protocol) -> str:
    if protocol.is_http:
        return _Speaks.HTTP
    return _Speaks.DETECTED if protocol.is_detected else _Speaks.TCP


def port_chains(db: Db, port: InboundPort, cluster: str, mode: MtlsMode, name: str, at: int) -> Iterator[Chain]:
    """The chains of one port. `at`: the destination port they take; 0: any."""
    number = port.service_port if port.host else port.port
    operation = f"{port.host}:{port.service_port}/*" if port.host else f":{number}/*"
    is_grpc = port.protocol in (Protocol.GRPC, Protocol.GRPC_WEB)
    route = InboundRoute(cluster, f"inbound|http|{number}", cluster, operation, None if is_grpc else inbound_retries(db))
    prefix = f"inbound_{port.bind or '0.0.0.0'}_{port.port}" if at else "InboundPassthroughCluster"
    for shape in SHAPES[mode, _speaks(port.protocol)]:
        tls: ServerTls | None = mesh_tls(db, shape.is_http) if shape.ends_tls else None
        does: Http | Tcp
        if shape.is_http:
            does = Http(route, Role.SERVER, prefix, has_grpc_web=port.protocol is Protocol.GRPC_WEB, is_mutual=shape.ends_tls)
        else:
            does = Tcp((TcpTarget(cluster),), cluster, is_mutual=shape.ends_tls)
        yield Chain(ChainMatch(at, shape.transport, shape.protocols), does, tls, name, port.origin)


def ends_own_tls(port: InboundPort, mode: MtlsMode) -> bool:
    """The Sidecar gives this port certificates of its own, and the mesh's mutual TLS is off there. Source: Istio IstioIngressListener.tls."""
    return port.tls is not None and mode is MtlsMode.DISABLE


def own_tls_chain(db: Db, port: InboundPort, name: str, at: int) -> Chain:
    """The one chain of such a port: TLS is ended with the Sidecar's certificates, and nothing else gets in."""
    assert port.tls is not None
    is_http = port.protocol.is_http or port.protocol is Protocol.HTTPS
    cluster = inbound_cluster(port.port)
    route = InboundRoute(cluster, f"inbound|http|{port.port}", cluster, f"{port.host or ''}:{port.port}/*", inbound_retries(db))
    does = Http(route, Role.SERVER, f"inbound_{port.port}") if is_http else to_cluster(cluster)
    return Chain(ChainMatch(at, TLS), does, server_tls(db, port.tls, is_http), name, port.origin)


@query
def _port_chains(db: Db, port: InboundPort, mode: MtlsMode) -> tuple[Chain, ...]:
    if ends_own_tls(port, mode):
        return (own_tls_chain(db, port, f"0.0.0.0_{port.port}", port.port),)
    return tuple(port_chains(db, port, inbound_cluster(port.port), mode, f"0.0.0.0_{port.port}", port.port))


@query
def _passthrough_chains(db: Db, mode: MtlsMode, number: int) -> tuple[Chain, ...]:
    """The chains for a port that no service has; `number` 0: for all of them."""
    cluster = INBOUND_PASSTHROUGH
    nowhere = InboundPort(number, Protocol.UNSUPPORTED)
    chains = []
    for chain in port_chains(db, nowhere, cluster, mode, CATCH_ALL, number):
        named = f"{CATCH_ALL}-catchall-http" if isinstance(chain.does, Http) else CATCH_ALL
        does = chain.does
        if isinstance(does, Http):
            does = Http(
                InboundRoute(cluster, f"inbound|http|{number}", cluster, f":{number}/*", inbound_retries(db)), Role.SERVER, cluster, is_mutual=does.is_mutual
            )
        chains.append(Chain(chain.match, does, chain.tls, named, chain.origin))
    return tuple(chains)


def _with_http10(chains: list[Chain]) -> list[Chain]:
    """Detected requests of HTTP/1.0 are requests too, where the proxy speaks it."""
    return [replace(one, match=replace(one.match, protocols=(HTTP10, *HTTP_PROTOCOLS))) if one.match.protocols == HTTP_PROTOCOLS else one for one in chains]


def virtual_inbound(db: Db, view: View) -> Listener:
    """The listener that takes every connection to the pod."""
    own = capture_ports(db, view).inbound
    chains = [Chain(ChainMatch(port=own), to_cluster(BLACK_HOLE), name=f"{CATCH_ALL}-blackhole")]
    ports = [port for port in inbound_ports(db, view) if not port.is_bound]
    origins: set[ObjectRef] = {port.origin for port in ports if port.origin}
    modes = {port.port: mtls_mode(db, view.namespace, view.labels, port.port) for port in ports}
    for port in ports:
        chains.extend(_port_chains(db, port, modes[port.port]))
    for number, mode in port_modes(db, view.namespace, view.labels):
        if number not in modes:
            modes[number] = mode
            chains.extend(_passthrough_chains(db, mode, number))
    rest = mtls_mode(db, view.namespace, view.labels)
    plain = {number for number, mode in modes.items() if mode is MtlsMode.DISABLE} - {port.port for port in ports if port.tls is not None}
    chains.extend(_passthrough_chains(db, rest, 0))
    return Listener(
        VIRTUAL_INBOUND,
        wildcards(view),
        own,
        Direction.INBOUND,
        unique_chains(_with_http10(chains) if accepts_http10(db, view) else chains),
        keeps_original_destination=is_captured(view),
        inspects_tls=rest is not MtlsMode.DISABLE or not plain >= modes.keys(),
        inspects_http=True,
        tls_free_ports=tuple(sorted(plain)),
        http_free_ports=tuple(sorted(port.port for port in ports if not port.protocol.is_detected)),
        origins=frozenset(origins),
    )
