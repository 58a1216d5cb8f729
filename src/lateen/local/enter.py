"""`lateen exec`: a command in a running pod, as the container's user, in its network and among its files. Called by the command line.

Everything comes from the pod's `state.json`, so it works while both daemons are dead.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from lateen.base.errors import LateenError
from lateen.local import processes
from lateen.local.isolation import launcher
from lateen.local.isolation.seam import ProcessRef


class CannotEnter(LateenError):
    """There is no such container, it does not run, or this user may not; one line."""


def container_of(state: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    """The container of that name; None: the first that runs. CannotEnter."""
    containers = state.get("containers") or ()
    pod = f"{state.get('namespace')}/{state.get('name')}"
    if name is not None:
        found = next((each for each in containers if each["name"] == name), None)
        if found is None:
            raise CannotEnter(f"pod {pod} has no container {name}; it has: {', '.join(each['name'] for each in containers) or 'none'}")
        if not _runs(found):
            raise CannotEnter(f"container {name} of pod {pod} does not run: {found.get('reason') or found.get('status')}")
        return found  # type: ignore[no-any-return]  # JSON
    found = next((each for each in reversed(containers) if _runs(each)), None)
    if found is None:
        raise CannotEnter(f"no container of pod {pod} runs")
    return found  # type: ignore[no-any-return]  # JSON


def _runs(container: Mapping[str, Any]) -> bool:
    return bool(container.get("pid")) and processes.is_alive(ProcessRef(container["pid"], container["start"]))


def enter(state: Mapping[str, Any], container: str | None, argv: Sequence[str]) -> NoReturn:
    """Turn this process into `argv` in the pod. CannotEnter; the terminal, input and output stay as they are."""
    if os.geteuid() != 0:
        raise CannotEnter("entering a pod needs root here: run it with sudo")
    found = container_of(state, container)
    terminal = os.environ.get("TERM")
    plan = {
        "netns": state.get("netns", ""),
        "join_mounts": f"/proc/{found['pid']}/ns/mnt",
        "hostname": state.get("hostname") or state.get("name", ""),
        "mounts": [],
        "uid": found["uid"],
        "gid": found["gid"],
        "groups": found.get("groups", []),
        "argv": list(argv),
        "env": dict(found.get("env") or {}) | ({"TERM": terminal} if terminal else {}),
        "cwd": found.get("cwd") or "/",
    }
    try:
        launcher.run(plan)
    except launcher.LaunchError as error:
        raise CannotEnter(str(error)) from error
    except OSError as error:
        raise CannotEnter(f"cannot enter the pod: {error}") from error
    raise AssertionError("the command replaces this process")
