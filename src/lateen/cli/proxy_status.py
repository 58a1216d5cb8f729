"""`lateen proxy-status`: whether each proxy has acknowledged what it should have."""

import json
import sys
import time

import click

from lateen.cli.options import mesh_paths, name_option, output_option
from lateen.cli.rpc import Json, call
from lateen.cli.tables import print_table, span

TYPES = ("CDS", "LDS", "EDS", "RDS", "ECDS")
WATCH_INTERVAL_S = 1.0


@click.command("proxy-status")
@click.argument("pod", required=False)
@click.option("-w", "--watch", is_flag=True, help="Print again whenever something changes.")
@name_option
@output_option()
def proxy_status_command(pod: str | None, watch: bool, name: str, output: str) -> None:
    """Whether each proxy has what it should. Exit 1 if one does not."""
    paths, last = mesh_paths(name), ""
    while True:
        proxies = [proxy for proxy in call(paths, "ProxyStatus")["proxies"] if pod is None or proxy["name"].split(".")[0] == pod or proxy["name"] == pod]
        now = json.dumps([[proxy["name"], {kind: state["state"] for kind, state in proxy["types"].items()}] for proxy in proxies])
        if now != last:
            click.echo(json.dumps({"proxies": proxies}, indent=2)) if output == "json" else _print(proxies)
        if not watch:
            sys.exit(0 if proxies and all(state["state"] in ("SYNCED", "NOT SENT") for proxy in proxies for state in proxy["types"].values()) else 1)
        last = now
        time.sleep(WATCH_INTERVAL_S)


def _print(proxies: list[Json]) -> None:
    rows = []
    for proxy in proxies:
        states = (proxy["types"].get(kind, {"state": "NOT SENT"}) for kind in TYPES)
        rows.append([proxy["name"], proxy["type"], proxy["version"], *(_state(state) for state in states), _clusters(proxy["clusters"])])
    print_table(["NAME", "TYPE", "ENVOY", *TYPES, "CLUSTERS"], rows)
    for proxy in proxies:
        for kind, state in proxy["types"].items():
            if state.get("error"):
                click.echo(f"{proxy['name']}: {kind} refused: {state['error']}", err=True)


def _state(state: Json) -> str:
    return state["state"] if state["state"] == "NOT SENT" else f"{state['state']} ({span(state['age_s'])})"


def _clusters(found: Json) -> str:
    return f"{found['held']} ({found['learned']} learned)" if found["learned"] else str(found["held"])
