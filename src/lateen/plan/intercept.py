"""How traffic reaches a proxy: captured by redirection, or at ports the proxy opens itself; at which wildcard and loopback addresses.

Called by the files beside it."""

from lateen.base.addresses import is_ip
from lateen.mesh.view import View

_MODE = "INTERCEPTION_MODE"


def is_captured(view: View) -> bool:
    """Traffic is redirected to the proxy. False: `INTERCEPTION_MODE` NONE, applications call the proxy's ports. Source: Istio ProxyConfig.interceptionMode."""
    return dict(view.metadata).get(_MODE, "REDIRECT") != "NONE"


def opens_all(view: View) -> bool:
    """There is an outbound listener for each port of the services it may call. False (`OUTBOUND_LISTENERS` WRITTEN): only those that a Sidecar names by
    port, for a proxy that shares its machine's addresses with others. Ours: docs/recipes/outside.md."""
    return dict(view.metadata).get("OUTBOUND_LISTENERS") != "WRITTEN"


def proxy_port(view: View) -> int:
    """Where applications of this one workload find an HTTP proxy, at the loopback address; 0: nowhere. Source: Istio, HTTP_PROXY_PORT."""
    text = dict(view.metadata).get("HTTP_PROXY_PORT", "")
    return int(text) if text.isdecimal() and text.isascii() and int(text) < 65536 else 0


def is_bindable(address: str) -> bool:
    """Something that a listener can be at: an IP address, or a unix socket by its absolute path."""
    if address.startswith("unix://"):
        return address.startswith("unix:///")
    return is_ip(address)


def wildcards(view: View) -> tuple[str, ...]:
    """Every address of the proxy's families; the first names listeners."""
    if view.has_ipv4 or not view.has_ipv6:
        return ("0.0.0.0", "::") if view.has_ipv6 else ("0.0.0.0",)
    return ("::",)


def local_address(view: View) -> str:
    """The loopback address that applications use."""
    return "127.0.0.1" if view.has_ipv4 or not view.has_ipv6 else "::1"
