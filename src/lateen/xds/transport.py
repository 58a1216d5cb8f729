"""Upstream transport sockets: clear text, mesh TLS, TLS as a user set it up, and the PROXY header around any of them. Called by `xds.clusters`.

Envoy: core.v3.TransportSocket, tls.v3.UpstreamTlsContext. A client's newest version must be said: Envoy's own is TLS 1.2.
"""

from lateen.base.names import SDS_DEFAULT, SDS_DEFAULT_PATH, SDS_ROOT, SDS_ROOT_PATH
from lateen.plan.cluster import ClientTls, MeshTls, Raw, Socket, Transport
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.core.v3 import base_pb2, config_source_pb2, proxy_protocol_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from lateen.wire.pb.envoy.type.matcher.v3 import string_pb2
from lateen.xds.any import packed

TLS_SOCKET = "envoy.transport_sockets.tls"
RAW_SOCKET = "envoy.transport_sockets.raw_buffer"
MATCH_KEY = "tlsMode"
MATCH_VALUE = "istio"
"""Endpoint metadata, under `envoy.transport_socket_match`, of those that take mesh TLS. Source: Istio."""
MAX_SNI = 255
_Kind = common_pb2.SubjectAltNameMatcher


def apply_transport(cluster: cluster_pb2.Cluster, transport: Transport) -> None:
    """Sets the transport socket, or the matches where endpoints with and without a sidecar are mixed. In the clear nothing is set."""
    if isinstance(transport.socket, Raw):
        if transport.proxy_protocol:
            cluster.transport_socket.CopyFrom(_wrapped(_raw("raw_buffer"), transport.proxy_protocol))
        return
    secure = _wrapped(_tls(transport.socket), transport.proxy_protocol)
    if not transport.is_matched:
        cluster.transport_socket.CopyFrom(secure)
        return
    mesh = cluster.transport_socket_matches.add(name="tlsMode-istio", transport_socket=secure)
    mesh.match.fields[MATCH_KEY].string_value = MATCH_VALUE
    clear = cluster.transport_socket_matches.add(name="tlsMode-disabled", transport_socket=_wrapped(_raw(), transport.proxy_protocol))
    clear.match.SetInParent()


def _raw(name: str = RAW_SOCKET) -> base_pb2.TransportSocket:
    return base_pb2.TransportSocket(name=name, typed_config=packed(raw_buffer_pb2.RawBuffer()))


def _wrapped(inner: base_pb2.TransportSocket, version: int) -> base_pb2.TransportSocket:
    """`inner` behind a PROXY header of that version; 0: as it is."""
    if not version:
        return inner
    versions = proxy_protocol_pb2.ProxyProtocolConfig
    config = versions(version=versions.V2 if version == 2 else versions.V1)
    outer = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport(config=config, transport_socket=inner)
    return base_pb2.TransportSocket(name="envoy.transport_sockets.upstream_proxy_protocol", typed_config=packed(outer))


def _tls(socket: Socket) -> base_pb2.TransportSocket:
    assert not isinstance(socket, Raw)
    context = tls_pb2.UpstreamTlsContext(sni=socket.sni[:MAX_SNI])
    common = context.common_tls_context
    common.alpn_protocols.extend(socket.alpn)
    params = common.tls_params
    params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    if isinstance(socket, MeshTls):
        common.tls_certificate_sds_secret_configs.append(_on_disk(SDS_DEFAULT, SDS_DEFAULT_PATH))
        combined = common.combined_validation_context
        combined.default_validation_context.match_typed_subject_alt_names.extend(_identity(name) for name in socket.identities)
        combined.default_validation_context.SetInParent()
        combined.validation_context_sds_secret_config.CopyFrom(_on_disk(SDS_ROOT, SDS_ROOT_PATH))
    else:
        _apply_written(common, socket)
    return base_pb2.TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def _identity(name: str) -> common_pb2.SubjectAltNameMatcher:
    """A server's identity; one that is no URI may be in any kind of name, so it is taken as a host name."""
    return _Kind(san_type=_Kind.URI if "://" in name else _Kind.DNS, matcher=string_pb2.StringMatcher(exact=name))


def _apply_written(common: tls_pb2.CommonTlsContext, tls: ClientTls) -> None:
    if tls.certificate:
        common.tls_certificate_sds_secret_configs.append(_over_ads(tls.certificate))
    if not tls.authority:
        return
    combined = common.combined_validation_context
    checks = combined.default_validation_context
    checks.SetInParent()
    for name in tls.subject_alt_names:
        kinds = (_Kind.URI,) if "://" in name else (_Kind.DNS, _Kind.URI, _Kind.EMAIL, _Kind.IP_ADDRESS)
        checks.match_typed_subject_alt_names.extend(_Kind(san_type=kind, matcher=string_pb2.StringMatcher(exact=name)) for kind in kinds)
    combined.validation_context_sds_secret_config.CopyFrom(_over_ads(tls.authority))


def _on_disk(name: str, path: str) -> secret_pb2.SdsSecretConfig:
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    source.path_config_source.path = path
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)


def _over_ads(name: str) -> secret_pb2.SdsSecretConfig:
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    source.ads.SetInParent()
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)
