"""Each pod's hosts file: names of Services with an address are found in it, so that they outlive the node. Called by whoever runs pods."""

import contextlib
import secrets
from pathlib import Path

from lateen.node.names import Names


def write_hosts(folder: Path, names: Names, namespace: str) -> bool:
    """Renew `hosts` in a pod's folder from its own lines (`hosts.own`) and the mesh's names, by one rename. True: it changed. OSError."""
    text = names.hosts((folder / "hosts.own").read_text(), namespace)
    path = folder / "hosts"
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return False
    fresh = folder / f".hosts.{secrets.token_hex(4)}"
    try:
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    return True
