"""`lateen up`: a mesh from YAML on this machine, until Ctrl-C."""

import os
import platform
import sys
from pathlib import Path

import click

from lateen.base.errors import LateenError, UsageError
from lateen.base.paths import MeshPaths
from lateen.cli.daemons import published
from lateen.cli.options import mesh_paths, name_option, scope_option


@click.command("up")
@click.argument("paths", nargs=-1, metavar="PATH…|-")
@click.option("--dry-run", is_flag=True, help="Say what would run, and run nothing.")
@click.option("--image-map", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="How images run here.")
@click.option("--publish", multiple=True, metavar="PORT=HOSTPORT", help="Where a gateway's port is published on 127.0.0.1 (default: 8000 + PORT).")
@click.option("--listen", metavar="HOST:PORT", help="Serve xDS over TCP with mutual TLS as well, for example 127.0.0.1:15012.")
@scope_option
@click.option("-d", "--detach", is_flag=True, help="Return once the mesh is ready; `lateen down` stops it.")
@name_option
def up_command(  # noqa: PLR0913 one per option
    paths: tuple[str, ...],
    dry_run: bool,
    image_map: Path | None,
    publish: tuple[str, ...],
    listen: str | None,
    scope: str,
    detach: bool,
    name: str,
) -> None:
    """Run a mesh from YAML files or folders (- for standard input) and follow their edits; Ctrl-C stops it and leaves nothing."""
    mesh, ports = mesh_paths(name), published(publish)
    if not paths:
        raise UsageError("no PATH given: name the files or folders with the mesh's YAML, or - for standard input")
    image_map = image_map.resolve() if image_map else found_image_map(paths)
    missing = [path for path in paths if path != "-" and not Path(path).exists()]
    if missing:
        raise UsageError(f"no such file or folder: {', '.join(missing)}")
    if dry_run:
        from lateen.cli.dry_run import dry_run as print_plan

        sys.exit(print_plan(paths, image_map))
    refuse_if_impossible()
    sources = tuple(stdin_as_file(mesh) if path == "-" else str(Path(path).resolve()) for path in paths)
    from lateen.cli.supervise import Plan, detached, supervise

    plan = Plan(mesh, sources, tuple(f"{port}={host}" for port, host in ports.items()), image_map, listen, scope)
    sys.exit(detached(plan) if detach else supervise(plan))


def found_image_map(paths: tuple[str, ...]) -> Path | None:
    """The `image-map.yaml` that lies in one of the folders, the first; None: there is none."""
    candidates = (Path(path) / "image-map.yaml" for path in paths if path != "-")
    return next((path.resolve() for path in candidates if path.is_file()), None)


def refuse_if_impossible() -> None:
    """Raises LateenError, one line, where `up` can't run: not Linux, no Envoy for this processor, not root."""
    from lateen.wire.binary import envoy_path

    if platform.system() != "Linux":
        raise LateenError(f"`up` runs on Linux (this is {platform.system()}): its pods are network namespaces")
    envoy_path()
    if os.geteuid() != 0:
        raise LateenError("`up` makes network namespaces and needs root for now: type  sudo ./lateen up …")


def stdin_as_file(mesh: MeshPaths) -> str:
    """Standard input as a file that control can read again after a restart."""
    mesh.run.mkdir(parents=True, exist_ok=True)
    path = mesh.run / "stdin.yaml"
    path.write_text(sys.stdin.read())
    return str(path)
