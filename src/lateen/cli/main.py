"""`lateen`: the table of commands. Each is imported only when it is called, so that `lateen --help` is quick."""

import importlib
import sys
from typing import NoReturn

import click

from lateen.base.errors import LateenError, UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("lateen.cli.up", "Run a mesh from YAML on this machine, and follow its edits."),
    "down": ("lateen.cli.down", "Stop a mesh and remove everything it made."),
    "status": ("lateen.cli.status", "What runs, and whether it is well."),
    "ps": ("lateen.cli.pods", "List the pods."),
    "logs": ("lateen.cli.pods", "Print a pod's output, or its proxy's access log."),
    "exec": ("lateen.cli.pods", "Run a command inside a pod."),
    "restart": ("lateen.cli.pods", "Restart the pods of a workload, one after the other."),
    "get": ("lateen.cli.objects", "Print the objects in force."),
    "validate": ("lateen.cli.validate", "Check YAML without touching a mesh."),
    "simulate": ("lateen.cli.simulate", "Where calls would go, from the resources a proxy would get."),
    "proxy-status": ("lateen.cli.proxy_status", "Whether each proxy has what it should."),
    "proxy-config": ("lateen.cli.proxy_config", "What a proxy's Envoy really holds."),
    "ca": ("lateen.cli.ca", "Certificates of the mesh, for clients outside of it."),
    "agent": ("lateen.cli.agent", "The mesh beside a process that runs outside of it."),
    "control": ("lateen.cli.daemons", "The control plane alone (what `up` starts)."),
    "node": ("lateen.cli.daemons", "The node daemon alone (what `up` starts)."),
    "version": ("lateen.cli.version", "Versions of Lateen and of its Envoy."),
    "completion": ("lateen.cli.completion", "Print a shell's completion script."),
}
"""Command → (module, one line). The module has a click command of the same name, `-` as `_`; the order is the help's."""


class Commands(click.Group):
    """Loads a command's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; None: no such name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with a suggestion for a mistyped name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"no such command: {args[0]}" + (f"; did you mean `{close[0]}`?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table's lines, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lateen", message="%(version)s")
def cli() -> None:
    """Lateen: a service mesh on real Envoy that speaks the Istio API."""


def main() -> NoReturn:
    """Runs the command line and exits: 0 fine, 1 findings or failure, 2 usage."""
    try:
        cli.main(prog_name="lateen", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UsageError as error:
        click.echo(f"lateen: {error}", err=True)
        sys.exit(2)
    except LateenError as error:
        click.echo(f"lateen: {error}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("lateen: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    sys.exit(0)
