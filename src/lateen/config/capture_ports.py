"""The ports that redirected connections come in at. Called by `mesh` for what listens there, by `control.injection` for who redirects, and by `validate`.

Source: Istio MeshConfig.proxyListenPort and proxyInboundListenPort.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lateen.base.names import INBOUND_PORT, OUTBOUND_PORT
from lateen.config.kinds.istio.mesh_config import MeshConfig

LARGEST_PORT = 65535
OWN_PORTS = frozenset((15004, 15008, 15020, 15021, 15053, 15054, 15090))
"""Other ports of the mesh's own in every pod."""


@dataclass(frozen=True)
class CapturePorts:
    """`outbound`: of what the pod sends; `inbound`: of what it gets."""

    outbound: int = OUTBOUND_PORT
    inbound: int = INBOUND_PORT


def port_problems(config: MeshConfig) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it); the ports are then as if nothing had been said."""
    for field, port in (("proxyListenPort", config.proxy_listen_port), ("proxyInboundListenPort", config.proxy_inbound_listen_port)):
        if not 0 < port <= LARGEST_PORT:
            yield field, f"no port: {port}"
        elif port in OWN_PORTS:
            yield field, f"the mesh uses this port itself: {port}"
    if config.proxy_listen_port == config.proxy_inbound_listen_port:
        yield "proxyInboundListenPort", f"the same as proxyListenPort: {config.proxy_listen_port}"


def capture_ports(config: MeshConfig) -> CapturePorts:
    """The ports that a mesh configuration asks for."""
    if next(port_problems(config), None) is not None:
        return CapturePorts()
    return CapturePorts(config.proxy_listen_port, config.proxy_inbound_listen_port)
