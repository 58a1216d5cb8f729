"""Bounds what applications write. Called by `daemon` every few seconds.

Output goes to files opened for appending, never through pipes: so it outlives the daemon, and a file that was cut short goes on at its start.
"""

import os
from pathlib import Path

MAX_BYTES = 10_000_000
"""Per container, twice: the current file and the one before it. Source: Kubernetes, containerLogMaxSize."""
_CHUNK_BYTES = 1 << 20


def bound(path: Path, max_bytes: int = MAX_BYTES) -> bool:
    """Move the content of a file that has grown too large to `<path>.1` and empty it. Lines written meanwhile may be lost. True: it was done. OSError."""
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        return False
    if size_bytes <= max_bytes:
        return False
    older = path.with_name(f"{path.name}.1")
    with path.open("rb") as source, older.open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        source.seek(max(0, size_bytes - max_bytes))
        while chunk := source.read(_CHUNK_BYTES):
            target.write(chunk)
    os.truncate(path, 0)
    return True
