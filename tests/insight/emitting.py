"""Hand-made resources for tests of the simulator: protojson in, what a proxy gets out."""

from typing import Any

from google.protobuf import json_format

from lateen.insight.simulate.call import Call
from lateen.insight.simulate.emitted import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, Emitted, Serialized
from lateen.insight.simulate.messages import message_class
from lateen.wire.pb import pool

T = "type.googleapis.com/envoy.extensions."
HCM = T + "filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP = T + "filters.network.tcp_proxy.v3.TcpProxy"
DOWNSTREAM_TLS = T + "transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM_TLS = T + "transport_sockets.tls.v3.UpstreamTlsContext"
TLS_INSPECTOR = {"name": "tls", "typed_config": {"@type": T + "filters.listener.tls_inspector.v3.TlsInspector"}}
HTTP_INSPECTOR = {"name": "http", "typed_config": {"@type": T + "filters.listener.http_inspector.v3.HttpInspector"}}
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": T + "filters.http.router.v3.Router"}}


def _import_types(value: Any) -> None:
    if isinstance(value, dict):
        if "@type" in value:
            message_class(value["@type"])
        for item in value.values():
            _import_types(item)
    elif isinstance(value, list):
        for item in value:
            _import_types(item)


def serialized(type_url: str, content: dict[str, Any]) -> Serialized:
    _import_types(content)
    message = json_format.ParseDict(content, message_class(type_url)(), descriptor_pool=pool.Default())
    return Serialized(type_url, content.get("name") or content.get("cluster_name", ""), message.SerializeToString(deterministic=True))


def emitted(listeners=(), routes=(), clusters=(), endpoints=(), extensions=()) -> Emitted:
    kinds = ((LISTENER, listeners), (ROUTE, routes), (CLUSTER, clusters), (ENDPOINT, endpoints), (EXTENSION, extensions))
    return Emitted.decoded(serialized(type_url, one) for type_url, group in kinds for one in group)


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def tcp(cluster: str) -> dict[str, Any]:
    return {"name": "tcp", "typed_config": {"@type": TCP, "stat_prefix": "x", "cluster": cluster}}


def http(routes: list[dict[str, Any]] | None = None, rds: str = "", **fields: Any) -> dict[str, Any]:
    """An HTTP connection manager; `routes`: those of one virtual host for all domains."""
    given: dict[str, Any] = {"@type": HCM, "stat_prefix": "x", "http_filters": [ROUTER], **fields}
    if rds:
        given["rds"] = {"route_config_name": rds, "config_source": {"ads": {}}}
    else:
        given.setdefault("route_config", {"name": "inline", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes or []}]})
    return {"name": "http", "typed_config": given}


def chain(cluster: str = "", filters: list[dict[str, Any]] | None = None, tls: dict[str, Any] | None = None, **match: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"filter_chain_match": match, "filters": filters or [tcp(cluster)]}
    if tls is not None:
        found["transport_socket"] = {"name": "tls", "typed_config": {"@type": DOWNSTREAM_TLS, **tls}}
    return found


def listener(host: str, port: int, *chains: dict[str, Any], default: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    found = {"name": f"{host}_{port}", "address": address(host, port), "filter_chains": list(chains), **fields}
    return found | ({"default_filter_chain": default} if default else {})


def call(direction: str = "outbound", host_address: str = "10.0.0.1", port: int = 80, **fields: Any) -> Call:
    return Call.read({"direction": direction, "address": host_address, "port": port, "protocol": "http", **fields})
