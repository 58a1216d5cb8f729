"""`lateen down`: stop a mesh and remove everything it made, also after a crash."""

import signal

import click

from lateen.base.errors import LateenError
from lateen.cli import lifecycle
from lateen.cli.options import mesh_paths, name_option


@click.command("down")
@click.option("--quiet", is_flag=True, help="Say nothing.")
@name_option
def down_command(quiet: bool, name: str) -> None:
    """Stop a mesh and remove everything it made: processes, namespaces, links, rules, mounts. Fine if nothing runs."""
    import os

    from lateen.cli.supervise import tear_down

    paths = mesh_paths(name)
    if not paths.run.exists():
        if not quiet:
            click.echo(f"no mesh named `{name}` runs here", err=True)
        return
    if os.geteuid() != 0 and paths.run.owner() == "root":
        raise LateenError(f"mesh `{name}` is root's: type  sudo ./lateen down --name {name}")
    living = lifecycle.holder(paths)
    if living:
        living.signal(signal.SIGTERM)
        if not living.wait(70.0):
            living.signal(signal.SIGKILL)
            living.wait(5.0)
    tear_down(paths)
    if not quiet:
        click.echo(f"stopped {name}; nothing is left", err=True)
