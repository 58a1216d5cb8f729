"""A route as `routes.json` has it: Envoy's own match, the action with everything in force for it, and the virtual host's other fields. Called by `answer`."""

from collections.abc import Mapping

from google.protobuf.message import Message

from lateen.insight.simulate.emitted import RouteMatchFound
from lateen.insight.simulate.messages import Json, protojson, unpacked
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from lateen.wire.pb.google.protobuf import any_pb2

SHORT = {"envoy.extensions.filters.http.fault.v3.HTTPFault": "fault", "envoy.extensions.filters.http.cors.v3.Cors": "cors"}
"""Filters whose effective configuration has a name of its own in `routes.json`; the filter's own message type, as in the manager."""
OF_RESULT = ("cluster", "weighted_clusters", "cluster_header")
NOT_BEHAVIOUR = ("metadata", "decorator", "name", "stat_prefix", "tracing")
OF_VIRTUAL_HOST = ("name", "domains", "routes", "require_tls", "metadata", "typed_per_filter_config")
DETAILS = ("name", "host_rewrite_literal", "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove")


def route_summary(manager: hcm_pb2.HttpConnectionManager, found: RouteMatchFound) -> dict[str, Json]:
    """The entry of one route."""
    entry: dict[str, Json] = {"matched": protojson(found.route.match), "route": _action(found.route) | _filters(manager, found)}
    options = {key: value for key, value in protojson(found.virtual_host).items() if key not in OF_VIRTUAL_HOST}
    config = found.config
    for key in DETAILS[2:]:  # header operations of the whole configuration come after the virtual host's
        if value := getattr(config, key):
            options[key] = [*options.get(key, []), *(item if isinstance(item, str) else protojson(item) for item in value)]
    return entry | ({"virtual_host_options": options} if options else {})


def _action(route: route_components_pb2.Route) -> dict[str, Json]:
    whole = protojson(route)
    kind = route.WhichOneof("action")
    fields = {key: value for key, value in whole.items() if key not in ("match", "typed_per_filter_config", *NOT_BEHAVIOUR)}
    action = fields.pop(kind, {}) if kind == "route" else {}
    fields |= {key: value for key, value in action.items() if key not in OF_RESULT}
    details = [{key: item[key] for key in DETAILS if key in item} for item in action.get("weighted_clusters", {}).get("clusters", [])]
    if any(len(item) > 1 for item in details):
        fields["weighted_cluster_details"] = details
    return fields


def _filters(manager: hcm_pb2.HttpConnectionManager, found: RouteMatchFound) -> dict[str, Json]:
    """What the manager's filters do for this route: the most specific configuration of each. One for a filter that the manager does not have does nothing."""
    layers: tuple[Mapping[str, any_pb2.Any], ...] = (
        found.route.typed_per_filter_config,
        found.virtual_host.typed_per_filter_config,
        found.config.typed_per_filter_config,
    )
    effects: dict[str, Json] = {}
    for one in manager.http_filters:
        given = next((layer[one.name] for layer in layers if one.name in layer), None)
        base = unpacked(one.typed_config) if one.HasField("typed_config") else None
        message, is_on = _in_force(given, base, not one.disabled)
        if message is None or not is_on or (given is None and not message.ByteSize()):
            continue
        kind = message.DESCRIPTOR.full_name
        if kind.startswith("envoy.extensions.filters.http.router."):
            continue
        effects[SHORT.get(_per_route(kind), one.name)] = protojson(message)
    return {key: value for key, value in effects.items() if key in SHORT.values() or layers_name(layers, key)}


def layers_name(layers: tuple[Mapping[str, any_pb2.Any], ...], name: str) -> bool:
    """Whether some layer configures the filter of that name: a filter's own configuration, the same for every route, belongs to `filters.json`."""
    return any(name in layer for layer in layers)


def _per_route(kind: str) -> str:
    return "envoy.extensions.filters.http.cors.v3.Cors" if kind.endswith("cors.v3.CorsPolicy") else kind


def _in_force(given: any_pb2.Any | None, base: Message | None, is_on: bool) -> tuple[Message | None, bool]:
    """The configuration in force and whether the filter runs. Source: Envoy, FilterConfig around a per-route configuration."""
    if given is None:
        return base, is_on
    message = unpacked(given)
    if isinstance(message, route_components_pb2.FilterConfig):
        if message.disabled:
            return None, False
        return unpacked(message.config) if message.HasField("config") else base, True
    return message, True
