"""What a client speaks to a cluster's endpoints: the DestinationRule's TLS settings, or mesh TLS by itself. Called by `outbound_clusters`.

Source: Istio ClientTLSSettings and auto mTLS; names of secrets are Istio's.
"""

from dataclasses import dataclass

from lateen.base.names import ClusterName, root_name
from lateen.config import store
from lateen.config.kinds.istio.traffic_policy import ClientTls as WrittenTls
from lateen.config.kinds.istio.traffic_policy import ClientTlsMode
from lateen.incremental import Db
from lateen.mesh.model import MtlsMode, Resolution, Service
from lateen.mesh.peer_authentication import namespace_mode
from lateen.plan.clients import has_sidecars, identities
from lateen.plan.cluster import ClientTls, Hypertext, MeshTls, Raw, Socket, Transport

SYSTEM_ROOTS = "system"
MESH_ALPN = {
    Hypertext.HTTP1: ("istio-http/1.1", "istio", "http/1.1"),
    Hypertext.HTTP2: ("istio-h2", "istio", "h2"),
    Hypertext.CLIENT: ("istio",),
}
"""What mesh TLS offers. The server's chains match on the first names, the last one is negotiated. With the client's protocol nothing is negotiated, so that
both ends go by the bytes."""
TCP_ALPN = ("istio",)


@dataclass(frozen=True)
class Upstream:
    """What TLS is chosen for. `is_original`: endpoints are those the caller names. `has_credentials`: the client may use `credentialName`."""

    service: Service
    port: int
    subset: str
    is_original: bool
    has_credentials: bool

    @property
    def sni(self) -> str:
        """The server name of mesh TLS."""
        return ClusterName("outbound", self.port, self.subset, self.service.hostname).sni


def is_automatic(db: Db, upstream: Upstream, written: WrittenTls | None) -> bool:
    """Whether mesh TLS is used without being asked for. External services, and namespaces with mTLS DISABLE, have none; original-destination clusters only
    where every endpoint has a sidecar."""
    service = upstream.service
    if written is not None or service.is_external or not store.mesh_field(db, "enable_auto_mtls"):
        return False
    if service.resolution in (Resolution.HEADLESS, Resolution.NONE) and not has_sidecars(db, service.namespace, service.hostname):
        return False
    return namespace_mode(db, service.namespace) is not MtlsMode.DISABLE


def is_mesh_tls(db: Db, upstream: Upstream, written: WrittenTls | None) -> bool:
    """Whether endpoints with a sidecar are spoken to with mesh TLS."""
    return is_automatic(db, upstream, written) or (written is not None and written.mode is ClientTlsMode.ISTIO_MUTUAL)


def transport(db: Db, upstream: Upstream, written: WrittenTls | None, protocol: Hypertext | None) -> Transport:
    """The transport of a cluster. `protocol`: its HTTP version, None: TCP."""
    alpn = TCP_ALPN if protocol is None else MESH_ALPN[protocol]
    service = upstream.service
    if is_automatic(db, upstream, written):
        socket = MeshTls(upstream.sni, identities(db, service.namespace, service.hostname), alpn)
        return Transport(socket, is_matched=not upstream.is_original)
    if written is None:
        return Transport()
    if written.mode is ClientTlsMode.ISTIO_MUTUAL:
        names = written.subject_alt_names or identities(db, service.namespace, service.hostname)
        sni = written.sni or ("" if "*" in service.hostname else upstream.sni)
        return Transport(MeshTls(sni, tuple(sorted(set(names))), alpn))
    return Transport(_written(db, written, upstream.has_credentials, protocol is Hypertext.HTTP2))


def unknown_transport(db: Db, written: WrittenTls | None) -> Transport:
    """What is spoken to hosts of no known service. Credentials are for clients that a rule names, and nothing names these.
    Source: Istio MeshConfig.outboundTrafficPolicy.tls."""
    if written is None:
        return Transport()
    if written.mode is ClientTlsMode.ISTIO_MUTUAL:
        return Transport(MeshTls(written.sni, tuple(sorted(set(written.subject_alt_names))), MESH_ALPN[Hypertext.CLIENT]))
    return Transport(_written(db, written, False, False))


def verifies(db: Db, written: WrittenTls) -> bool:
    """Whether the server's certificate is checked."""
    asked = store.mesh_field(db, "verify_certificate_at_client")
    return not written.insecure_skip_verify and asked is not False


def _written(db: Db, written: WrittenTls, has_credentials: bool, is_http2: bool) -> Socket:
    if written.mode is ClientTlsMode.DISABLE or (written.credential_name and not has_credentials):
        return Raw()
    is_mutual = written.mode is ClientTlsMode.MUTUAL
    if written.credential_name:
        name = written.credential_name if "://" in written.credential_name else f"kubernetes://{written.credential_name}"
        certificate, authority = (name if is_mutual else ""), f"{name}-cacert"
    else:
        if is_mutual and not (written.client_certificate and written.private_key):
            return Raw()
        certificate = f"file-cert:{written.client_certificate}~{written.private_key}" if is_mutual else ""
        path = written.ca_certificates or (SYSTEM_ROOTS if verifies(db, written) else "")
        authority = root_name(path, written.ca_crl) if path else ""
    if written.insecure_skip_verify:
        authority = ""
    return ClientTls(
        sni=written.sni,
        subject_alt_names=() if written.insecure_skip_verify else tuple(sorted(set(written.subject_alt_names))),
        certificate=certificate,
        authority=authority,
        alpn=("h2",) if is_http2 else (),
    )
