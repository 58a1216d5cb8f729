"""`lateen up --dry-run`: what would run, and nothing else."""

import json
from pathlib import Path

import click

from lateen.base.findings import Severity
from lateen.cli.events import finding_lines
from lateen.cli.tables import print_table
from lateen.cli.validate import as_json, judged


def dry_run(paths: tuple[str, ...], image_map: Path | None) -> int:
    """Prints the pods with their commands, the services, and every finding. 1: there are errors."""
    from lateen.local.preview import preview

    checked, found = judged(paths)
    rows, findings = preview(checked.loaded, image_map)
    print_table(
        ["NAMESPACE", "POD", "PROXY", "COMMAND"], [[row.namespace, row.pod, "yes" if row.is_meshed else "no", json.dumps(list(row.command))] for row in rows]
    )
    everything = (*found, *findings)
    for line in finding_lines(map(as_json, everything)):
        click.echo(line, err=True)
    click.echo(f"{len(rows)} pods would run; nothing was started", err=True)
    return 1 if any(finding.severity is Severity.ERROR for finding in everything) else 0
