"""Ports for servers of tests."""

import itertools
import os
import random
import socket

PLACES = range(10_000, 30_000)
"""Below those that the kernel gives to outgoing connections, which may take a port between the moment it is found free and the moment its server binds it."""
_next = itertools.count(random.Random(os.getpid()).randrange(len(PLACES)))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has now; no two calls of one process give the same."""
    for _ in PLACES:
        port = PLACES[next(_next) % len(PLACES)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")
