"""A cluster as `clusters.json` has it: discovery, load balancing, limits, protocol, transport, endpoints, as this proxy has them in force. Called by `answer`.

Left out, as the data set does: unlimited circuit breakers, and the mesh's own names of certificates and versions.
"""

from lateen.insight.simulate.emitted import Emitted
from lateen.insight.simulate.messages import Json, message_class, protojson, unpacked
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.core.v3 import base_pb2, health_check_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from lateen.wire.pb.envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SOCKET_MATCH = "envoy.transport_socket_match"
"""Metadata of an endpoint that chooses its transport. Source: Envoy Cluster.transport_socket_matches."""
UNLIMITED = 4294967295
BREAKERS = {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 3}
"""Envoy's defaults where a cluster says nothing."""
ELSEWHERE = (
    "name",
    "alt_stat_name",
    "type",
    "lb_policy",
    "load_assignment",
    "eds_cluster_config",
    "transport_socket",
    "transport_socket_matches",
    "typed_extension_protocol_options",
    "http2_protocol_options",
    "http_protocol_options",
    "metadata",
    "filters",
    "circuit_breakers",
)
POLICIES = {
    "round_robin.v3.RoundRobin": "ROUND_ROBIN",
    "least_request.v3.LeastRequest": "LEAST_REQUEST",
    "random.v3.Random": "RANDOM",
    "ring_hash.v3.RingHash": "RING_HASH",
    "maglev.v3.Maglev": "MAGLEV",
    "cluster_provided.v3.ClusterProvided": "CLUSTER_PROVIDED",
}


def cluster_summary(emitted: Emitted, name: str) -> dict[str, Json]:
    """The entry of one cluster; `{"exists": false}`: the proxy does not get it."""
    cluster = emitted.clusters.get(name)
    if cluster is None:
        return {"exists": False}
    _import_parts(cluster)
    summary = {key: value for key, value in protojson(cluster).items() if key not in ELSEWHERE}
    summary |= {
        "type": _type(cluster),
        "lb_policy": cluster_pb2.Cluster.LbPolicy.Name(cluster.lb_policy),
        "connect_timeout": summary.get("connect_timeout", "5s"),
        "endpoints": _endpoints(_assignment(emitted, cluster)),
    }
    return summary | _balancing(cluster) | _breakers(cluster) | _protocol(cluster) | _transport(cluster)


def _import_parts(cluster: cluster_pb2.Cluster) -> None:
    if cluster.HasField("cluster_type"):
        message_class(cluster.cluster_type.typed_config.type_url)


def _type(cluster: cluster_pb2.Cluster) -> str:
    if cluster.WhichOneof("cluster_discovery_type") == "cluster_type":
        return cluster.cluster_type.name
    return cluster_pb2.Cluster.DiscoveryType.Name(cluster.type)


def _balancing(cluster: cluster_pb2.Cluster) -> dict[str, Json]:
    """A load balancing policy as an extension, under the name of the built-in one."""
    for policy in cluster.load_balancing_policy.policies:
        kind = policy.typed_extension_config.typed_config.type_url.rpartition("load_balancing_policies.")[2]
        if kind in POLICIES:
            return {"lb_policy": POLICIES[kind]}
    return {}


def _breakers(cluster: cluster_pb2.Cluster) -> dict[str, Json]:
    thresholds = [protojson(one) for one in cluster.circuit_breakers.thresholds]
    own = [one for one in thresholds if one.get("priority", "DEFAULT") == "DEFAULT"]
    if len(thresholds) == 1 and own and all(own[0].get(key) == UNLIMITED for key in BREAKERS):
        return {}
    return {"circuit_breakers": {"thresholds": thresholds if own else [*thresholds, BREAKERS]}}


def _protocol(cluster: cluster_pb2.Cluster) -> dict[str, Json]:
    if HTTP_OPTIONS not in cluster.typed_extension_protocol_options:
        return {"http_protocol": "h2" if cluster.HasField("http2_protocol_options") else "h1"}
    options = unpacked(cluster.typed_extension_protocol_options[HTTP_OPTIONS])
    assert isinstance(options, http_protocol_options_pb2.HttpProtocolOptions)
    match options.WhichOneof("upstream_protocol_options"):
        case "use_downstream_protocol_config":
            protocol = "downstream"
        case "auto_config":
            protocol = "auto"
        case _:
            protocol = "h2" if options.explicit_http_config.HasField("http2_protocol_options") else "h1"
    return {"http_protocol": protocol, "http_protocol_options": protojson(options)}


def _transport(cluster: cluster_pb2.Cluster) -> dict[str, Json]:
    matches = [{"match": protojson(one.match), **_socket(one.transport_socket)} for one in cluster.transport_socket_matches]
    if not matches:
        return {"tls": _socket(cluster.transport_socket)}
    own = _socket(cluster.transport_socket)
    return {"transport_socket_matches": matches} | ({"tls": own} if own["mode"] != "none" else {})


def _socket(socket: base_pb2.TransportSocket) -> dict[str, Json]:
    if not socket.HasField("typed_config"):
        return {"mode": "none"}
    message = unpacked(socket.typed_config)
    if isinstance(message, raw_buffer_pb2.RawBuffer):
        return {"mode": "none"}
    if not isinstance(message, tls_pb2.UpstreamTlsContext):
        return {"mode": "other", "type_url": socket.typed_config.type_url, "config": protojson(message)}
    return tls_summary(message)


def tls_summary(context: tls_pb2.UpstreamTlsContext) -> dict[str, Json]:
    """What a client's TLS context does. `mode`: `istio_mtls`, `mutual` or `simple`."""
    common = context.common_tls_context
    certificates = [one.name for one in common.tls_certificate_sds_secret_configs]
    certificates += [f"file-cert:{one.certificate_chain.filename}~{one.private_key.filename}" for one in common.tls_certificates]
    validation, ca = _validation(common)
    sans = [*validation.match_subject_alt_names, *(one.matcher for one in validation.match_typed_subject_alt_names)]
    mode = "istio_mtls" if certificates == ["default"] else "mutual" if certificates else "simple"
    fields: dict[str, Json] = {
        "sni": context.sni,
        "alpn": list(common.alpn_protocols),
        "subject_alt_names": [one.exact if one.WhichOneof("match_pattern") == "exact" and not one.ignore_case else protojson(one) for one in sans],
    }
    if mode != "istio_mtls" or ca != "ROOTCA":
        fields |= {"ca": ca, "certificates": certificates}
    if mode != "istio_mtls" or _params(common.tls_params) != USUAL_PARAMS:
        fields["tls_params"] = _params(common.tls_params)
    return {"mode": mode, **{key: value for key, value in fields.items() if value}}


USUAL_PARAMS = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}


def _params(params: common_pb2.TlsParameters) -> dict[str, Json]:
    """With Envoy's defaults for a client: TLS 1.2 and no newer."""
    given = protojson(params)
    for end in ("minimum", "maximum"):
        if given.get(f"tls_{end}_protocol_version", "TLS_AUTO") == "TLS_AUTO":
            given[f"tls_{end}_protocol_version"] = "TLSv1_2"
    return given


def _validation(common: tls_pb2.CommonTlsContext) -> tuple[common_pb2.CertificateValidationContext, str]:
    """The validation context, and the name of what it trusts: an SDS name, or a file in the data set's way."""
    match common.WhichOneof("validation_context_type"):
        case "combined_validation_context":
            combined = common.combined_validation_context
            return combined.default_validation_context, combined.validation_context_sds_secret_config.name or _file(combined.default_validation_context)
        case "validation_context_sds_secret_config":
            return common_pb2.CertificateValidationContext(), common.validation_context_sds_secret_config.name
        case _:
            return common.validation_context, _file(common.validation_context)


def _file(validation: common_pb2.CertificateValidationContext) -> str:
    if validation.HasField("system_root_certs"):
        return "file-root:system"
    return f"file-root:{validation.trusted_ca.filename}" if validation.trusted_ca.filename else ""


def _assignment(emitted: Emitted, cluster: cluster_pb2.Cluster) -> endpoint_pb2.ClusterLoadAssignment:
    if cluster.WhichOneof("cluster_discovery_type") == "type" and cluster.type == cluster_pb2.Cluster.EDS:
        found = emitted.assignments.get(cluster.eds_cluster_config.service_name or cluster.name)
        return found if found is not None else endpoint_pb2.ClusterLoadAssignment()
    return cluster.load_assignment


def _endpoints(assignment: endpoint_pb2.ClusterLoadAssignment) -> list[Json]:
    found = [_endpoint(group, one) for group in assignment.endpoints for one in group.lb_endpoints]
    return sorted(found, key=lambda one: (one["priority"], one["locality"], one["address"], one.get("port", 0)))


def _endpoint(group: endpoint_components_pb2.LocalityLbEndpoints, one: endpoint_components_pb2.LbEndpoint) -> dict[str, Json]:
    place = group.locality
    matched = one.metadata.filter_metadata
    socket_match = protojson(matched[SOCKET_MATCH]) if SOCKET_MATCH in matched else {}
    found: dict[str, Json] = {
        "health": health_check_pb2.HealthStatus.Name(one.health_status),
        "locality": "/".join((place.region, place.zone, place.sub_zone)).rstrip("/"),
        "locality_weight": group.load_balancing_weight.value,
        "priority": group.priority,
        "tls_mode": str(socket_match.get("tlsMode", "")),
        "weight": one.load_balancing_weight.value or 1,
    }
    address = one.endpoint.address
    match address.WhichOneof("address"):
        case "socket_address":
            return {"address": address.socket_address.address, "port": address.socket_address.port_value, **found}
        case "pipe":
            return {"address": address.pipe.path, **found}
        case _:
            return {"address": address.envoy_internal_address.server_listener_name, **found}
