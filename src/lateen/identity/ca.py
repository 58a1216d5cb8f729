"""The certificate authority: a root that signs itself and short-lived workload certificates with exactly one SPIFFE identity.

Pure but for randomness (keys, serial numbers): time is an argument. `identity.store` keeps the root on disk.
Whether a caller may have the identity it asks for is decided before.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lateen.base.certificates import UNREADABLE
from lateen.base.errors import LateenError
from lateen.base.secrets import Secret
from lateen.base.spiffe import SpiffeId
from lateen.identity.subject import WorkloadAttributes, subject_of

DEFAULT_TTL_S: Final = 24 * 3600.0
LONGEST_TTL_S: Final = 90 * 24 * 3600.0
ROOT_LIFE_S: Final = 10 * 365.25 * 24 * 3600.0
BACKDATE_S: Final = 120.0
"""Certificates begin this much earlier, for peers whose clocks are behind."""
LARGEST_REQUEST_BYTES: Final = 16_384
_SMALLEST_RSA_BITS: Final = 2048
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)


class SigningError(LateenError):
    """A signing request that is refused; the text says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as its owner needs it: `chain` leaf first, without the root; `root`: what peers are checked against. All PEM."""

    chain: bytes
    root: bytes
    not_before_s: float
    not_after_s: float


@dataclass(frozen=True, slots=True)
class Authority:
    """A root certificate and its key. Comparing and printing is safe: the key is a Secret (PEM)."""

    certificate: bytes
    key: Secret

    def public(self) -> x509.Certificate:
        """The root certificate, parsed."""
        return x509.load_pem_x509_certificate(self.certificate)

    @property
    def trust_domain(self) -> str:
        """The trust domain that the root was made for."""
        return str(self.public().subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


def new_authority(trust_domain: str, now_s: float) -> Authority:
    """A fresh root for `trust_domain`, valid ten years from `now_s` (Unix seconds)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]), x509.NameAttribute(NameOID.COMMON_NAME, "Lateen root")])
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _date(now_s - BACKDATE_S), _date(now_s + ROOT_LIFE_S))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(is_ca=True), critical=True)
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(Encoding.PEM), private_pem(key))


def private_pem(key: ec.EllipticCurvePrivateKey) -> Secret:
    """The key as PKCS 8 PEM."""
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def sign(authority: Authority, request_pem: bytes, identity: SpiffeId, attributes: WorkloadAttributes, ttl_s: float, now_s: float) -> Issued:
    """The request's public key certified as `identity`, and as nothing else: whatever names and extensions the request holds are not copied.

    Raises SigningError: not one PEM request, too large, bad signature, weak or unusual key, names of somebody else, impossible `ttl_s`.
    Raises SubjectError: attributes.
    """
    public = _public_key(request_pem, identity)
    return _certify(authority, public, identity, attributes, ttl_s, now_s)


def issue(authority: Authority, identity: SpiffeId, attributes: WorkloadAttributes, ttl_s: float, now_s: float) -> tuple[Issued, Secret]:
    """A new key certified as `identity`: the certificate and the key (PEM). Raises SigningError, SubjectError."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _certify(authority, key.public_key(), identity, attributes, ttl_s, now_s), private_pem(key)


def _certify(
    authority: Authority, public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, identity: SpiffeId, attributes: WorkloadAttributes, ttl_s: float, now_s: float
) -> Issued:
    root = authority.public()
    end_s = _end(ttl_s, now_s, root)
    start_s = max(now_s - BACKDATE_S, root.not_valid_before_utc.timestamp())
    key = load_pem_private_key(authority.key.reveal(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise SigningError("the authority's key is neither ECDSA nor RSA")
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    subject = subject_of(identity.namespace, attributes)
    certificate = (
        x509.CertificateBuilder(root.subject, subject, public, x509.random_serial_number(), _date(start_s), _date(end_s))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_ca=False), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate.public_bytes(Encoding.PEM), authority.certificate, start_s, end_s)


def _end(ttl_s: float, now_s: float, root: x509.Certificate) -> float:
    if not 1 <= ttl_s <= LONGEST_TTL_S:
        raise SigningError(f"lifetime in seconds not between 1 and {LONGEST_TTL_S:.0f}: {ttl_s}")
    root_end_s = root.not_valid_after_utc.timestamp()
    if root_end_s <= now_s + 1:
        raise SigningError(f"the root certificate has expired: {root.not_valid_after_utc:%Y-%m-%d}")
    return min(now_s + ttl_s, root_end_s)


def _public_key(request_pem: bytes, identity: SpiffeId) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    if len(request_pem) > LARGEST_REQUEST_BYTES:
        raise SigningError(f"signing request larger than {LARGEST_REQUEST_BYTES} bytes")
    if request_pem.count(b"-----BEGIN") != 1:
        raise SigningError("not exactly one PEM block in the signing request")
    try:
        request = x509.load_pem_x509_csr(request_pem)
        valid = request.is_signature_valid
        public = request.public_key()
        names = _requested_names(request)
    except UNREADABLE as error:
        raise SigningError(f"unreadable signing request: {error}") from None
    if not valid:
        raise SigningError("the signing request is not signed by its own key")
    if names and names != [str(identity)]:
        raise SigningError(f"the signing request names somebody else: {', '.join(names)}")
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, _CURVES):
        return public
    if isinstance(public, rsa.RSAPublicKey) and public.key_size >= _SMALLEST_RSA_BITS:
        return public
    raise SigningError("the key is neither ECDSA P-256 or P-384 nor RSA of at least 2048 bits")


def _requested_names(request: x509.CertificateSigningRequest) -> list[str]:
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.value if isinstance(name, x509.UniformResourceIdentifier) else repr(name) for name in extension.value]


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
