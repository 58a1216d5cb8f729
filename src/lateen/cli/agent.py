"""`lateen agent`: the mesh beside a process outside of it."""

import os
import socket
import sys
from ipaddress import ip_address
from pathlib import Path

import click

from lateen.base.errors import UsageError
from lateen.base.paths import MeshPaths


@click.command("agent")
@click.option("--control", required=True, metavar="HOST:PORT", help="Control's TCP port: what `lateen up --listen` names.")
@click.option("--certificates", required=True, type=click.Path(file_okay=False, path_type=Path), help="What `lateen ca issue` wrote; kept renewed.")
@click.option("--group", required=True, metavar="NAMESPACE/NAME", help="The WorkloadGroup to join.")
@click.option("--address", metavar="IP", help="Where the mesh reaches the process: of this machine, not 127.0.0.1 [default: that towards control]")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label beside those of the group.")
@click.option("--locality", default="", metavar="REGION/ZONE/SUBZONE", help="Where this machine stands.")
@click.option("--network", default="", help="Which of the mesh's networks the address is of.")
@click.option("--http-proxy", "proxy_port", type=click.IntRange(1, 65535), metavar="PORT", help="Offer an HTTP proxy into the mesh at 127.0.0.1.")
def agent_command(  # noqa: PLR0913 one per option
    control: str,
    certificates: Path,
    group: str,
    address: str | None,
    labels: tuple[str, ...],
    locality: str,
    network: str,
    proxy_port: int | None,
) -> None:
    """Bring a process that runs outside the mesh into it, until Ctrl-C.

    The process listens at 127.0.0.1; an Envoy at --address ends mesh TLS before it. It needs no right but its user's.
    """
    host, _, port = control.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--control: not HOST:PORT: `{control}`")
    namespace, _, name = group.partition("/")
    if not namespace or not name or "/" in name:
        raise UsageError(f"--group: not NAMESPACE/NAME: `{group}`")
    own = checked_address(address or towards(host.strip("[]"), int(port)))
    check_free("::1" if ":" in own else "127.0.0.1", proxy_port or 0, "--http-proxy")
    from lateen.agent.process import AgentOptions, run
    from lateen.base.names import registered_name
    from lateen.node.pod import Locality

    place = [*locality.split("/"), "", "", ""]
    folder = MeshPaths.of("agents", os.environ, os.geteuid() == 0).run / f"{namespace}.{registered_name(name, own, network)}"
    pairs = dict(pair(text) for text in labels)
    sys.exit(run(AgentOptions(control, certificates, namespace, name, own, folder, pairs, Locality(*place[:3]), network, proxy_port or 0)))


def pair(text: str) -> tuple[str, str]:
    """`KEY=VALUE`. Raises UsageError."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--label: not KEY=VALUE: `{text}`")
    return key, value


def towards(host: str, port: int) -> str:
    """This machine's address on the way to control; nothing is sent. Raises UsageError."""
    try:
        family, kind, protocol, _, there = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(there)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UsageError(f"--control: no way to `{host}`: {error.strerror or error}") from None


def checked_address(text: str) -> str:
    """An address that the proxy may have. Raises UsageError."""
    try:
        address = ip_address(text)
    except ValueError:
        raise UsageError(f"--address: not an IP address: `{text}`") from None
    if str(address) in ("127.0.0.1", "::1") or address.is_unspecified:
        raise UsageError(f"--address {address}: the process itself listens there; choose another of this machine (127.0.0.2 is one, for clients on it)")
    check_free(str(address), 0, "--address")
    return str(address)


def check_free(address: str, port: int, option: str) -> None:
    """Raises UsageError if this machine does not let its user listen there. Port 0: any."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            shown = f"{address}:{port}" if port else address
            raise UsageError(f"{option}: cannot listen at {shown}: {error.strerror}") from None
