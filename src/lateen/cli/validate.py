"""`lateen validate`: YAML without touching a mesh."""

import json
import sys

import click

from lateen.base.errors import UsageError
from lateen.base.findings import Finding, Severity
from lateen.cli.events import finding_lines
from lateen.cli.options import mesh_paths, output_option
from lateen.cli.rpc import Json, call
from lateen.config.kinds.objects import Object
from lateen.sources.check import Checked


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


def judged(paths: tuple[str, ...], mesh: str | None = None) -> tuple[Checked, tuple[Finding, ...]]:
    """What files hold, and what is wrong with each object and with all together. `mesh`: one that runs, whose objects are there as well. Raises LateenError."""
    from lateen.control.review import review
    from lateen.sources.check import check

    checked = check(paths)
    return checked, (*checked.findings, *review(checked, _in_force(mesh) if mesh else ()))


def _in_force(mesh: str) -> tuple[Object, ...]:
    from lateen.config.decode import decode

    found = call(mesh_paths(mesh), "Objects")["objects"]
    return decode(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}), mesh).objects


@click.command("validate")
@click.option("-f", "--filename", "paths", multiple=True, metavar="PATH|-", help="A file or folder; - for standard input.")
@click.argument("more", nargs=-1, metavar="[PATH…]")
@click.option("--name", default=None, help="Judge as an edit of this mesh, which runs: what its other objects offer counts.")
@output_option()
def validate_command(paths: tuple[str, ...], more: tuple[str, ...], name: str | None, output: str) -> None:
    """Check YAML without touching a mesh: each object, and all of them together. Exit 1 if there is an error."""
    if not (*paths, *more):
        raise UsageError("nothing to validate: name a file or folder with -f")
    checked, findings = judged((*paths, *more), name)
    if output == "json":
        click.echo(json.dumps({"objects": checked.objects, "findings": [as_json(finding) for finding in findings]}, indent=2))
    else:
        for line in finding_lines(map(as_json, findings)):
            click.echo(line)
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    click.echo(f"{checked.objects} objects, {errors} errors, {len(findings) - errors} other findings", err=True)
    sys.exit(1 if errors else 0)
