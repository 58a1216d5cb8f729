"""Small JSON files that are never half written: what was made here, and what runs. Called by `namespaces.py` and `local.state`."""

import contextlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def write(path: Path, value: object, durable: bool = False, mode: int = 0o600) -> None:
    """Replace `path` by `value` as JSON, atomically; `durable`: also through a power cut. OSError: the old file is as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        rest = msgspec.json.encode(value)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    fresh.rename(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            os.fsync(folder)
        os.close(folder)


def read(path: Path, kind: type[T]) -> T | None:
    """The value in `path`. None: no such file, or one that is not of this kind (then it is as good as none)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
