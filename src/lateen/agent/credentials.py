"""The certificate an agent is given, as `lateen ca issue` writes it; renewed ones are written back, so that the agent may start again. Called by `process`."""

import time
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509

from lateen.base.certificates import UNREADABLE
from lateen.base.errors import LateenError
from lateen.base.secrets import Secret
from lateen.base.spiffe import SpiffeId, parse_spiffe
from lateen.node.certificates import CHAIN, KEY, ROOT, Bundle
from lateen.node.disk import write_durably

_ADVICE: Final = "write another with `lateen ca issue`"
_log = structlog.get_logger("agent.credentials")


class BadCredentials(LateenError):
    """The folder holds no certificate that opens anything; the text says why and what helps."""


def given(folder: Path) -> Bundle:
    """The certificate, key and root in `folder`. Raises BadCredentials: missing, unreadable, not belonging together, past its life."""
    try:
        chain, key, root = ((folder / name).read_bytes() for name in (CHAIN, KEY, ROOT))
    except OSError as error:
        raise BadCredentials(f"no certificate in {folder}: {error.strerror}: {error.filename}; {_ADVICE}") from None
    bundle = Bundle(chain, Secret(key), root)
    try:
        leaf, belongs = bundle.leaf(), bundle.is_whole()
        x509.load_pem_x509_certificates(root)
    except (*UNREADABLE, TypeError, IndexError) as error:
        raise BadCredentials(f"the certificate in {folder} is not readable: {error}; {_ADVICE}") from None
    if not belongs:
        raise BadCredentials(f"key and certificate in {folder} do not belong together; {_ADVICE}")
    if leaf.not_valid_after_utc.timestamp() <= time.time():
        raise BadCredentials(f"the certificate in {folder} ended at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; {_ADVICE}")
    return bundle


def identity_of(bundle: Bundle) -> SpiffeId:
    """Whose certificate it is. Raises BadCredentials, SpiffeError."""
    try:
        identities = bundle.identities()
    except UNREADABLE:
        identities = ()
    if len(identities) != 1:
        raise BadCredentials(f"the certificate is for no one workload; {_ADVICE}")
    return parse_spiffe(identities[0])


def write_back(folder: Path, bundle: Bundle) -> None:
    """Puts a renewed certificate where the first one was given. A folder that cannot be written keeps the first; the log says so."""
    try:
        write_durably(folder / ROOT, bundle.root, 0o644)
        write_durably(folder / KEY, bundle.key.reveal(), 0o600)
        write_durably(folder / CHAIN, bundle.chain, 0o644)
    except OSError as error:
        _log.warning("the renewed certificate is not kept: a restart needs the one that was given", folder=str(folder), error=str(error))
