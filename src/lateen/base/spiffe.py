"""SPIFFE identities of the mesh: who a workload is, as it stands in its certificate. Called by every room that names an identity; parsed once, at the edge."""

import re
from dataclasses import dataclass

from lateen.base.errors import LateenError

_SEGMENT = re.compile(r"[a-zA-Z0-9._-]{1,253}\Z")
"""What SPIFFE allows in one path segment. Source: SPIFFE-ID, 2.2."""
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z")
DEFAULT_TRUST_DOMAIN = "cluster.local"


class SpiffeError(LateenError):
    """A text that is no SPIFFE identity of the form `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`."""


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """One workload identity. Raises SpiffeError if a part holds what SPIFFE forbids. Source: Istio, `spiffe.Identity`."""

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        """Refuses parts that would make another identity when printed."""
        if not _TRUST_DOMAIN.match(self.trust_domain):
            raise SpiffeError(f"no trust domain: `{self.trust_domain}`")
        for part in (self.namespace, self.service_account):
            if not _SEGMENT.match(part) or part in (".", ".."):
                raise SpiffeError(f"no part of an identity: `{part}`")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def parse_spiffe(text: str) -> SpiffeId:
    """The identity written as `text`. Raises SpiffeError for anything else, foreign SPIFFE paths included."""
    head, _, rest = text.partition("://")
    parts = rest.split("/")
    if head != "spiffe" or len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa":
        raise SpiffeError(f"no workload identity: `{text}`")
    return SpiffeId(parts[0], parts[2], parts[4])
