"""The Subject of a workload certificate: namespace, application, workload and version, which its peers read once per connection and believe.

Envoy renders it reversed, as `UID=v1,CN=client-v1,OU=client,O=default`, and the peer's filter takes it apart with regular expressions,
not with a parser of names: so a value that could look like another attribute is refused here. Called by `identity.ca`.
"""

import hashlib
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from lateen.base.errors import LateenError

_FORBIDDEN = re.compile(r"[^A-Za-z0-9._:/@ -]|^ | $")
"""Everything that is special in a distinguished name (RFC 2253, 2.4) or unprintable, and everything not ASCII."""
LONGEST = 64
"""Characters in O, OU and CN. Source: RFC 5280, appendix A.1, upper bounds."""
_HASH_CHARACTERS = 8


class SubjectError(LateenError):
    """An attribute no certificate may carry."""


@dataclass(frozen=True, slots=True)
class WorkloadAttributes:
    """What a peer may know of a workload beside its identity. Empty: not told (the peer's metrics say `unknown`)."""

    workload: str = ""
    app: str = ""
    version: str = ""


def shortened(value: str) -> str:
    """`value` in at most 64 characters: a long one keeps its beginning and ends in a hash of the whole."""
    if len(value) <= LONGEST:
        return value
    digest = hashlib.sha256(value.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{value[: LONGEST - _HASH_CHARACTERS - 1]}-{digest}"


def subject_of(namespace: str, attributes: WorkloadAttributes) -> x509.Name:
    """O = namespace, OU = app, CN = workload, UID = version, in this order, empty ones left out. Raises SubjectError for a value peers could misread."""
    parts = (
        (NameOID.ORGANIZATION_NAME, namespace),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, attributes.app),
        (NameOID.COMMON_NAME, attributes.workload),
        (NameOID.USER_ID, attributes.version),
    )
    for _, value in parts:
        if _FORBIDDEN.search(value):
            raise SubjectError(f"not allowed in a certificate: `{value}`")
    return x509.Name([x509.NameAttribute(kind, shortened(value)) for kind, value in parts if value])
