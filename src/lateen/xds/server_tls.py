"""Downstream TLS contexts. Called by `xds.listeners`. Envoy: DownstreamTlsContext; certificates come by SDS, from watched files or over ADS."""

from lateen.plan.listener import SecretSource, ServerTls, StringMatch
from lateen.wire.pb.envoy.config.core.v3 import base_pb2, config_source_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from lateen.wire.pb.envoy.type.matcher.v3 import string_pb2
from lateen.xds.any import packed


def secret_config(source: SecretSource) -> secret_pb2.SdsSecretConfig:
    """Where Envoy gets a secret from."""
    config = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    if source.path:
        config.path_config_source.path = source.path
    elif source.cluster:
        api = config.api_config_source
        api.api_type, api.transport_api_version = config_source_pb2.ApiConfigSource.GRPC, config_source_pb2.V3
        api.grpc_services.add().envoy_grpc.cluster_name = source.cluster
        api.grpc_services[0].envoy_grpc.authority = source.authority
    else:
        config.ads.SetInParent()
    return secret_pb2.SdsSecretConfig(name=source.name, sds_config=config)


def string_matcher(match: StringMatch) -> string_pb2.StringMatcher:
    """A string condition."""
    if match.kind == "prefix":
        return string_pb2.StringMatcher(prefix=match.value)
    return string_pb2.StringMatcher(suffix=match.value) if match.kind == "suffix" else string_pb2.StringMatcher(exact=match.value)


def _client_names(names: tuple[StringMatch, ...]) -> list[common_pb2.SubjectAltNameMatcher]:
    """Which names a client's certificate may have. An identity is a URI; other names may be of any type that a certificate has."""
    matcher = common_pb2.SubjectAltNameMatcher
    found: list[common_pb2.SubjectAltNameMatcher] = []
    for name in names:
        kinds = (matcher.URI,) if "://" in name.value else (matcher.DNS, matcher.URI, matcher.EMAIL, matcher.IP_ADDRESS)
        found.extend(matcher(san_type=kind, matcher=string_matcher(name)) for kind in kinds)
    return found


def _validation(tls: ServerTls) -> common_pb2.CertificateValidationContext:
    context = common_pb2.CertificateValidationContext(
        match_typed_subject_alt_names=_client_names(tls.client_names),
        verify_certificate_hash=tls.certificate_hashes,
        verify_certificate_spki=tls.certificate_spki,
    )
    if tls.accepts_untrusted:
        context.trust_chain_verification = common_pb2.CertificateValidationContext.ACCEPT_UNTRUSTED
    return context


def downstream_tls(tls: ServerTls) -> base_pb2.TransportSocket:
    """The transport socket that ends TLS. The newest version is always said: TLS 1.3 where nothing else is asked for."""
    common = tls_pb2.CommonTlsContext(alpn_protocols=tls.alpn, tls_certificate_sds_secret_configs=[secret_config(one) for one in tls.certificates])
    params = common.tls_params
    if tls.min_version:
        params.tls_minimum_protocol_version = getattr(common_pb2.TlsParameters, tls.min_version)
    params.tls_maximum_protocol_version = getattr(common_pb2.TlsParameters, tls.max_version or "TLSv1_3")
    params.cipher_suites.extend(tls.ciphers)
    params.ecdh_curves.extend(tls.curves)
    if tls.root is not None:
        combined = common.combined_validation_context
        combined.default_validation_context.CopyFrom(_validation(tls))
        combined.validation_context_sds_secret_config.CopyFrom(secret_config(tls.root))
    elif tls.certificate_hashes or tls.certificate_spki:
        common.validation_context.CopyFrom(_validation(tls))
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    context.require_client_certificate.value = tls.needs_client
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
