"""The mesh configuration, ConfigMap `istio` of the root namespace, key `mesh`. Istio: MeshConfig.

Field defaults are the values in force (Istio: pkg/config/mesh), so decoding a document is merging it over Istio's defaults.
"""

from enum import StrEnum
from typing import ClassVar

import msgspec

from lateen.config.kinds.istio.extension_providers import ExtensionProvider
from lateen.config.kinds.istio.mesh_proxy import MeshProxyConfig
from lateen.config.kinds.istio.traffic_policy import (
    ClientTls,
    ConnectionPool,
    LocalityLb,
    OutlierDetection,
    TcpKeepalive,
    ZoneAwareLb,
)
from lateen.config.kinds.istio.virtual_service import HttpRetry
from lateen.config.kinds.kubernetes.selectors import LabelSelector
from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Duration, Int32


class IngressControllerMode(StrEnum):
    """Istio: MeshConfig.IngressControllerMode."""

    UNSPECIFIED = "UNSPECIFIED"
    OFF = "OFF"
    DEFAULT = "DEFAULT"
    STRICT = "STRICT"


class AuthPolicy(StrEnum):
    """Deprecated, without effect. Istio: MeshConfig.AuthPolicy."""

    NONE = "NONE"
    MUTUAL_TLS = "MUTUAL_TLS"


class AccessLogEncoding(StrEnum):
    """Istio: MeshConfig.AccessLogEncoding."""

    TEXT = "TEXT"
    JSON = "JSON"


class MeshOutboundMode(StrEnum):
    """Istio: MeshConfig.OutboundTrafficPolicy.Mode."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"
    ALLOW_ANY_DYNAMIC_DNS = "ALLOW_ANY_DYNAMIC_DNS"


class MeshOutboundPolicy(Spec, frozen=True):
    """Istio: MeshConfig.OutboundTrafficPolicy."""

    IS_REPLACED_WHOLE: ClassVar[bool] = True

    mode: MeshOutboundMode = MeshOutboundMode.REGISTRY_ONLY
    """Said nowhere in a policy that is there: closed. Without any policy the mesh is open."""
    tls: ClientTls | None = None


class InboundMode(StrEnum):
    """Istio: MeshConfig.InboundTrafficPolicy.Mode."""

    PASSTHROUGH = "PASSTHROUGH"
    LOCALHOST = "LOCALHOST"


class InboundPolicy(Spec, frozen=True):
    """Istio: MeshConfig.InboundTrafficPolicy."""

    mode: InboundMode = InboundMode.PASSTHROUGH


class ConfigSource(Spec, frozen=True):
    """Istio: ConfigSource."""

    address: str = ""
    tls_settings: ClientTls | None = None
    subscribed_resources: tuple[str, ...] = ()


class CertificateData(Spec, frozen=True):
    """Istio: MeshConfig.CertificateData."""

    pem: str | None = None
    spiffe_bundle_url: str | None = None
    cert_signers: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()


class MeshH2Upgrade(StrEnum):
    """Istio: MeshConfig.H2UpgradePolicy."""

    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class Certificate(Spec, frozen=True):
    """Deprecated. Istio: Certificate."""

    secret_name: str = ""
    dns_names: tuple[str, ...] = ()


class ServiceSetting(Spec, frozen=True):
    """Istio: MeshConfig.ServiceSettings.Settings."""

    cluster_local: bool = False


class ServiceSettings(Spec, frozen=True):
    """Istio: MeshConfig.ServiceSettings."""

    settings: ServiceSetting | None = None
    hosts: tuple[str, ...] = ()


class ServiceScope(StrEnum):
    """Istio: MeshConfig.ServiceScopeConfigs.Scope."""

    LOCAL = "LOCAL"
    GLOBAL = "GLOBAL"


class ServiceScopeConfig(Spec, frozen=True):
    """Istio: MeshConfig.ServiceScopeConfigs."""

    namespace_selector: LabelSelector | None = None
    services_selector: LabelSelector | None = None
    scope: ServiceScope = ServiceScope.LOCAL


class CertificateAuthority(Spec, frozen=True):
    """Istio: MeshConfig.CA."""

    address: str = ""
    tls_settings: ClientTls | None = None
    request_timeout: Duration | None = None
    istiod_side: bool = False


class DefaultProviders(Spec, frozen=True):
    """Istio: MeshConfig.DefaultProviders."""

    tracing: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    access_logging: tuple[str, ...] = ()


class NormalizationType(StrEnum):
    """Istio: ProxyPathNormalization.NormalizationType."""

    DEFAULT = "DEFAULT"
    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


class PathNormalization(Spec, frozen=True):
    """Istio: MeshConfig.ProxyPathNormalization."""

    normalization: NormalizationType = NormalizationType.DEFAULT


class MeshTlsProtocol(StrEnum):
    """Istio: MeshConfig.TLSConfig.TLSProtocol."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class MeshTls(Spec, frozen=True):
    """Istio: MeshConfig.TLSConfig."""

    min_protocol_version: MeshTlsProtocol = MeshTlsProtocol.TLS_AUTO
    ecdh_curves: tuple[str, ...] = ()
    cipher_suites: tuple[str, ...] = ()


class DefaultTrafficPolicy(Spec, frozen=True):
    """Istio: MeshConfig.DefaultTrafficPolicy."""

    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None


class Visibility(StrEnum):
    """Istio: ServiceEntryVisibility.Visibility."""

    VISIBILITY_UNSPECIFIED = "VISIBILITY_UNSPECIFIED"
    NONE = "NONE"
    NAMESPACE = "NAMESPACE"
    PUBLIC = "PUBLIC"


class VisibilityRule(Spec, frozen=True):
    """Istio: ServiceEntryVisibility.MatchRule."""

    namespace_selector: LabelSelector | None = None


class VisibilityPolicy(Spec, frozen=True):
    """Istio: ServiceEntryVisibility.Policy."""

    visibility: Visibility = Visibility.VISIBILITY_UNSPECIFIED
    matching_rules: tuple[VisibilityRule, ...] = ()


class ServiceEntryVisibility(Spec, frozen=True):
    """Istio: MeshConfig.ServiceEntryVisibility."""

    default_visibility: Visibility = Visibility.VISIBILITY_UNSPECIFIED
    apply_to_sidecars: bool = False
    policies: tuple[VisibilityPolicy, ...] = ()


class MeshConfig(Spec, frozen=True):
    """Istio: MeshConfig, with the values in force as defaults."""

    proxy_listen_port: Int32 = 15001
    proxy_inbound_listen_port: Int32 = 15006
    proxy_http_port: Int32 = 0
    """0: no HTTP proxy port."""
    connect_timeout: Duration = Duration(10)
    hbone_idle_timeout: Duration | None = None
    protocol_detection_timeout: Duration | None = None
    """None: not said (ours: 200 ms); 0.0: wait for ever, as the user asked."""
    tcp_keepalive: TcpKeepalive | None = None
    ingress_class: str = "istio"
    ingress_service: str = "istio-ingressgateway"
    ingress_controller_mode: IngressControllerMode = IngressControllerMode.STRICT
    ingress_selector: str = "ingressgateway"
    auth_policy: AuthPolicy = AuthPolicy.NONE
    enable_tracing: bool = True
    access_log_file: str = ""
    """Empty: no access log."""
    access_log_format: str = ""
    access_log_encoding: AccessLogEncoding = AccessLogEncoding.TEXT
    enable_envoy_access_log_service: bool = False
    disable_envoy_listener_log: bool = False
    default_config: MeshProxyConfig = MeshProxyConfig()
    outbound_traffic_policy: MeshOutboundPolicy = MeshOutboundPolicy(mode=MeshOutboundMode.ALLOW_ANY)
    inbound_traffic_policy: InboundPolicy = InboundPolicy()
    config_sources: tuple[ConfigSource, ...] = ()
    enable_auto_mtls: bool = True
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    ca_certificates: tuple[CertificateData, ...] = ()
    default_service_export_to: tuple[str, ...] = ("*",)
    default_virtual_service_export_to: tuple[str, ...] = ("*",)
    default_destination_rule_export_to: tuple[str, ...] = ("*",)
    root_namespace: str = "istio-system"
    locality_lb_setting: LocalityLb | None = LocalityLb(enabled=True)
    zone_aware_lb_setting: ZoneAwareLb | None = None
    dns_refresh_rate: Duration = Duration(60)
    h2_upgrade_policy: MeshH2Upgrade | None = None
    """None: not said, which is automatic (ours); Istio's own default is DO_NOT_UPGRADE."""
    inbound_cluster_stat_name: str = ""
    outbound_cluster_stat_name: str = ""
    certificates: tuple[Certificate, ...] = ()
    service_settings: tuple[ServiceSettings, ...] = ()
    service_scope_configs: tuple[ServiceScopeConfig, ...] = ()
    enable_prometheus_merge: bool = True
    verify_certificate_at_client: bool | None = None
    ca: CertificateAuthority | None = None
    extension_providers: tuple[ExtensionProvider, ...] = ()
    """The user's; the built-in ones (`prometheus`, `stackdriver`, `envoy`) are in `config.defaults`."""
    default_providers: DefaultProviders | None = None
    discovery_selectors: tuple[LabelSelector, ...] = ()
    path_normalization: PathNormalization | None = None
    """None: BASE."""
    default_http_retry_policy: HttpRetry | None = None
    default_inbound_http_retry_policy: HttpRetry | None = None
    mesh_mtls: MeshTls | None = msgspec.field(default=None, name="meshMTLS")
    tls_defaults: MeshTls | None = None
    default_traffic_policy: DefaultTrafficPolicy | None = None
    service_entry_visibility: ServiceEntryVisibility | None = None
