"""Citadel: signs certificates for whoever may have them, and certifies control's own TCP door. The authority itself is `identity`.

Over the unix socket the node asks for its pods, any identity; over TCP a client gets its own identity and no other.
"""

import datetime
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lateen.base.errors import LateenError
from lateen.base.spiffe import SpiffeId
from lateen.identity.ca import DEFAULT_TTL_S, Authority, sign
from lateen.identity.subject import WorkloadAttributes

SERVER_NAMES = ("istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local", "istiod.istio-system", "lateen-control", "localhost")
"""Names clients may know control by; Istio's are what foreign clients are configured with."""
SERVER_LIFE = datetime.timedelta(hours=24)
BACKDATE = datetime.timedelta(minutes=2)


@dataclass(frozen=True)
class Citadel:
    """Signs with one authority. `life_s`: how long a certificate lives, asked at each signing."""

    authority: Authority
    life_s: Callable[[], float] = lambda: DEFAULT_TTL_S

    def sign(self, request: dict[str, Any], caller: SpiffeId | None) -> dict[str, Any]:
        """`/lateen.v1.Certificates/Sign`. `caller` None: the node of this machine. Raises LateenError. Any: JSON."""
        try:
            csr, namespace, account = request["csr"].encode(), request["namespace"], request["serviceAccount"]
        except (KeyError, AttributeError):
            raise LateenError("a signing request has `csr`, `namespace` and `serviceAccount`") from None
        identity = SpiffeId(self.authority.trust_domain, namespace, account)
        if caller is not None and caller != identity:
            raise LateenError(f"{caller} asks for a certificate of {identity}: over TCP everyone gets their own")
        given = request.get("attributes") or {}
        attributes = WorkloadAttributes(**{key: str(given[key]) for key in ("workload", "app", "version") if given.get(key)})
        ttl_s = float(request.get("ttl_s") or self.life_s())
        issued = sign(self.authority, csr, identity, attributes, ttl_s, time.time())
        return {"chain": issued.chain.decode(), "root": issued.root.decode(), "ttl_s": issued.not_after_s - time.time()}

    def server_certificate(self, hosts: tuple[str, ...]) -> tuple[bytes, bytes]:
        """A fresh key and certificate (PEM) for control's TCP door. `hosts`: further names or addresses it is reached at."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
        for host in dict.fromkeys(("127.0.0.1", "::1", *hosts)):
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        root = self.authority.public()
        root_key = serialization.load_pem_private_key(self.authority.key.reveal(), None)
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lateen-control")]))
            .issuer_name(root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + SERVER_LIFE)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)  # type: ignore[arg-type]  # the root's is ECDSA
            .sign(root_key, hashes.SHA256())  # type: ignore[arg-type]  # likewise
        )
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return private, certificate.public_bytes(serialization.Encoding.PEM)
