"""What a Secret must hold to be given to Envoy: anything else would be refused there, together with what came along."""

import base64
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from lateen.mesh.credentials import Certificate, Root, Unusable, certificate, root
from lateen.wire.binary import envoy_path

FROM, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC)
KEYS = {
    "rsa-1024": lambda: rsa.generate_private_key(65537, 1024),
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "p-224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def issued(key, serial=5):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, FROM, UNTIL)
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def pem_of(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def secret(mesh, **values):
    lines = "\n".join(f"  {name}: {base64.b64encode(value).decode()}" for name, value in values.items())
    return mesh(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: shop, namespace: gate}}\ndata:\n{lines}\n")


def envoy_takes(folder, chain, key):
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    (folder / "envoy.yaml").write_text(
        f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{{certificate_chain: {{filename: {folder}/chain.pem}}, private_key: {{filename: {folder}/key.pem}}}}]
      filters:
      - name: echo
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}
"""
    )
    return subprocess.run([envoy_path(), "--mode", "validate", "-c", folder / "envoy.yaml"], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_taken_exactly_when_envoy_takes_it(mesh, tmp_path, kind):
    key = KEYS[kind]()
    chain = issued(key).public_bytes(Encoding.PEM)
    found = certificate(secret(mesh, **{"tls.crt": chain, "tls.key": pem_of(key)}), "gate", "shop")
    assert isinstance(found, Certificate) == envoy_takes(tmp_path, chain, pem_of(key))
    assert isinstance(found, Certificate) or "Envoy refuses" in found.reason


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_a_damaged_certificate_is_told(mesh, place):
    key = KEYS["p-256"]()
    raw = bytearray(issued(key).public_bytes(Encoding.DER))
    raw[place % len(raw)] ^= 0x42
    chain = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(raw)) + b"-----END CERTIFICATE-----\n"
    assert isinstance(certificate(secret(mesh, **{"tls.crt": chain, "tls.key": pem_of(key)}), "gate", "shop"), Certificate | Unusable)
    assert isinstance(root(secret(mesh, **{"ca.crt": chain}), "gate", "shop"), Root | Unusable)


def test_revocation_lists_and_staples_must_be_readable(mesh):
    key = KEYS["p-256"]()
    leaf = issued(key)
    chain = leaf.public_bytes(Encoding.PEM)
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example")])
    revoked = x509.CertificateRevocationListBuilder(names, FROM, UNTIL).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    assert isinstance(root(secret(mesh, **{"ca.crt": chain, "ca.crl": revoked}), "gate", "shop"), Root)
    bad = root(secret(mesh, **{"ca.crt": chain, "ca.crl": b"nothing"}), "gate", "shop")
    assert isinstance(bad, Unusable) and "ca.crl" in bad.reason

    def staple_of(certified):
        builder = ocsp.OCSPResponseBuilder().add_response(certified, leaf, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, FROM, UNTIL, None, None)
        return builder.responder_id(ocsp.OCSPResponderEncoding.HASH, leaf).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    for staple, is_good in ((staple_of(leaf), True), (staple_of(issued(key, serial=6)), False), (b"nothing", False)):
        found = certificate(secret(mesh, **{"tls.crt": chain, "tls.key": pem_of(key), "tls.ocsp-staple": staple}), "gate", "shop")
        assert isinstance(found, Certificate) == is_good, staple[:20]
