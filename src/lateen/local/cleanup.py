"""Takes away everything a mesh has made on this machine, whatever state it was left in. Called by `lateen down`, and by `up` when it ends.

Goes by records alone (`isolation/`, `pods/`), so it needs no daemon. Processes are ended by pid and start time, or because they live in a pod's network.
"""

import contextlib
import shutil

from lateen.base.errors import LateenError
from lateen.base.paths import MeshPaths
from lateen.local import processes
from lateen.local.edge import Edge
from lateen.local.isolation.namespaces import NamespaceIsolation
from lateen.local.runner import recorded


def remove_all(paths: MeshPaths) -> None:
    """End all processes of pods, remove links, namespaces, mounts and the pods' folders. What stands under `paths.state` stays.

    LateenError: something resisted.
    """
    folders = sorted(paths.pods.iterdir()) if paths.pods.is_dir() else []
    for folder in folders:
        state = recorded(folder)
        for one in state.containers.values() if state else ():
            if one.process is not None and processes.is_alive(one.process):
                processes.kill_session(one.process)
    Edge.remove_recorded(paths)
    NamespaceIsolation(paths).remove_all()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("wanted.json", "node.sock", "dns.json"):
        (paths.run / name).unlink(missing_ok=True)
    shutil.rmtree(paths.run / "known", ignore_errors=True)
    with contextlib.suppress(OSError):
        paths.pods.rmdir()
    left = [folder.name for folder in folders if folder.exists()]
    if left:
        raise LateenError(f"could not remove: {', '.join(left)}")
