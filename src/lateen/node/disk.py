"""Files that survive: written whole or not at all, also across a power cut or a full disk. Called by every room that keeps state on disk."""

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Puts `data` at `path` by write, fsync, rename and fsync of the directory. Raises OSError (ENOSPC included) and leaves the old file as it was.

    `owner`: user and group id the file gets. None: those of this process.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(descriptor, mode)
            if owner is not None:
                os.fchown(descriptor, *owner)
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes every byte: a nearly full disk takes a part first and says ENOSPC only on the next call. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def open_tables(path: Path, schema: str, timeout_s: float) -> sqlite3.Connection:
    """A database at `path` (0600) with the tables of `schema`, made if need be; each statement is its own transaction unless one is begun.

    A crash of the process loses nothing that was written, a power cut at most the last transactions. Raises sqlite3.Error, OSError.
    """
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(schema)
    path.chmod(0o600)
    return connection


def sync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, mode: int = 0o700, owner: tuple[int, int] | None = None) -> None:
    """Makes `path` (and its parents) if need be and gives it `mode` and `owner`. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    if owner is not None:
        os.chown(path, *owner)
