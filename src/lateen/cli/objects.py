"""`lateen get`: the objects in force."""

import json
import sys
import time

import click

from lateen.base.errors import UsageError
from lateen.cli.options import mesh_paths, name_option, namespace_option, output_option
from lateen.cli.rpc import call
from lateen.cli.tables import print_table, span

SHORT = {
    "vs": "VirtualService",
    "dr": "DestinationRule",
    "gw": "Gateway",
    "se": "ServiceEntry",
    "we": "WorkloadEntry",
    "wg": "WorkloadGroup",
    "pa": "PeerAuthentication",
    "ra": "RequestAuthentication",
    "ap": "AuthorizationPolicy",
    "svc": "Service",
    "po": "Pod",
    "deploy": "Deployment",
    "sts": "StatefulSet",
    "ns": "Namespace",
    "cm": "ConfigMap",
    "sa": "ServiceAccount",
}
"""kubectl's and Istio's short names."""


def full_kind(word: str, known: list[str]) -> str:
    """A kind from its short name, plural or any case. Raises UsageError with the nearest."""
    import difflib

    lower = word.lower()
    if lower in SHORT:
        return SHORT[lower]
    for kind in sorted({*known, *SHORT.values(), "Sidecar", "ProxyConfig", "Secret", "Job", "EndpointSlice"}):
        if lower in (kind.lower(), kind.lower() + "s", kind.lower() + "es", kind.lower().removesuffix("y") + "ies"):
            return kind
    close = difflib.get_close_matches(word, [*known, *SHORT.values()], n=1)
    raise UsageError(f"no such kind: `{word}`" + (f"; did you mean `{close[0]}`?" if close else ""))


@click.command("get")
@click.argument("kind")
@click.argument("object_name", metavar="[NAME]", required=False)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, expose_value=False, help="All namespaces; so it is without -n, too.")
@name_option
@output_option("json", "yaml")
def get_command(kind: str, object_name: str | None, namespace: str | None, name: str, output: str) -> None:
    """Print the objects of a KIND in force (`get vs`, `get pods -n booking`, `get Service payment -o yaml`)."""
    paths = mesh_paths(name)
    known = sorted(call(paths, "Status")["objects"])
    if kind.lower() in ("all", "kinds"):
        found = call(paths, "Objects", {"namespace": namespace})["objects"]
    else:
        found = call(paths, "Objects", {"kind": full_kind(kind, known), "namespace": namespace, "name": object_name})["objects"]
    if output == "json":
        click.echo(json.dumps({"objects": found}, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump_all(found, sort_keys=False), nl=False)
    else:
        rows = [[item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"], _age(item)] for item in found]
        print_table(["KIND", "NAMESPACE", "NAME", "AGE"], rows)
    if object_name and not found:
        click.echo(f"lateen: not found: {kind} {object_name}", err=True)
        sys.exit(1)


def _age(item: dict) -> str:  # type: ignore[type-arg]  # JSON
    created = item["metadata"].get("creationTimestamp")
    if not created:
        return ""
    from datetime import datetime

    return span(time.time() - datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp())
