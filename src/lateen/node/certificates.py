"""A pod's certificate: the key is made here and never leaves, control signs, Envoy reads files that are replaced by one rename.

What stands on disk outlives the node and control: an Envoy that starts while both are away has its certificate. Called by whoever runs pods.

    certs/sds-default.json, certs/sds-rootca.json    what Envoy is told to read; they never change
    certs/..data -> ..<serial>                       the one link that a rotation moves
    certs/..<serial>/cert-chain.pem, key.pem, root-cert.pem
"""

import asyncio
import contextlib
import json
import random
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from lateen.base.errors import LateenError
from lateen.base.names import SDS_DEFAULT, SDS_DEFAULT_PATH, SDS_ROOT, SDS_ROOT_PATH
from lateen.base.secrets import Secret
from lateen.base.spiffe import SpiffeId
from lateen.node.disk import make_directory, sync_directory, write_durably
from lateen.node.rotation import Rotation, Validity

DIRECTORY: Final = "certs"
CHAIN: Final = "cert-chain.pem"
KEY: Final = "key.pem"
ROOT: Final = "root-cert.pem"
DATA: Final = "..data"
_SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_log = structlog.get_logger("node.certificates")


class SigningFailed(LateenError):
    """Control could not be asked, or refused; the text says why."""


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What control is asked to sign. `attributes`: workload, app, version."""

    identity: SpiffeId
    attributes: tuple[tuple[str, str], ...]
    csr_pem: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """Control's answer, PEM: the chain leaf first, the roots that peers are checked against."""

    chain: bytes
    root: bytes


Sign = Callable[[SigningRequest], Awaitable[Signed]]
"""Asks control. Raises SigningFailed."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A certificate with its key, as it is written for Envoy."""

    chain: bytes
    key: Secret
    root: bytes

    def leaf(self) -> x509.Certificate:
        """The certificate itself. Raises ValueError."""
        return x509.load_pem_x509_certificates(self.chain)[0]

    def identities(self) -> tuple[str, ...]:
        """The URIs that the certificate names; a workload's has one. Raises ValueError."""
        try:
            names = self.leaf().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        return tuple(str(name.value) for name in names if isinstance(name, x509.UniformResourceIdentifier))

    def is_whole(self) -> bool:
        """Whether the key is the certificate's. Raises ValueError, TypeError."""
        return load_pem_private_key(self.key.reveal(), None).public_key() == self.leaf().public_key()

    def validity(self, issued_s: float) -> Validity:
        """When it holds. Raises ValueError."""
        leaf = self.leaf()
        return Validity(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp(), issued_s)


@dataclass(slots=True)
class CertificateState:
    """What `proxy-config secret` and `status` may show. `problem`: why the last attempt failed, empty if it did not."""

    serial: str = ""
    not_before_s: float = 0.0
    not_after_s: float = 0.0
    renewal_s: float = 0.0
    problem: str = ""
    rotations: int = 0


class CertificateKeeper:
    """Keeps one pod's certificate fresh: `run()` in a task, `ready()` before Envoy starts."""

    def __init__(  # a value per thing it keeps apart
        self, proxy: Path, identity: SpiffeId, attributes: tuple[tuple[str, str], ...], sign: Sign, owner: tuple[int, int] | None = None
    ) -> None:
        """`proxy`: the directory Envoy is started in. `owner`: user and group of the files, Envoy's."""
        self._directory = proxy / DIRECTORY
        self._identity = identity
        self._attributes = attributes
        self._sign = sign
        self._owner = owner
        self._ready = asyncio.Event()
        self._now = asyncio.Event()
        self.state = CertificateState()

    async def ready(self) -> None:
        """Returns when a certificate that holds is on disk, this node's or an earlier one's."""
        await self._ready.wait()

    def renew_now(self) -> None:
        """Renews at once (a root has changed, a test wants it)."""
        self._now.set()

    async def run(self) -> None:
        """Renews until cancelled."""
        held = self._held()
        validity = held.validity((self._directory / DATA / CHAIN).stat().st_mtime) if held else None
        rotation = Rotation(validity, random.random())
        if held and validity:
            self._show(held, validity, rotation)
            if validity.not_after_s > time.time():
                self._ready.set()
        while True:
            if not rotation.is_due(time.time()) and not self._now.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rotation.sleep_s(time.time())):
                        await self._now.wait()
                continue
            self._now.clear()
            await self._renew(rotation)

    async def _renew(self, rotation: Rotation) -> None:
        try:
            bundle = await self._next()
            write_bundle(self._directory, bundle, self._owner)
        except (SigningFailed, OSError, ValueError) as error:
            rotation.on_failed(time.time(), random.random())
            if self.state.problem != str(error):
                _log.warning("no certificate", identity=str(self._identity), reason=str(error))
            self.state.problem = str(error)
            return
        validity = bundle.validity(time.time())
        rotation.on_issued(validity, random.random())
        self.state.rotations += 1
        self._show(bundle, validity, rotation)
        self._ready.set()

    async def _next(self) -> Bundle:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(self._identity))])
        csr = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(names, critical=False).sign(key, hashes.SHA256())
        signed = await self._sign(SigningRequest(self._identity, self._attributes, csr.public_bytes(Encoding.PEM)))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        bundle = Bundle(signed.chain, Secret(pem), signed.root)
        if bundle.leaf().public_key() != key.public_key():
            raise SigningFailed("control signed another key")
        return bundle

    def _held(self) -> Bundle | None:
        """What an earlier node left, if it is ours and whole."""
        bundle = read_bundle(self._directory)
        if bundle is None:
            return None
        try:
            return bundle if bundle.identities() == (str(self._identity),) and bundle.is_whole() else None
        except (ValueError, TypeError):
            return None

    def _show(self, bundle: Bundle, validity: Validity, rotation: Rotation) -> None:
        self.state.serial = f"{bundle.leaf().serial_number:x}"
        self.state.not_before_s, self.state.not_after_s = validity.not_before_s, validity.not_after_s
        self.state.renewal_s = rotation.due_s
        self.state.problem = ""


def read_bundle(directory: Path) -> Bundle | None:
    """What Envoy would read from `directory` (`certs/` of a proxy). None: nothing, or not whole."""
    data = directory / DATA
    try:
        bundle = Bundle((data / CHAIN).read_bytes(), Secret((data / KEY).read_bytes()), (data / ROOT).read_bytes())
        bundle.leaf()
    except (OSError, ValueError, IndexError):
        return None
    return bundle


def write_bundle(directory: Path, bundle: Bundle, owner: tuple[int, int] | None = None) -> None:
    """Puts `bundle` where Envoy reads it, by one rename, and removes what it replaces. Raises OSError (full disk): then what was there stays whole."""
    make_directory(directory, 0o700, owner)
    for path, text in ((SDS_DEFAULT_PATH, _sds_default()), (SDS_ROOT_PATH, _sds_root())):
        file = directory.parent / path
        if not file.exists():
            write_durably(file, text, 0o600, owner)
    version = directory / f"..{bundle.leaf().serial_number:x}"
    try:
        make_directory(version, 0o700, owner)
        for name, data in ((CHAIN, bundle.chain), (KEY, bundle.key.reveal()), (ROOT, bundle.root)):
            write_durably(version / name, data, 0o600, owner)
        link = directory / "..new"
        link.unlink(missing_ok=True)
        link.symlink_to(version.name)
    except OSError:
        shutil.rmtree(version, ignore_errors=True)
        raise
    link.rename(directory / DATA)
    sync_directory(directory)
    for old in directory.glob("..*"):
        if old.is_dir() and not old.is_symlink() and old != version:
            shutil.rmtree(old, ignore_errors=True)


def _sds_default() -> bytes:
    certificate = {
        "certificate_chain": {"filename": f"{DIRECTORY}/{DATA}/{CHAIN}"},
        "private_key": {"filename": f"{DIRECTORY}/{DATA}/{KEY}"},
        "watched_directory": {"path": DIRECTORY},
    }
    return _sds(SDS_DEFAULT, {"tls_certificate": certificate})


def _sds_root() -> bytes:
    trusted = {"trusted_ca": {"filename": f"{DIRECTORY}/{DATA}/{ROOT}"}, "watched_directory": {"path": DIRECTORY}}
    return _sds(SDS_ROOT, {"validation_context": trusted})


def _sds(name: str, secret: dict[str, object]) -> bytes:
    return json.dumps({"resources": [{"@type": _SECRET, "name": name, **secret}]}).encode()
