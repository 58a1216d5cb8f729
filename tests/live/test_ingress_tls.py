"""A gateway's certificates: a missing one closes its own server alone, one that comes later opens it, one that changes is served without a restart.

Clients' certificates: those that a list revokes stay outside, a list that is not there closes its own server alone, and a server may take any."""

import base64
import datetime
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.live.harness import Mesh, until

YAML = """
apiVersion: v1
kind: Namespace
metadata: {name: edge}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls, namespace: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: first, protocol: HTTPS}, hosts: [first.example.com], tls: {mode: SIMPLE, credentialName: first}}
  - {port: {number: 443, name: second, protocol: HTTPS}, hosts: [second.example.com], tls: {mode: SIMPLE, credentialName: second}}
  - {port: {number: 443, name: listed, protocol: HTTPS}, hosts: [listed.example.com], tls: {mode: MUTUAL, FILES, caCrl: HERE/crl.pem}}
  - {port: {number: 443, name: lost, protocol: HTTPS}, hosts: [lost.example.com], tls: {mode: MUTUAL, FILES, caCrl: HERE/none.pem}}
  - {port: {number: 443, name: any, protocol: HTTPS}, hosts: [any.example.com], tls: {mode: MUTUAL, FILES, insecureSkipVerify: true}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tls, namespace: edge}
spec:
  hosts: ["*.example.com"]
  gateways: [tls]
  http: [{directResponse: {status: 200, body: {string: hello}}}]
"""


def certificate(host: str) -> tuple[str, str, int]:
    """Certificate, key and serial number."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
    signed = built.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return signed.public_bytes(serialization.Encoding.PEM).decode(), pem.decode(), signed.serial_number


def write_clients(place: Path) -> None:
    """An authority of clients, two certificates of it and a list that revokes the second; and the certificate of the servers that look at them."""
    place.mkdir()
    ca_key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    ca, tomorrow = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clients")]), now + datetime.timedelta(days=1)

    def signed(name: str, public: ec.EllipticCurvePublicKey, *, is_ca: bool) -> x509.Certificate:
        subject = ca if is_ca else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = x509.CertificateBuilder().subject_name(subject).issuer_name(ca).public_key(public).serial_number(x509.random_serial_number())
        built = built.not_valid_before(now).not_valid_after(tomorrow).add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        return built.sign(ca_key, hashes.SHA256())

    (place / "ca.pem").write_bytes(signed("", ca_key.public_key(), is_ca=True).public_bytes(serialization.Encoding.PEM))
    revoked = x509.CertificateRevocationListBuilder().issuer_name(ca).last_update(now).next_update(tomorrow)
    for name in ("good", "revoked"):
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = signed(name, key.public_key(), is_ca=False)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (place / f"{name}.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + pem)
        if name == "revoked":
            entry = x509.RevokedCertificateBuilder().serial_number(leaf.serial_number).revocation_date(now).build()
            revoked = revoked.add_revoked_certificate(entry)
    (place / "crl.pem").write_bytes(revoked.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    for name in ("server", "stranger"):
        chain, own, _ = certificate(f"{name}.example.com")
        (place / f"{name}.pem").write_text(chain + own)


def answers(port: int, host: str, client: Path) -> bool:
    """Whether a server answers a client with that certificate and key."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(client)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
            secured.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return secured.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


def write_secret(path: Path, name: str, chain: str, key: str, ca: str = "") -> None:
    """`ca`: of the clients; empty: the Secret has none."""
    data = {"tls.crt": chain, "tls.key": key} | ({"ca.crt": ca} if ca else {})
    listed = "".join(f"  {field}: {base64.b64encode(text.encode()).decode()}\n" for field, text in data.items())
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: istio-system}}\ndata:\n{listed}"
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


def served(port: int, host: str) -> int | None:
    """The serial number of the certificate served for a name; None: the connection is refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
            return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True)).serial_number
    except OSError:
        return None


def test_certificates_of_a_gateway(mesh: Mesh) -> None:
    folder = mesh.home / "yaml"
    folder.mkdir()
    mesh.home.chmod(0o755)
    place = mesh.home / "clients"
    write_clients(place)
    files = "serverCertificate: HERE/server.pem, privateKey: HERE/server.pem, caCertificates: HERE/ca.pem"
    (folder / "mesh.yaml").write_text(YAML.replace("FILES", files).replace("HERE", str(place)))
    chain, key, serial = certificate("first.example.com")
    write_secret(folder / "first.yaml", "first", chain, key)
    mesh.start(folder)
    port = int(mesh.ingress().rpartition(":")[2])
    until(lambda: served(port, "first.example.com") == serial, 60, "the first server answers though the second has no certificate")
    assert served(port, "second.example.com") is None
    until(lambda: "IST0101" in mesh.output(), 60, "the missing Secret is told")
    envoy = mesh.pod_pids()

    until(lambda: answers(port, "listed.example.com", place / "good.pem"), 60, "a certificate that is not revoked is taken")
    assert not answers(port, "listed.example.com", place / "revoked.pem"), "a revoked one is not"
    assert not answers(port, "listed.example.com", place / "stranger.pem")
    assert not answers(port, "lost.example.com", place / "good.pem"), "without its list a server is closed"
    until(lambda: answers(port, "any.example.com", place / "stranger.pem"), 60, "whatever a client shows is taken")
    until(lambda: "clients/none.pem" in mesh.output(), 60, "the list that is not there is told")

    chain, key, other = certificate("second.example.com")
    write_secret(folder / "second.yaml", "second", chain, key)
    until(lambda: served(port, "second.example.com") == other, 60, "the second server has its certificate")

    chain, key, newer = certificate("first.example.com")
    write_secret(folder / "first.yaml", "first", chain, key)
    until(lambda: served(port, "first.example.com") == newer, 60, "the new certificate is served")

    write_secret(folder / "first.yaml", "first", chain, certificate("first.example.com")[1])
    until(lambda: "IST0161" in mesh.output(), 60, "a key that is not the certificate's is told")
    assert served(port, "second.example.com") == other
    assert served(port, "first.example.com") == newer, "what worked goes on"
    assert mesh.pod_pids() == envoy, "no proxy was restarted"
