"""Starts the agent's Envoy: a process of the agent's user, in a session of its own, that ends with the agent however that ends. Called by `process`."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_BOUND: Final = """
import ctypes, os, signal, sys
os.setsid()
os.chdir(sys.argv[2])
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[3], sys.argv[3:])
"""
"""What becomes Envoy: it asks the kernel to be killed when its parent dies (PR_SET_PDEATHSIG), which no agent with threads may do between fork and exec."""


async def spawn(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path, log: Path) -> int:
    """See `node.sidecar.Spawn`. To be called in the main thread, which lives as long as the agent."""
    command = (sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), str(cwd), *argv)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = (
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_OPEN, n, str(path), append, 0o600) for n, path in ((1, output), (2, log))),
    )
    return os.posix_spawn(command[0], command, dict(env), file_actions=files)  # noqa: ASYNC221  # a millisecond
