"""Certificates for clients outside the mesh's pods: what `lateen ca issue NS/SERVICEACCOUNT --out DIR` does. Called by `cli`."""

from pathlib import Path
from typing import Final

from lateen.base.errors import UsageError
from lateen.base.spiffe import SpiffeError, SpiffeId
from lateen.identity.ca import DEFAULT_TTL_S, Authority, issue
from lateen.identity.subject import WorkloadAttributes
from lateen.node.disk import write_durably

CHAIN: Final = "cert-chain.pem"
KEY: Final = "key.pem"
ROOT: Final = "root-cert.pem"


def parse_account(text: str, trust_domain: str) -> SpiffeId:
    """The identity written as `NAMESPACE/SERVICEACCOUNT`. Raises UsageError."""
    namespace, slash, account = text.partition("/")
    if not slash:
        raise UsageError(f"not of the form NAMESPACE/SERVICEACCOUNT: `{text}`")
    try:
        return SpiffeId(trust_domain, namespace, account)
    except SpiffeError as error:
        raise UsageError(f"not of the form NAMESPACE/SERVICEACCOUNT: {error}") from None


def issue_to(directory: Path, authority: Authority, identity: SpiffeId, now_s: float, ttl_s: float = DEFAULT_TTL_S) -> tuple[Path, Path, Path]:
    """Writes `cert-chain.pem`, `key.pem` (0600) and `root-cert.pem` into `directory` and returns their paths. Raises SigningError, OSError."""
    issued, key = issue(authority, identity, WorkloadAttributes(), ttl_s, now_s)
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / CHAIN, directory / KEY, directory / ROOT
    write_durably(paths[1], key.reveal(), 0o600)
    write_durably(paths[0], issued.chain, 0o644)
    write_durably(paths[2], issued.root, 0o644)
    return paths
