"""Credentials: what a `credentialName` stands for, read from Secrets and checked. Called by `xds.extensions`,
`plan` (servers whose credential is no good) and findings.

Source: Istio, credentials of gateways: `tls.crt`/`tls.key`/`ca.crt` or `cert`/`key`/`cacert`; the root may be in a Secret of its own, named with `-cacert`.
A proxy gets Secrets of its own namespace alone.
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import ocsp

from lateen.base.certificates import UNREADABLE
from lateen.base.names import ObjectRef
from lateen.base.secrets import Secret as Hidden
from lateen.config.kinds.kubernetes.core import Secret
from lateen.config.store import one, ref
from lateen.incremental import Db, query

ROOT_SUFFIX = "-cacert"
_SMALLEST_RSA_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_CHAIN, _KEY, _ROOT, _REVOKED = ("tls.crt", "cert"), ("tls.key", "key"), ("ca.crt", "cacert"), ("ca.crl", "crl")
_STAPLE = ("tls.ocsp-staple",)


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


def _is_taken(key: CertificatePublicKeyTypes) -> bool:
    """Whether Envoy serves with such a key: one that it refuses would take the listener's whole update with it."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _SMALLEST_RSA_BITS
    return isinstance(key, ed25519.Ed25519PublicKey) or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES))


def _is_of(staple: bytes, leaf: x509.Certificate) -> bool:
    try:
        answer = ocsp.load_der_ocsp_response(staple)
        return answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL and answer.serial_number == leaf.serial_number
    except UNREADABLE:
        return False


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
        certified = leaf.public_key()
        public = load_pem_private_key(key, None).public_key()
    except UNREADABLE:
        return Unusable(f"Secret `{namespace}/{name}` holds no PEM certificate and unencrypted key")
    shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certified.public_bytes(*shape) != public.public_bytes(*shape):
        return Unusable(f"the key in Secret `{namespace}/{name}` is not the certificate's")
    if not _is_taken(certified):
        return Unusable(
            f"the key in Secret `{namespace}/{name}` is of a kind that Envoy refuses: it takes RSA of 2048 bits and more, ECDSA P-256, P-384 and P-521, Ed25519"
        )
    staple = _value(secret, _STAPLE) or b""
    if staple and not _is_of(staple, leaf):
        return Unusable(f"`{_STAPLE[0]}` in Secret `{namespace}/{name}` is no good OCSP answer about its certificate")
    return Certificate(chain, Hidden(key), ref(secret), staple)


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
    except UNREADABLE:
        return Unusable(f"`{_ROOT[0]}` in Secret `{namespace}/{secret.name}` holds no PEM certificate")
    revoked = _value(secret, _REVOKED) or b""
    try:
        if revoked:
            x509.load_pem_x509_crl(revoked)
    except UNREADABLE:
        return Unusable(f"`{_REVOKED[0]}` in Secret `{namespace}/{secret.name}` holds no PEM revocation list")
    return Root(found, ref(secret), revoked)
