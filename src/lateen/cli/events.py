"""What a living `up` prints: readiness once, then a line per change, finding and restart."""

import errno

import click

from lateen.base.errors import LateenError
from lateen.base.paths import MeshPaths
from lateen.cli.rpc import Json, call
from lateen.cli.tables import print_table


def tell(text: str, *, err: bool = False) -> None:
    """Prints a line; one that a full disk does not take is lost (the output of `up --detach` is a file)."""
    try:
        click.echo(text, err=err)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


class EventPrinter:
    """Prints control's events. A finding is printed once, until it is resolved."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def show(self, event: Json) -> None:
        """Prints one event; a kind it does not know prints nothing."""
        match event["event"]:
            case "live":
                tell(f"{event['object']}: live on {event['proxies']}/{event['of']} proxies in {event['ms']:.0f} ms")
            case "no-proxy":
                tell(f"{event['object']}: no proxy needs it")
            case "finding" if event["severity"] != "info":  # `lateen validate` tells those
                text = finding_line(event)
                if text not in self._shown:
                    self._shown.add(text)
                    tell(text, err=True)
            case "resolved":
                self._shown.discard(finding_line(event))
            case "rejected":
                hint = " (is the file there, and readable by the proxy's user?)" if "Invalid path" in event["message"] else ""
                more = f" on {event['proxies']} proxies" if event["proxies"] > 1 else ""
                tell(f"{event.get('object') or event['proxy']}: Envoy refused it{more}: {event['message']}{hint}; the last good version stays", err=True)
            case "learned":
                tell(f"{event['namespace']}/{event['workload'] or event['service_account']} has learned {event['cluster']}: its first request waited for it")
            case "pod" if event.get("message"):
                tell(f"Pod {event['namespace']}/{event['name']}: {event['phase']}: {event['message']}", err=True)


def finding_line(finding: Json) -> str:
    """`file:line:column: severity [code] object: field: message (hint)`."""
    place = ":".join(str(finding[key]) for key in ("file", "line", "column") if finding.get(key))
    named = finding.get("object") or {}
    what = f"{named['kind']} {named['namespace']}/{named['name']}: " if named.get("namespace") else f"{named['kind']} {named['name']}: " if named else ""
    field = f"{finding['field']}: " if finding.get("field") else ""
    hint = f" ({finding['hint']})" if finding.get("hint") else ""
    return f"{place + ': ' if place else ''}{finding['severity'].lower()} [{finding['code']}] {what}{field}{finding['message']}{hint}"


def print_ready(paths: MeshPaths, seconds: float | None) -> None:
    """The pods, the ingress and what to type. `seconds`: None: it is not ready, and the table says what is not."""
    try:
        pods, status = call(paths, "Pods")["pods"], call(paths, "Status")
    except LateenError as error:
        tell(f"control does not answer: {error}", err=True)
        return
    print_table(["NAMESPACE", "POD", "READY", "STATUS", "ADDRESS"], [[pod["namespace"], pod["name"], pod["ready"], pod["phase"], pod["ip"]] for pod in pods])
    for gateway in status["ingress"]:
        tell(f"ingress {gateway.get('problem') or gateway['url']}  ({gateway['gateway']}, port {gateway['port']})")
    proxies = status["proxies"]
    if seconds is None:
        waiting = [
            f"{pod['namespace']}/{pod['name']}: {pod['message'] or pod['phase']}" for pod in pods if pod["ready"].split("/")[0] != pod["ready"].split("/")[1]
        ]
        tell(
            "\nnot ready: "
            + ("; ".join(waiting) or f"{proxies['synced']}/{proxies['connected']} proxies have everything")
            + "; the rest runs, and edits are followed"
        )
    else:
        tell(f"\nready in {seconds:.1f} s: {len(pods)} pods, {proxies['connected']} proxies; edits are followed, Ctrl-C stops")
