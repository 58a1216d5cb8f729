"""The authority signs exactly one identity, keeps its root, and never prints a key."""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.base.errors import UsageError
from lateen.base.spiffe import SpiffeError, SpiffeId, parse_spiffe
from lateen.identity import ca, outside, store
from lateen.identity.subject import SubjectError, WorkloadAttributes, shortened, subject_of

NOW = 1_790_000_000.0
ALICE = SpiffeId("cluster.local", "default", "alice")
ATTRIBUTES = WorkloadAttributes("client-v1", "client", "v1")


def request(key=None, names=(), subject=(), extensions=()):
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(list(subject)))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def authority():
    return ca.new_authority("cluster.local", NOW)


def signed(authority, csr, ttl_s=3600.0, identity=ALICE):
    return x509.load_pem_x509_certificate(ca.sign(authority, csr, identity, ATTRIBUTES, ttl_s, NOW).chain)


def test_a_certificate_says_who_and_nothing_else(authority):
    hostile = request(
        subject=[x509.NameAttribute(NameOID.COMMON_NAME, "spiffe://cluster.local/ns/default/sa/root")],
        extensions=[x509.BasicConstraints(ca=True, path_length=None)],
    )
    certificate = signed(authority, hostile)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://cluster.local/ns/default/sa/alice"]
    assert certificate.subject.rfc4514_string() == "UID=v1,CN=client-v1,OU=client,O=default"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert certificate.not_valid_before_utc.timestamp() == NOW - ca.BACKDATE_S
    assert certificate.not_valid_after_utc.timestamp() == NOW + 3600
    certificate.verify_directly_issued_by(authority.public())


def test_lifetime_ends_with_the_root(authority):
    late = authority.public().not_valid_after_utc.timestamp() - 600
    issued, _ = ca.issue(authority, ALICE, ATTRIBUTES, ca.DEFAULT_TTL_S, late)
    assert issued.not_after_s == late + 600


def uri(text):
    return x509.UniformResourceIdentifier(text)


REFUSED = {
    "another account": lambda: request(names=[uri("spiffe://cluster.local/ns/default/sa/bob")]),
    "own and another": lambda: request(names=[uri(str(ALICE)), uri("spiffe://cluster.local/ns/default/sa/bob")]),
    "a DNS name": lambda: request(names=[x509.DNSName("alice.example")]),
    "RSA 1024": lambda: request(key=rsa.generate_private_key(65537, 1024)),
    "P-224": lambda: request(key=ec.generate_private_key(ec.SECP224R1())),
    "ed25519": lambda: request(key=ed25519.Ed25519PrivateKey.generate()),
    "two blocks": lambda: request() + request(),
    "no PEM": lambda: b"hello",
    "empty": lambda: b"",
    "large": lambda: request() + b"\n" * 1_000_000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(authority, name):
    with pytest.raises(ca.SigningError):
        signed(authority, REFUSED[name]())


@pytest.mark.parametrize("ttl_s", [-1.0, 0.0, 2.0**63, 10 * 365 * 24 * 3600.0, float("nan"), float("inf")])
def test_impossible_lifetimes(authority, ttl_s):
    with pytest.raises(ca.SigningError):
        signed(authority, request(), ttl_s)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_request_never_gives_another_identity(place, value):
    changed = bytearray(GOOD)
    changed[place % len(changed)] = value
    try:
        certificate = signed(ROOT, bytes(changed))
    except ca.SigningError:
        return
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [str(ALICE)]


ROOT = ca.new_authority("cluster.local", NOW)
GOOD = request(names=[uri(str(ALICE))])


@pytest.mark.parametrize("value", ["a,b", "a=b", "a+b", 'a"b', "a\\b", "a\nb", " a", "a ", "#a;", "<a>", "ä"])
def test_attributes_that_peers_could_misread(value):
    with pytest.raises(SubjectError):
        subject_of("default", WorkloadAttributes(workload=value))


def test_long_workload_names_keep_apart():
    one, other = shortened("a" * 100), shortened("a" * 101)
    assert len(one) == len(other) == 64 and one != other
    assert shortened("a" * 64) == "a" * 64


def test_root_is_kept(tmp_path):
    first = store.load_or_create(tmp_path / "ca", "cluster.local", NOW)
    again = store.load_or_create(tmp_path / "ca", "other.domain", NOW + 1)
    assert first == again
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "ca" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "ca").iterdir()) == ["ca-cert.pem", "ca-key.pem"]


def test_root_of_two_that_start_at_once(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(store.load_or_create(tmp_path, "cluster.local", NOW))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_a_crash_between_key_and_certificate_begins_anew(tmp_path):
    store.load_or_create(tmp_path, "cluster.local", NOW)
    (tmp_path / store.CERTIFICATE).unlink()
    store.load_or_create(tmp_path, "cluster.local", NOW)


def test_damage_is_said_and_nothing_replaced(tmp_path):
    store.load_or_create(tmp_path, "cluster.local", NOW)
    (tmp_path / store.KEY).write_bytes(ca.new_authority("cluster.local", NOW).key.reveal())
    with pytest.raises(store.AuthorityDamaged, match="do not belong together"):
        store.load_or_create(tmp_path, "cluster.local", NOW)
    (tmp_path / store.KEY).write_bytes(b"")
    with pytest.raises(store.AuthorityDamaged, match="restore it from a backup"):
        store.load_or_create(tmp_path, "cluster.local", NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_full_disk_leaves_the_root_whole(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", tmp_path], check=True)
    try:
        root = store.load_or_create(tmp_path / "ca", "cluster.local", NOW)
        from lateen.node.disk import write_durably

        with pytest.raises(OSError, match="No space"):
            write_durably(tmp_path / "ca" / store.KEY, b"x" * 100_000)
        assert store.load(tmp_path / "ca") == root
        assert len(list((tmp_path / "ca").iterdir())) == 2
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_outside_clients(tmp_path, authority):
    identity = outside.parse_account("default/alice", "cluster.local")
    chain, key, root = outside.issue_to(tmp_path / "out", authority, identity, time.time())
    assert [path.name for path in (chain, key, root)] == ["cert-chain.pem", "key.pem", "root-cert.pem"]
    assert key.stat().st_mode & 0o777 == 0o600
    verdict = subprocess.run(["openssl", "verify", "-CAfile", root, chain], capture_output=True, text=True, timeout=10)
    assert verdict.returncode == 0, verdict.stderr
    for text in ("default", "/", "a/b/c", "a b/c", "default/.."):
        with pytest.raises(UsageError):
            outside.parse_account(text, "cluster.local")


def test_identities():
    assert parse_spiffe("spiffe://cluster.local/ns/default/sa/alice") == ALICE
    for text in (
        "",
        "spiffe://cluster.local/ns/default",
        "http://cluster.local/ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa/b/c",
        "spiffe://cluster.local/ns/a%2f/sa/b",
    ):
        with pytest.raises(SpiffeError):
            parse_spiffe(text)


def test_keys_are_not_printed(authority, tmp_path):
    body = authority.key.reveal().decode().splitlines()[1]
    assert body not in repr(authority) and body not in f"{authority.key}" and "[redacted]" in repr(authority)
    assert Path(tmp_path).exists()
