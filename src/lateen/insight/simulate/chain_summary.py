"""Filter chains, network filters and names as `chains.json`, `filters.json` and `names.json` have them. Called by `answer`."""

from google.protobuf.message import Message

from lateen.insight.simulate.emitted import Chain, Emitted, Listener
from lateen.insight.simulate.messages import Json, protojson, unpacked
from lateen.wire.pb.envoy.config.core.v3 import base_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

NOT_BEHAVIOUR = ("stat_prefix", "metadata")
IN_PLACE = ("rds", "route_config", "http_filters")


def chain_summary(chain: Chain) -> dict[str, Json]:
    """The entry of one chain, but for the name of its filters."""
    found: dict[str, Json] = {"listener": chain.listener, "match": protojson(chain.message.filter_chain_match), "name": chain.message.name}
    return found | ({"downstream_tls": protojson(chain.tls)} if chain.tls is not None else {})


def filters_summary(emitted: Emitted, chain: Chain) -> list[Json]:
    """The chain's network filters in order, each with its configuration; for an HTTP connection manager its HTTP filters too, those of ECDS in their place."""
    return [_network_filter(emitted, name, message) for name, message in chain.filters]


def _network_filter(emitted: Emitted, name: str, message: Message) -> dict[str, Json]:
    config = {key: value for key, value in protojson(message).items() if key not in (*NOT_BEHAVIOUR, *IN_PLACE)}
    found: dict[str, Json] = {"name": name, "config": config}
    if isinstance(message, hcm_pb2.HttpConnectionManager):
        found["http_filters"] = [_http_filter(emitted, one) for one in message.http_filters]
        if message.HasField("rds"):
            found["rds"] = message.rds.route_config_name
    return found


def _http_filter(emitted: Emitted, one: hcm_pb2.HttpFilter) -> dict[str, Json]:
    found: dict[str, Json] = {"name": one.name}
    if one.HasField("typed_config"):
        config = protojson(unpacked(one.typed_config))
    elif one.HasField("config_discovery"):
        extension = emitted.extensions.get(one.name)
        config = {} if extension is None else protojson(unpacked(extension.typed_config))
        found |= {} if extension else {"config_discovery": "does not exist"}
    else:
        config = {}
    return found | ({"config": config} if config else {}) | ({"disabled": True} if one.disabled else {})


def names_summary(emitted: Emitted) -> dict[str, Json]:
    """All clusters, listeners, and virtual hosts of route configurations that a listener asks for."""
    asked = {
        message.rds.route_config_name
        for listener in emitted.listeners
        for chain in (*listener.chains, *((listener.default_chain,) if listener.default_chain else ()))
        for _, message in chain.filters
        if isinstance(message, hcm_pb2.HttpConnectionManager) and message.HasField("rds")
    }
    return {
        "clusters": sorted(emitted.clusters),
        "listeners": [_listener_name(one) for one in emitted.listeners],
        "routes": {name: _domains(emitted.routes[name]) for name in sorted(asked) if name in emitted.routes},
    }


def _domains(config: route_pb2.RouteConfiguration) -> dict[str, list[str]]:
    return {host.name: list(host.domains) for host in config.virtual_hosts}


def _listener_name(listener: Listener) -> dict[str, Json]:
    message = listener.message
    address, port = listener.addresses[0] if listener.addresses else (message.address.pipe.path, 0)
    found: dict[str, Json] = {"address": address, "name": message.name, "port": port}
    if message.traffic_direction:
        found["traffic_direction"] = base_pb2.TrafficDirection.Name(message.traffic_direction)
    return found | ({"bind_to_port": False} if message.HasField("bind_to_port") and not message.bind_to_port.value else {})
