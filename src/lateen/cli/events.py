"""What a living `up` prints: readiness once, then a line per change, finding and restart."""

import errno
from collections import Counter
from collections.abc import Iterable, Iterator

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


MOST_ALIKE = 10
"""How many findings of one code and one object are printed."""
LONGEST_LINE = 800
"""Characters of a finding that are printed: a name may be as long as a file."""


class EventPrinter:
    """Prints control's events. A finding is printed once, until it is resolved; of many alike, the first."""

    def __init__(self) -> None:
        self._shown: set[str] = set()
        self._alike: Counter[str] = Counter()

    def show(self, event: Json) -> None:
        """Prints one event; a kind it does not know prints nothing."""
        match event["event"]:
            case "live":
                tell(f"{event['object']}: live on {event['proxies']}/{event['of']} proxies in {event['ms']:.0f} ms")
            case "no-proxy":
                tell(f"{event['object']}: no proxy needs it")
            case "finding" if event["severity"] != "info":  # `lateen validate` tells those
                self._finding(event)
            case "resolved":
                text = finding_line(event)
                if text in self._shown:
                    self._shown.remove(text)
                    self._alike[_of(event)] -= 1
            case "rejected":
                hint = " (is the file there, and readable by the proxy's user?)" if "Invalid path" in event["message"] else ""
                more = f" on {event['proxies']} proxies" if event["proxies"] > 1 else ""
                tell(f"{event.get('object') or event['proxy']}: Envoy refused it{more}: {event['message']}{hint}; the last good version stays", err=True)
            case "learned":
                tell(f"{event['namespace']}/{event['workload'] or event['service_account']} has learned {event['cluster']}: its first request waited for it")
            case "pod" if event.get("message"):
                tell(f"Pod {event['namespace']}/{event['name']}: {event['phase']}: {event['message']}", err=True)

    def _finding(self, event: Json) -> None:
        text, of = finding_line(event), _of(event)
        if text in self._shown:
            return
        self._shown.add(text)
        self._alike[of] += 1
        if self._alike[of] <= MOST_ALIKE:
            tell(text, err=True)
        elif self._alike[of] == MOST_ALIKE + 1:
            tell(f"… and more of {of} (`lateen validate` counts them)", err=True)


def _name(finding: Json) -> str:
    named = finding.get("object") or {}
    return f"{named['kind']} {named['namespace']}/{named['name']}" if named.get("namespace") else f"{named['kind']} {named['name']}" if named else ""


def _of(finding: Json) -> str:
    return f"{finding['severity'].lower()} [{finding['code']}] {_name(finding) or finding.get('file', '')}"


def finding_line(finding: Json) -> str:
    """`file:line:column: severity [code] object: field: message (hint)`, shortened where somebody wrote very much."""
    place = ":".join(str(finding[key]) for key in ("file", "line", "column") if finding.get(key))
    what, field = (f"{one}: " if one else "" for one in (_name(finding), finding.get("field")))
    hint = f" ({finding['hint']})" if finding.get("hint") else ""
    line = f"{place + ': ' if place else ''}{finding['severity'].lower()} [{finding['code']}] {what}{field}{finding['message']}"
    return _shortened(line) + _shortened(hint)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} … (of {len(text)} characters)"


def finding_lines(findings: Iterable[Json]) -> Iterator[str]:
    """A line each, in order; of more than `MOST_ALIKE` of one code and object the first, and how many more there are."""
    found = list(findings)
    alike, printed = Counter(map(_of, found)), Counter[str]()
    for one in found:
        of = _of(one)
        printed[of] += 1
        if printed[of] <= MOST_ALIKE:
            yield finding_line(one)
        elif printed[of] == alike[of]:
            yield f"… and {alike[of] - MOST_ALIKE} more of {of} (`lateen validate -o json` has all)"


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
