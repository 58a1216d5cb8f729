"""What a port speaks, from how it is written. Called where services are made of Kubernetes Services and ServiceEntries."""

from lateen.mesh.model import Protocol

_NAMES = {protocol.value.lower(): protocol for protocol in Protocol if protocol is not Protocol.UNSUPPORTED}
_APP_PROTOCOLS = {"kubernetes.io/h2c": Protocol.HTTP2, "kubernetes.io/ws": Protocol.HTTP, "kubernetes.io/wss": Protocol.HTTPS}
_SERVER_FIRST = frozenset({25, 53, 3306, 27017})
"""Ports where, by custom, the server speaks first: undeclared they are TCP, because detection would wait. Source: Istio, protocol selection."""
_GRPC_WEB = "grpc-web"


def declared_protocol(text: str) -> Protocol:
    """The protocol that a ServiceEntry's or Gateway's port names; UNSUPPORTED for none or an unknown one. Case does not count."""
    return _NAMES.get(text.lower(), Protocol.UNSUPPORTED)


def service_protocol(number: int, name: str, transport: str, app_protocol: str | None) -> Protocol:
    """The protocol of a Kubernetes Service's port. `app_protocol` beats `name`; None: not said. Source: Istio, protocol selection."""
    if transport == "UDP":
        return Protocol.UDP
    if app_protocol in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[app_protocol]
    text = (name if app_protocol is None else app_protocol).lower()
    if text.startswith(_GRPC_WEB):
        return Protocol.GRPC_WEB
    found = declared_protocol(text.partition("-")[0])
    return Protocol.TCP if found is Protocol.UNSUPPORTED and number in _SERVER_FIRST else found
