"""The process's heap: large blocks go back to the kernel when they are freed, and what a storm has left behind when it is over.

Without this a control that a thousand proxies once connected to keeps the room that their first configurations took on the way. Called by `daemon`. Does
nothing where the C library is not glibc. Source: mallopt(3), malloc_trim(3).
"""

import asyncio
import ctypes
from collections.abc import Callable

M_MMAP_THRESHOLD = -3
LARGE_BYTES = 128 * 1024
"""Blocks of this size are mapped one by one. glibc raises the limit at the first such block that is freed, unless it is said."""
STORM_BYTES = 32 * 1024 * 1024
"""So much sent since the last time is worth a look."""
CALM_S = 2.0
"""A storm is over when nothing large was sent for so long."""


def _function(name: str) -> Callable[..., int] | None:  # any arguments: C functions
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return found


def map_large_blocks() -> None:
    """From now on a large block is the kernel's again as soon as it is freed."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def give_back() -> None:
    """Returns freed memory to the kernel. Some 10 ms after a storm."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


async def keep_small(passed_bytes: Callable[[], int]) -> None:
    """For ever. `passed_bytes`: how much of what is large has been sent so far."""
    given_back_at = seen = passed_bytes()
    while True:
        await asyncio.sleep(CALM_S)
        now = passed_bytes()
        if now == seen and now - given_back_at >= STORM_BYTES:
            given_back_at = now
            await asyncio.to_thread(give_back)
        seen = now
