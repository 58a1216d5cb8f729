"""Gateway: servers of a load balancer at the mesh's edge. Istio: networking Gateway. (The Gateway API's kind is in `kinds.gateway`.)"""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import ServerPort
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Labels, Map


class ServerTlsMode(StrEnum):
    """Istio: ServerTLSSettings.TLSmode."""

    PASSTHROUGH = "PASSTHROUGH"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"


class TlsProtocol(StrEnum):
    """Istio: ServerTLSSettings.TLSProtocol."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class TlsCertificate(Spec, frozen=True):
    """Files of one certificate. Istio: ServerTLSSettings.TLSCertificate."""

    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""


class ServerTls(Spec, frozen=True):
    """Istio: ServerTLSSettings."""

    https_redirect: bool = False
    mode: ServerTlsMode = ServerTlsMode.PASSTHROUGH
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    tls_certificates: Annotated[tuple[TlsCertificate, ...], msgspec.Meta(min_length=1, max_length=2)] = ()
    credential_name: str = ""
    credential_names: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=2)] = ()
    ca_cert_credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: TlsProtocol = TlsProtocol.TLS_AUTO
    max_protocol_version: TlsProtocol = TlsProtocol.TLS_AUTO
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    insecure_skip_verify: bool | None = None


class Server(Spec, frozen=True):
    """Istio: Server."""

    REQUIRED: ClassVar[tuple[str, ...]] = (
        "hosts",
        "port",
    )

    port: ServerPort | None = None
    bind: str = ""
    hosts: tuple[str, ...] = ()
    """`host` or `namespace/host`."""
    tls: ServerTls | None = None
    default_endpoint: str = ""
    name: str = ""


class GatewaySpec(Spec, frozen=True):
    """Istio: Gateway."""

    servers: tuple[Server, ...] = ()
    selector: Labels = Map()
    """Empty: every gateway."""


class Gateway(Object, frozen=True):
    """networking.istio.io Gateway."""

    kind: ClassVar[str] = "Gateway"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "gateways"

    spec: GatewaySpec = msgspec.field(default_factory=GatewaySpec)
