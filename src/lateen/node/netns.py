"""Doing something in another network namespace: in a thread of its own, which enters the namespace and ends with it. Linux only."""

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

_CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def inside(namespace: str, act: Callable[[], T]) -> T:
    """What `act` returns when run inside the network namespace at path `namespace`: sockets it opens stay there. Raises what `act` raises, and OSError."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _enter(namespace)
            results.append(act())
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="inside a namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


async def inside_async(namespace: str, act: Callable[[], T]) -> T:
    """`inside`, without holding up the event loop."""
    return await asyncio.to_thread(inside, namespace, act)


def _enter(namespace: str) -> None:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the network namespace {namespace}: {os.strerror(number)}")
    finally:
        os.close(descriptor)
