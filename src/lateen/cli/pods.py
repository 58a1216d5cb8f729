"""`lateen ps`, `logs`, `exec`, `restart`: the pods of this machine. They read the node's records on disk, so that they work with both daemons dead."""

import json
import sys
import time
from pathlib import Path

import click

from lateen.base.errors import LateenError, UsageError
from lateen.base.paths import MeshPaths
from lateen.cli.options import mesh_paths, name_option, namespace_option, output_option
from lateen.cli.response_flags import in_words
from lateen.cli.rpc import Json, NotRunning, call, call_node
from lateen.cli.tables import print_table, span

FOLLOW_INTERVAL_S = 0.2


def pod_states(paths: MeshPaths) -> list[Json]:
    """The node's record of each pod, by namespace and name. Raises NotRunning."""
    if not paths.run.exists():
        raise NotRunning(f"no mesh named `{paths.name}` runs here; start one with `lateen up PATH`")
    found = []
    for path in sorted(paths.pods.glob("*/state.json")):
        try:
            found.append(json.loads(path.read_text()) | {"folder": str(path.parent)})
        except (ValueError, FileNotFoundError):
            continue  # being written or removed at this moment
    return found


def one_pod(paths: MeshPaths, target: str, namespace: str | None) -> Json:
    """The record of `POD` or of the first pod of `deploy/NAME`. Raises LateenError that lists what there is."""
    kind, _, name = target.rpartition("/")
    states = [state for state in pod_states(paths) if namespace is None or state["namespace"] == namespace]
    if kind and kind.lower() not in ("pod", "po", "pods"):
        matching = [state for state in states if state.get("workload", "").partition("/")[2] == name or state["name"].startswith(f"{name}-")]
    else:
        matching = [state for state in states if state["name"] == name]
    if len({state["namespace"] for state in matching}) > 1:
        raise UsageError(f"`{target}` is in several namespaces ({', '.join(sorted({state['namespace'] for state in matching}))}): name one with -n")
    if not matching:
        there = ", ".join(f"{state['namespace']}/{state['name']}" for state in states) or "none"
        raise LateenError(f"no such pod: `{target}`" + (f" in namespace {namespace}" if namespace else "") + f"; there are: {there}")
    return matching[0]


@click.command("ps")
@namespace_option
@name_option
@output_option()
def ps_command(namespace: str | None, name: str, output: str) -> None:
    """List the pods."""
    paths = mesh_paths(name)
    try:
        pods = call(paths, "Pods")["pods"]
    except NotRunning:
        pods = [
            {"namespace": state["namespace"], "name": state["name"], "ready": "?", "phase": "?", "restarts": 0, "ip": state.get("ip", ""), "age_s": 0}
            for state in pod_states(paths)
        ]
    pods = [pod for pod in pods if namespace is None or pod["namespace"] == namespace]
    if output == "json":
        click.echo(json.dumps({"pods": pods}, indent=2))
        return
    rows = [[pod["namespace"], pod["name"], pod["ready"], pod["phase"], pod["restarts"], span(pod["age_s"]), pod["ip"], pod.get("message", "")] for pod in pods]
    print_table(["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "ADDRESS", "MESSAGE"], rows)


@click.command("logs")
@click.argument("target", metavar="POD|deploy/NAME")
@click.option("-c", "--container", help="Which container (default: the first).")
@click.option("--access", is_flag=True, help="The proxy's access log.")
@click.option("--envoy", is_flag=True, help="The proxy's own log.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing.")
@click.option("--tail", type=int, default=None, metavar="N", help="Only the last N lines.")
@namespace_option
@name_option
def logs_command(target: str, container: str | None, access: bool, envoy: bool, follow: bool, tail: int | None, namespace: str | None, name: str) -> None:  # noqa: PLR0913 one per option
    """Print a pod's output, or its proxy's access log."""
    state = one_pod(mesh_paths(name), target, namespace)
    path = Path(log_path(state, container, access, envoy))
    if not path.exists():
        raise LateenError(f"no log yet: {path}")
    with path.open(errors="replace") as log:
        lines = log.readlines()
        shown = in_words if access else str.rstrip
        for line in lines if tail is None else lines[-tail:] if tail else []:
            click.echo(shown(line))
        while follow:
            text = log.readline()
            if text:
                click.echo(shown(text))
            elif path.exists() and path.stat().st_size < log.tell():
                log.seek(0)  # it was turned over
            else:
                time.sleep(FOLLOW_INTERVAL_S)


def log_path(state: Json, container: str | None, access: bool, envoy: bool) -> str:
    """Which file of a pod's record. Raises LateenError."""
    if access or envoy:
        if not state.get("envoy"):
            raise LateenError(f"{state['namespace']}/{state['name']} has no proxy: its namespace or an annotation says so")
        return str(state["envoy"]["access_log" if access else "log"])
    names = [item["name"] for item in state["containers"]]
    if container and container not in names:
        raise LateenError(f"no such container: `{container}`; there are: {', '.join(names)}")
    return str(next(item["log"] for item in state["containers"] if container in (None, item["name"])))


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("target", metavar="POD|deploy/NAME")
@click.argument("rest", nargs=-1, metavar="[-n NS] [-c CONTAINER] -- COMMAND…", type=click.UNPROCESSED)
@click.option("-c", "--container", help="Which container (default: the first).")
@namespace_option
@name_option
def exec_command(target: str, rest: tuple[str, ...], container: str | None, namespace: str | None, name: str) -> None:
    """Run a command inside a pod, as its application's user: `lateen exec deploy/client -n booking -- curl -s http://booking:8080/`."""
    from lateen.local.enter import enter

    words = list(rest)
    while words and words[0] != "--" and words[0] in ("-n", "--namespace", "-c", "--container", "--name") and len(words) > 1:
        option, value, *words = words
        if option in ("-n", "--namespace"):
            namespace = value
        elif option in ("-c", "--container"):
            container = value
        else:
            name = value
    argv = words[1:] if words[:1] == ["--"] else words
    if not argv:
        raise UsageError("no command given: lateen exec POD -n NAMESPACE -- COMMAND…")
    enter(one_pod(mesh_paths(name), target, namespace), container, argv)


@click.command("restart")
@click.argument("workload", metavar="deploy/NAME")
@namespace_option
@name_option
def restart_command(workload: str, namespace: str | None, name: str) -> None:
    """Restart the pods of a workload, one after the other."""
    answer = call_node(mesh_paths(name), "Restart", {"workload": workload, "namespace": namespace}, timeout_s=300)
    if not answer.get("restarted"):
        click.echo(f"lateen: no such workload: {workload}", err=True)
        sys.exit(1)
    for pod in answer["restarted"]:
        click.echo(f"restarted {pod}")
