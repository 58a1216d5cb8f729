"""`lateen completion`: the shell's own completion script, from click."""

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print a shell's completion script; for bash: `source <(lateen completion bash)`."""
    from lateen.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(cli, {}, "lateen", "_LATEEN_COMPLETE").source())
