"""The root on disk: made once, read at every start, never replaced by surprise. Called by `control` and by `lateen ca`."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from lateen.base.errors import LateenError
from lateen.base.secrets import Secret
from lateen.identity.ca import Authority, new_authority
from lateen.node.disk import make_directory, write_durably

CERTIFICATE: Final = "ca-cert.pem"
KEY: Final = "ca-key.pem"


class AuthorityDamaged(LateenError):
    """There is a root on disk that cannot be used. It is not replaced: every certificate of the mesh hangs on it."""


def load_or_create(directory: Path, trust_domain: str, now_s: float) -> Authority:
    """The root kept in `directory`, made (0700, key 0600, key first, both with fsync and rename) if there is none.

    Two processes that start at once get the same one. Raises AuthorityDamaged, OSError (full disk: the directory then holds no root).
    """
    make_directory(directory)
    with _alone(directory):
        if (directory / CERTIFICATE).exists():
            return load(directory)
        authority = new_authority(trust_domain, now_s)
        write_durably(directory / KEY, authority.key.reveal(), 0o600)
        write_durably(directory / CERTIFICATE, authority.certificate, 0o644)
        return authority


def load(directory: Path) -> Authority:
    """The root kept in `directory`. Raises AuthorityDamaged if a file is missing, unreadable or belongs to another one."""
    try:
        certificate, key = (directory / CERTIFICATE).read_bytes(), (directory / KEY).read_bytes()
        authority = Authority(certificate, Secret(key))
        private = load_pem_private_key(key, None).public_key()
        public = authority.public().public_key()
    except (OSError, ValueError, TypeError) as error:
        hint = "restore it from a backup, or delete the directory to begin a new mesh"
        raise AuthorityDamaged(f"the certificate authority in {directory} cannot be used: {error}; {hint}") from None
    if _spelled(private) != _spelled(public):
        raise AuthorityDamaged(f"the certificate authority in {directory} cannot be used: key and certificate do not belong together")
    return authority


def _spelled(public: object) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]  # every public key has it; there is no common type


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
