"""`lateen status`: what runs, and whether it is well."""

import json
import sys

import click

from lateen.cli.events import finding_line
from lateen.cli.options import mesh_paths, name_option, output_option
from lateen.cli.rpc import Json, call
from lateen.cli.tables import span

MOST_FINDINGS = 20
"""Lines; more of them hide what stands above."""

MOST_WORKLOADS = 20
"""Of those that have learned clusters; `-o json` has all, with the clusters."""


@click.command("status")
@name_option
@output_option()
def status_command(name: str, output: str) -> None:
    """What runs, and whether it is well. Exit 1 if something is not."""
    paths = mesh_paths(name)
    status = call(paths, "Status")
    if output == "json":
        click.echo(json.dumps(status, indent=2))
    else:
        _print(name, status)
        _print_findings(call(paths, "Findings")["findings"])
    sys.exit(0 if status["ready"] and not status["findings"].get("error") else 1)


def _print(name: str, status: Json) -> None:
    control, node, proxies = status["control"], status["node"], status["proxies"]
    click.echo(f"mesh      {name}: {'ready' if status['ready'] else 'not ready'}, revision {status['revision']}")
    click.echo(f"control   pid {control['pid']}, {control['rss_mb']:.0f} MB, up {span(control['uptime_s'])}")
    click.echo(f"node      {'connected' if node['connected'] else 'not connected'}, {node['ready']}/{node['pods']} pods ready")
    click.echo(f"proxies   {proxies['synced']}/{proxies['connected']} have everything")
    scope = status["scope"]
    if scope["mode"] == "automatic":
        click.echo("scope     automatic; learned: " + (", ".join(map(_learned, scope["learned"][:MOST_WORKLOADS])) or "nothing"))
    click.echo("objects   " + ", ".join(f"{count} {kind}" for kind, count in sorted(status["objects"].items())))
    for gateway in status["ingress"]:
        click.echo(f"ingress   {gateway.get('problem') or gateway['url']}  {gateway['gateway']} port {gateway['port']}")
    findings = status["findings"]
    click.echo(f"findings  {findings.get('error', 0)} errors, {findings.get('warning', 0)} warnings")


def _learned(one: Json) -> str:
    return f"{one['namespace']}/{one['workload'] or one['service_account']} {len(one['clusters'])}"


def _print_findings(findings: list[Json]) -> None:
    told = [finding for finding in findings if finding["severity"] != "info"]
    for finding in told[:MOST_FINDINGS]:
        click.echo(f"  {finding_line(finding)}")
    if len(told) > MOST_FINDINGS:
        click.echo(f"  … and {len(told) - MOST_FINDINGS} more (-o json has the count, lateen validate PATH all of them)")
