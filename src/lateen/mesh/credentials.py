"""Credentials: what a `credentialName` stands for, read from Secrets and checked. Called by `xds.extensions`,
`plan` (servers whose credential is no good) and findings.

Source: Istio, credentials of gateways: `tls.crt`/`tls.key`/`ca.crt` or `cert`/`key`/`cacert`; the root may be in a Secret of its own, named with `-cacert`.
A proxy gets Secrets of its own namespace alone.
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from lateen.base.names import ObjectRef
from lateen.base.secrets import Secret as Hidden
from lateen.config.kinds.kubernetes.core import Secret
from lateen.config.store import one, ref
from lateen.incremental import Db, query

ROOT_SUFFIX = "-cacert"
_CHAIN, _KEY, _ROOT, _REVOKED = ("tls.crt", "cert"), ("tls.key", "key"), ("ca.crt", "cacert"), ("ca.crl", "crl")


@dataclass(frozen=True)
class Certificate:
    """A certificate chain and its key, PEM. `staple`: a stapled OCSP answer, DER; empty: none."""

    chain: bytes
    key: Hidden
    origin: ObjectRef
    staple: bytes = b""


@dataclass(frozen=True)
class Root:
    """Certificates that clients' ones must lead to, PEM; `revoked`: a revocation list, PEM, empty: none."""

    certificates: bytes
    origin: ObjectRef
    revoked: bytes = b""


@dataclass(frozen=True)
class Unusable:
    """Why there is no credential. `is_missing`: there is no such Secret; else it is no good."""

    reason: str
    is_missing: bool = False


def _value(secret: Secret, names: tuple[str, ...]) -> bytes | None:
    return next((value for name in names if (value := secret.value(name))), None)


@query
def certificate(db: Db, namespace: str, name: str) -> Certificate | Unusable:
    """The certificate in a Secret; the key must belong to it."""
    secret = one(db, Secret, namespace, name)
    if secret is None:
        return Unusable(f"there is no Secret `{namespace}/{name}`", True)
    chain, key = _value(secret, _CHAIN), _value(secret, _KEY)
    if chain is None or key is None:
        return Unusable(f"Secret `{namespace}/{name}` has no `{(_CHAIN if chain is None else _KEY)[0]}`")
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, IndexError):
        return Unusable(f"Secret `{namespace}/{name}` holds no PEM certificate and unencrypted key")
    shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*shape) != public.public_bytes(*shape):
        return Unusable(f"the key in Secret `{namespace}/{name}` is not the certificate's")
    return Certificate(chain, Hidden(key), ref(secret), _value(secret, ("tls.ocsp-staple",)) or b"")


@query
def root(db: Db, namespace: str, name: str) -> Root | Unusable:
    """The root in a Secret named so, else in the one that holds the certificate."""
    secret = one(db, Secret, namespace, name) or one(db, Secret, namespace, name.removesuffix(ROOT_SUFFIX))
    if secret is None:
        return Unusable(f"there is no Secret `{namespace}/{name}`", True)
    found = _value(secret, _ROOT) or (_value(secret, _CHAIN[:1]) if secret.name == name and _value(secret, _KEY) is None else None)
    if found is None:
        return Unusable(f"Secret `{namespace}/{secret.name}` has no `{_ROOT[0]}`")
    try:
        x509.load_pem_x509_certificates(found)
    except ValueError:
        return Unusable(f"`{_ROOT[0]}` in Secret `{namespace}/{secret.name}` holds no PEM certificate")
    return Root(found, ref(secret), _value(secret, _REVOKED) or b"")
