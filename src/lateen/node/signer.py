"""Asks control to sign: the node's side of `/lateen.v1.Certificates/Sign`. Called by whoever makes CertificateKeepers.

On the node's own socket control signs for any pod of the node; over TCP (a process outside the mesh's namespaces) only for the caller's own identity.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import grpc
import grpc.aio

from lateen.node.certificates import Signed, SigningFailed, SigningRequest

METHOD: Final = "/lateen.v1.Certificates/Sign"
_TIMEOUT_S: Final = 10.0
_OPTIONS: Final = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))


class _Unary(Protocol):
    async def __call__(self, request: bytes, *, timeout: float) -> bytes: ...


class ControlSigner:
    """A `Sign` over control's unix socket, or over channels of its caller's. Use: `async with ControlSigner(socket) as sign: CertificateKeeper(…, sign)`."""

    def __init__(self, control: Path | Callable[[], grpc.aio.Channel]) -> None:
        """The socket need not exist yet. A callable gives the channel for each request; its caller closes it."""
        self._channel = grpc.aio.insecure_channel(f"unix:{control}", options=_OPTIONS) if isinstance(control, Path) else None
        self._dial = control if not isinstance(control, Path) else self._own

    async def __aenter__(self) -> "ControlSigner":
        """Connects with the first request."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connection."""
        if self._channel is not None:
            await self._channel.close(None)

    def _own(self) -> grpc.aio.Channel:
        return self._channel

    async def __call__(self, request: SigningRequest) -> Signed:
        """Source: `Sign`. Raises SigningFailed."""
        body = {
            "csr": request.csr_pem.decode(),
            "namespace": request.identity.namespace,
            "serviceAccount": request.identity.service_account,
            "attributes": dict(request.attributes),
        }
        try:
            call: _Unary = self._dial().unary_unary(METHOD)
            answer = json.loads(await call(json.dumps(body).encode(), timeout=_TIMEOUT_S))
            return Signed(answer["chain"].encode(), answer["root"].encode())
        except grpc.aio.AioRpcError as error:
            raise SigningFailed(f"control does not sign: {error.details() or error.code().name}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SigningFailed(f"control's answer makes no sense: {error!r}") from None
