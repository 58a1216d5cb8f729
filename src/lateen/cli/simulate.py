"""`lateen simulate`: where the calls of test cases would go, from the resources a proxy would get."""

import sys
from pathlib import Path

import click

from lateen.base.errors import UsageError


@click.command("simulate")
@click.argument("cases", nargs=-1, required=True, metavar="CASE…", type=click.Path(path_type=Path))
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Where the answers go.")
@click.option("--dump", "dumps", is_flag=True, help="Also write the resources themselves.")
@click.option("--traceback", "shows_traceback", is_flag=True, help="Show where a failing case failed.")
def simulate_command(cases: tuple[Path, ...], out: Path, dumps: bool, shows_traceback: bool) -> None:
    """Where calls would go, from the resources a proxy would get.

    CASE is a case folder (in.yaml, proxy.json, calls.json) or a tree of them. Exit 1 if a case failed.
    """
    from lateen.insight.simulate.run import found_cases, simulate

    works = []
    for argument in cases:
        found = found_cases(argument, out)
        if not found:
            raise UsageError(f"no case there (a folder with calls.json): {argument}")
        works += found
    failures = 0
    for failure in simulate(works, dumps):
        failures += 1
        click.echo(f"{failure.folder}: {failure.error}", err=True)
        if shows_traceback:
            click.echo(failure.details, err=True)
    sys.exit(1 if failures else 0)
