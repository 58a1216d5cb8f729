"""How a proxy ends TLS: with the mesh's certificate at its inbound ports, with a Gateway's or Sidecar's own certificates at servers.

Called by the planners of listeners.

Source: Istio ServerTLSSettings, MeshConfig.meshMTLS and tlsDefaults; names of secrets are Istio's.
"""

from lateen.base.names import SDS_DEFAULT, SDS_DEFAULT_PATH, SDS_ROOT, SDS_ROOT_PATH, outbound_cluster, root_name
from lateen.config.kinds.istio.extension_providers import ExtensionProvider
from lateen.config.kinds.istio.gateway import ServerTls as Written
from lateen.config.kinds.istio.gateway import ServerTlsMode, TlsProtocol
from lateen.config.kinds.istio.mesh_config import MeshTls, MeshTlsProtocol
from lateen.config.store import mesh_field
from lateen.config.validate.names import CIPHER_SUITES
from lateen.incremental import Db, query
from lateen.plan.listener import SecretSource, ServerTls, StringMatch

MESH_CERTIFICATE = SecretSource(SDS_DEFAULT, SDS_DEFAULT_PATH)
MESH_ROOT = SecretSource(SDS_ROOT, SDS_ROOT_PATH)
MESH_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)
"""What inbound mesh TLS accepts below TLS 1.3. Source: Istio's defaults."""
CURVES = frozenset(("X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"))
"""Key exchange curves that Envoy knows."""
_HASH_LENGTH, _SPKI_LENGTH = 64, 44
_MESH_VERSIONS = {MeshTlsProtocol.TLSV1_2: "TLSv1_2", MeshTlsProtocol.TLSV1_3: "TLSv1_3"}
_VERSIONS = {TlsProtocol.TLSV1_0: "TLSv1_0", TlsProtocol.TLSV1_1: "TLSv1_1", TlsProtocol.TLSV1_2: "TLSv1_2", TlsProtocol.TLSV1_3: "TLSv1_3"}
_MUTUAL = (ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL)
HTTP_ALPN = ("h2", "http/1.1")
_CA = "-cacert"


@query
def mesh_tls(db: Db, for_http: bool) -> ServerTls:
    """How a sidecar ends the mesh's mutual TLS: any identity of the trust domain and its aliases gets in; who may do what is for authorization."""
    domains = (str(mesh_field(db, "trust_domain")), *_strings(mesh_field(db, "trust_domain_aliases")))
    said = mesh_field(db, "mesh_mtls")
    settings = said if isinstance(said, MeshTls) else MeshTls()
    return ServerTls(
        certificates=(MESH_CERTIFICATE,),
        root=MESH_ROOT,
        needs_client=True,
        client_names=tuple(StringMatch("prefix", f"spiffe://{domain}/") for domain in dict.fromkeys(domains)),
        alpn=HTTP_ALPN if for_http else ("istio-peer-exchange", "h2", "http/1.1"),
        min_version=_MESH_VERSIONS.get(settings.min_protocol_version, "TLSv1_2"),
        max_version="TLSv1_3",
        ciphers=known_ciphers(settings.cipher_suites) or MESH_CIPHERS,
        curves=_curves(settings.ecdh_curves),
    )


def _curves(written: tuple[str, ...]) -> tuple[str, ...]:
    """Those that Envoy knows, each once: it refuses a list that says one twice."""
    return tuple(dict.fromkeys(name for name in written if name in CURVES))


def known_ciphers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that can be used, each once."""
    return tuple(dict.fromkeys(name for name in names if name in CIPHER_SUITES))


def _is_hash(text: str) -> bool:
    """SHA-256 in hexadecimal, with colons or without."""
    digits = text.replace(":", "")
    return len(digits) == _HASH_LENGTH and all(one in "0123456789abcdefABCDEF" for one in digits)


def _strings(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, tuple) else ()


def credential(db: Db, name: str) -> SecretSource:
    """A Secret by `credentialName`, served over ADS, or, as `sds://NAME`, by the mesh's own server of secrets where it has one.

    Source: Istio, SDS names of gateways; MeshConfig extension providers, `sds`."""
    bare = name.removeprefix("sds://")
    if bare == name:
        return SecretSource(name if "://" in name else f"kubernetes://{name}")
    providers = mesh_field(db, "extension_providers")
    for one in providers if isinstance(providers, tuple) else ():
        if isinstance(one, ExtensionProvider) and one.sds is not None:
            host = one.sds.service.rpartition("/")[2]
            return SecretSource(bare, cluster=outbound_cluster(one.sds.port, "", host), authority=host)
    return SecretSource(f"kubernetes://{bare}")


def file_certificate(chain: str, key: str) -> SecretSource:
    """A certificate in files of the proxy's own machine."""
    return SecretSource(f"file-cert:{chain}~{key}")


def file_root(path: str, revocations: str = "") -> SecretSource:
    """A root in a file of the proxy's own machine. `revocations`: the file of its revocation list, empty: none."""
    return SecretSource(root_name(path, revocations))


def _certificates(db: Db, tls: Written) -> tuple[SecretSource, ...]:
    if tls.credential_names:
        return tuple(credential(db, name) for name in tls.credential_names)
    if tls.credential_name:
        return (credential(db, tls.credential_name),)
    if tls.tls_certificates:
        return tuple(file_certificate(item.server_certificate, item.private_key) for item in tls.tls_certificates)
    if tls.server_certificate:
        return (file_certificate(tls.server_certificate, tls.private_key),)
    return ()


def _root(db: Db, tls: Written) -> SecretSource | None:
    if tls.mode not in _MUTUAL:
        return None
    if tls.ca_cert_credential_name:
        name = tls.ca_cert_credential_name
        return credential(db, name if name.endswith(_CA) else name + _CA)
    if tls.credential_names or tls.credential_name:
        return credential(db, (tls.credential_names or (tls.credential_name,))[0].removesuffix(_CA) + _CA)
    return file_root(tls.ca_certificates, tls.ca_crl) if tls.ca_certificates else None


@query
def server_tls(db: Db, tls: Written, is_http: bool) -> ServerTls:
    """How a server of a Gateway, or a Sidecar's ingress listener, ends TLS. `is_http`: HTTP versions are offered."""
    said = mesh_field(db, "tls_defaults")
    defaults = said if isinstance(said, MeshTls) else MeshTls()
    low = _VERSIONS.get(tls.min_protocol_version) or _MESH_VERSIONS.get(defaults.min_protocol_version, "")
    is_mesh = tls.mode is ServerTlsMode.ISTIO_MUTUAL
    root = MESH_ROOT if is_mesh else _root(db, tls)
    return ServerTls(
        certificates=(MESH_CERTIFICATE,) if is_mesh else _certificates(db, tls),
        root=root,
        needs_client=is_mesh or tls.mode is ServerTlsMode.MUTUAL,
        client_names=tuple(StringMatch("exact", name) for name in tls.subject_alt_names) if root else (),
        alpn=HTTP_ALPN if is_http else (),
        min_version=low,
        max_version=_VERSIONS.get(tls.max_protocol_version, ""),
        ciphers=known_ciphers(tls.cipher_suites) or known_ciphers(defaults.cipher_suites),
        curves=_curves(tls.ecdh_curves or defaults.ecdh_curves),
        accepts_untrusted=root is not None and bool(tls.insecure_skip_verify),
        certificate_hashes=tuple(text for text in tls.verify_certificate_hash if _is_hash(text)),
        certificate_spki=tuple(text for text in tls.verify_certificate_spki if len(text) == _SPKI_LENGTH),
    )
