"""Listeners of a sidecar that Envoy opens itself: Sidecar ingress listeners that are not captured, and HTTP proxies. Called by `plan.listeners`."""

from collections.abc import Iterator, Mapping

from lateen.base.names import bound_listener_name, inbound_cluster
from lateen.config.store import mesh_field
from lateen.incremental import Db, index
from lateen.mesh.capture import capture_ports
from lateen.mesh.gateways import RESERVED_PORTS
from lateen.mesh.inbound import InboundPort, inbound_ports
from lateen.mesh.model import Protocol
from lateen.mesh.peer_authentication import mtls_mode
from lateen.mesh.view import View
from lateen.mesh.visibility import egress_listeners
from lateen.plan.inbound import ends_own_tls, own_tls_chain, port_chains
from lateen.plan.intercept import is_bindable, is_captured, local_address, proxy_port, wildcards
from lateen.plan.listener import Chain, ChainMatch, Direction, Http, Listener, Role, unique_chains
from lateen.plan.outbound import HTTP_PROXY_ROUTE


def _taken(db: Db, view: View) -> frozenset[int]:
    """Ports that are opened for other ends; a listener that asks for one is left out, or Envoy would refuse it."""
    own = capture_ports(db, view)
    return RESERVED_PORTS | {own.outbound, own.inbound}


@index
def _bound(db: Db, view: View) -> Mapping[str, Listener]:
    found: dict[str, Listener] = {}
    for listener in (*_ingress(db, view), *_proxies(db, view)):
        found.setdefault(listener.name, listener)
    return found


def bound_names(db: Db, view: View) -> tuple[str, ...]:
    """The names of the listeners that Envoy opens itself."""
    return tuple(_bound.whole(db, view))


def bound_listener(db: Db, view: View, name: str) -> Listener | None:
    """One of them by name."""
    return _bound.at(db, name, view)


def _ingress(db: Db, view: View) -> Iterator[Listener]:
    taken = _taken(db, view)
    for port in inbound_ports(db, view):
        if (port.is_bound or not is_captured(view)) and port.port not in taken and is_bindable(port.bind or local_address(view)):
            yield _ingress_listener(db, view, port)


def _ingress_listener(db: Db, view: View, port: InboundPort) -> Listener:
    addresses = (port.bind,) if port.bind else view.addresses[:1] or wildcards(view)
    mode = mtls_mode(db, view.namespace, view.labels, port.port)
    name = bound_listener_name(addresses[0], port.port)
    own = ends_own_tls(port, mode)
    chains = unique_chains([own_tls_chain(db, port, name, 0)] if own else list(port_chains(db, port, inbound_cluster(port.port), mode, name, 0)))
    return Listener(
        name,
        addresses,
        port.port,
        Direction.INBOUND,
        chains,
        inspects_tls=any(chain.match.transport for chain in chains),
        inspects_http=port.protocol.is_detected,
        origins=frozenset((port.origin,) if port.origin else ()),
    )


def _proxies(db: Db, view: View) -> Iterator[Listener]:
    """HTTP proxies: the workload's own, the mesh's `proxyHttpPort`, and egress listeners of protocol HTTP_PROXY. Source: Istio MeshConfig.proxyHttpPort."""
    if view.is_router:
        return
    taken = _taken(db, view)
    for egress in egress_listeners(db, view):
        if egress.port is None or egress.port.protocol is not Protocol.HTTP_PROXY or egress.port.number in taken:
            continue
        if is_bindable(egress.bind or local_address(view)):
            yield _proxy(egress.bind or local_address(view), egress.port.number)
    for port in (proxy_port(view), mesh_field(db, "proxy_http_port")):
        if isinstance(port, int) and port > 0 and port not in taken:
            yield _proxy(local_address(view), port)


def _proxy(address: str, port: int) -> Listener:
    does = Http(HTTP_PROXY_ROUTE, Role.CLIENT, HTTP_PROXY_ROUTE, is_proxy=True)
    return Listener(bound_listener_name(address, port), (address,), port, Direction.OUTBOUND, (Chain(ChainMatch(), does),))
