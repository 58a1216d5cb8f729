"""Calls to the daemons: JSON over gRPC on their unix sockets. Used by every command that asks a running mesh."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from lateen.base.errors import LateenError
from lateen.base.paths import MeshPaths

CALL_TIMEOUT_S = 20.0
"""Longer than any answer takes; a daemon that is stuck must not hang the terminal."""
Json = dict[str, Any]  # Any: JSON


class NotRunning(LateenError):
    """No daemon answers on that socket."""


def call(paths: MeshPaths, method: str, request: Json | None = None, timeout_s: float = CALL_TIMEOUT_S) -> Json:
    """One answer of control. `method`: as `Status`. Raises NotRunning, LateenError."""
    return _call(paths.control_socket, f"/lateen.v1.Control/{method}", request or {}, timeout_s, paths.name)


def call_node(paths: MeshPaths, method: str, request: Json | None = None, timeout_s: float = CALL_TIMEOUT_S) -> Json:
    """One answer of the node. `method`: as `State`. Raises NotRunning, LateenError."""
    return _call(paths.node_socket, f"/lateen.v1.Local/{method}", request or {}, timeout_s, paths.name)


def _call(socket: Path, path: str, request: Json, timeout_s: float, name: str) -> Json:
    if not socket.exists():
        raise NotRunning(f"no mesh named `{name}` runs here; start one with `lateen up PATH`")
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        try:
            reply = channel.unary_unary(path)(json.dumps(request).encode(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise _explained(error, name) from None
    answer: Json = json.loads(reply)
    return answer


def stream(paths: MeshPaths, method: str, request: Json | None = None) -> Iterator[Json]:
    """Messages of control until it ends or the caller stops. Raises NotRunning, LateenError."""
    if not paths.control_socket.exists():
        raise NotRunning(f"no mesh named `{paths.name}` runs here; start one with `lateen up PATH`")
    with grpc.insecure_channel(f"unix:{paths.control_socket}") as channel:
        try:
            for message in channel.unary_stream(f"/lateen.v1.Control/{method}")(json.dumps(request or {}).encode()):
                yield json.loads(message)
        except grpc.RpcError as error:
            raise _explained(error, paths.name) from None


def _explained(error: grpc.RpcError, name: str) -> LateenError:
    code, details = error.code(), error.details()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return NotRunning(f"mesh `{name}` does not answer ({code.name.lower().replace('_', ' ')}): {details}")
    return LateenError(details or code.name)
