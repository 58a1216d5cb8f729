"""The questions that a container's probes stand for. Called by `runner`, in a thread inside the pod's network; `node.probes` asks them.

What stays within a pod's network is not redirected, so STRICT changes nothing. Each function returns None if all is well, else one line.
"""

from lateen.local.podspec import Container, GrpcAction, HttpGet, IntOrText, TcpSocket
from lateen.node import probes


def port_number(container: Container, port: IntOrText) -> int | None:
    """The number of a port given by number or name. None: the container names no such port."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    return next((each.container_port for each in container.ports if each.name == port), None)


def http(container: Container, action: HttpGet, address: str, timeout_s: float) -> str | None:
    """`address`: the pod's, where the action names no host."""
    port = port_number(container, action.port)
    if port is None:
        return f"no port of this name: {action.port}"
    headers = tuple((header.name, header.value) for header in action.http_headers)
    return probes.http(probes.HttpCheck(action.host or address, port, action.path, action.scheme, headers), timeout_s)


def tcp(container: Container, action: TcpSocket, address: str, timeout_s: float) -> str | None:
    """As `http`."""
    port = port_number(container, action.port)
    return f"no port of this name: {action.port}" if port is None else probes.tcp(action.host or address, port, timeout_s)


def grpc(action: GrpcAction, address: str, timeout_s: float) -> str | None:
    """`address`: the pod's."""
    return probes.grpc(address, action.port, action.service or "", timeout_s)


def listens(container: Container, pid: int) -> str | None:
    """Whether every declared TCP port has a listener in the network of `pid`."""
    return probes.listens((port.container_port for port in container.ports if port.protocol == "TCP"), pid)
