"""`lateen control` and `lateen node`: the daemons in the foreground. `up` starts both."""

import os
import sys
from pathlib import Path

import click

from lateen.base.errors import UsageError
from lateen.cli.options import mesh_paths, name_option, scope_option


def published(pairs: tuple[str, ...]) -> dict[int, int]:
    """`PORT=HOSTPORT` pairs. Raises UsageError."""
    found: dict[int, int] = {}
    for pair in pairs:
        port, _, host_port = pair.partition("=")
        if not (port.isdigit() and host_port.isdigit() and 0 < int(port) < 65536 and 0 < int(host_port) < 65536):
            raise UsageError(f"--publish: not PORT=HOSTPORT: `{pair}` (for example 80=8080)")
        found[int(port)] = int(host_port)
    return found


def _without_colours() -> None:
    """A daemon's log is plain. structlog would load `rich` for coloured tracebacks wherever it is installed: 60 modules, 8 MB in each daemon."""
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: "not to be had", Python's import system


@click.command("control")
@click.argument("paths", nargs=-1, metavar="PATH…")
@click.option("--listen", metavar="HOST:PORT", help="Serve xDS over TCP with mutual TLS as well, for example 127.0.0.1:15012.")
@scope_option
@click.option("--local", is_flag=True, hidden=True, help="Beside a node of this machine: addresses and readiness come from it.")
@click.option("--publish", multiple=True, hidden=True, metavar="PORT=HOSTPORT")
@name_option
def control_command(paths: tuple[str, ...], listen: str | None, scope: str, local: bool, publish: tuple[str, ...], name: str) -> None:
    """Run the control plane over YAML files, with no node and no pods."""
    _without_colours()
    from lateen.control.daemon import ControlOptions, run
    from lateen.mesh.automatic_scope import ScopeMode

    if not paths:
        raise UsageError("no PATH given: name the files or folders with the mesh's YAML, or - for standard input")
    sys.exit(run(ControlOptions(mesh_paths(name), paths, listen=listen, local=local, publish=published(publish), scope=ScopeMode(scope))))


@click.command("node")
@click.option("--image-map", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="How images run here.")
@click.option("--publish", multiple=True, metavar="PORT=HOSTPORT", help="Where a gateway's port is published on 127.0.0.1 (default: 8000 + PORT).")
@name_option
def node_command(image_map: Path | None, publish: tuple[str, ...], name: str) -> None:
    """Run this machine's pods for a control plane of the same name."""
    _without_colours()
    from lateen.local.daemon import NodeOptions, run

    uid, gid = int(os.environ.get("SUDO_UID", os.getuid())), int(os.environ.get("SUDO_GID", os.getgid()))
    sys.exit(run(NodeOptions(mesh_paths(name), publish=published(publish), image_map=image_map, invoking_uid=uid, invoking_gid=gid)))
