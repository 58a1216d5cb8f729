"""`lateen validate`: YAML without touching a mesh."""

import json
import sys

import click

from lateen.base.errors import UsageError
from lateen.base.findings import Finding, Severity
from lateen.cli.events import finding_line
from lateen.cli.options import output_option
from lateen.cli.rpc import Json


def as_json(finding: Finding) -> Json:
    """A finding with the field names of docs/json.md."""
    named, place = finding.object, finding.place
    return {
        "code": finding.code,
        "severity": finding.severity.name.lower(),
        "message": finding.message,
        "object": {"kind": named.kind, "namespace": named.namespace, "name": named.name} if named else None,
        "field": finding.field,
        "hint": finding.hint,
        "file": place.source if place else "",
        "line": place.line if place else 0,
        "column": place.column if place else 0,
    }


@click.command("validate")
@click.option("-f", "--filename", "paths", multiple=True, metavar="PATH|-", help="A file or folder; - for standard input.")
@click.argument("more", nargs=-1, metavar="[PATH…]")
@output_option()
def validate_command(paths: tuple[str, ...], more: tuple[str, ...], output: str) -> None:
    """Check YAML without touching a mesh. Exit 1 if something would be refused."""
    from lateen.sources.check import check

    if not (*paths, *more):
        raise UsageError("nothing to validate: name a file or folder with -f")
    checked = check((*paths, *more))
    if output == "json":
        click.echo(json.dumps({"objects": checked.objects, "findings": [as_json(finding) for finding in checked.findings]}, indent=2))
    else:
        for finding in checked.findings:
            click.echo(finding_line(as_json(finding)))
    errors = sum(finding.severity is Severity.ERROR for finding in checked.findings)
    click.echo(f"{checked.objects} objects, {errors} errors, {len(checked.findings) - errors} other findings", err=True)
    sys.exit(1 if errors else 0)
