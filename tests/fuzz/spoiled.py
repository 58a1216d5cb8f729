"""Resources with one value made hostile, as if everything before the check had let it pass: what `xds.check` takes of them Envoy has to take."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from lateen.wire.pb import pool
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.xds.check import nameless, problem
from lateen.xds.constraints import is_repeated
from lateen.xds.resource import Resource, ResourceType
from tests.fuzz.hostile import TEXTS

MESSAGES: dict[ResourceType, type[Message]] = {
    ResourceType.CLUSTER: cluster_pb2.Cluster,
    ResourceType.ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    ResourceType.LISTENER: listener_pb2.Listener,
    ResourceType.ROUTE: route_pb2.RouteConfiguration,
}
NUMBERS = (0, 1, 2, 99, 100, 101, 199, 200, 255, 256, 599, 600, 1000, 4096, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1)
DURATIONS = (
    (0, 0),
    (0, 1),
    (0, 999_999),
    (0, 10**6),
    (-1, 0),
    (0, -1),
    (1, 10**9),
    (10**6, 0),
    (2**32, 0),
    (9223372035, 0),
    (9223372036, 0),
    (315576000000, 0),
)
FIXED = frozenset(
    {
        "envoy.config.cluster.v3.Cluster.name",
        "envoy.config.listener.v3.Listener.name",
        "envoy.config.route.v3.RouteConfiguration.name",
        "envoy.config.endpoint.v3.ClusterLoadAssignment.cluster_name",
        "envoy.config.cluster.v3.Cluster.EdsClusterConfig.service_name",
        "envoy.extensions.filters.network.http_connection_manager.v3.Rds.route_config_name",
        "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig.name",
        "envoy.config.core.v3.PathConfigSource.path",
        "envoy.config.core.v3.ApiConfigSource.grpc_services",
        "envoy.config.listener.v3.FilterChain.filters",
        "envoy.config.listener.v3.Listener.listener_filters",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.http_filters",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.upgrade_configs",
        "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig.max_hosts",
        "google.protobuf.Any.type_url",
    }
)
"""Fields that tie resources to each other, or to files, and lists of filters and the like: no user's value is in them."""
Tried = set[tuple[str, int]]


def spoiled_resources(one: Resource, tried: Tried) -> Iterator[tuple[str, Resource]]:
    """(field = value, the resource with it): each field that is set, of each type of message, once for each value. `tried`: those of other resources."""
    message = MESSAGES[one.type].FromString(one.body)
    for what, other in _spoiled(message, tried):
        why = problem(other) or (nameless(other) if one.type is ResourceType.ENDPOINT else "")
        yield what, Resource(one.type, one.name, other.SerializeToString(deterministic=True), one.origins, why)


def _spoiled(message: Any, tried: Tried) -> Iterator[tuple[str, Any]]:
    """(what, a copy of a message with one hostile value somewhere within)."""
    for field, value in message.ListFields():
        name = f"{message.DESCRIPTOR.full_name}.{field.name}"
        if name in FIXED and not is_repeated(field):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from _of_map(message, field, value, tried)
        elif is_repeated(field):
            yield from _of_list(message, field, value, name, tried)
        else:
            for what, other in _others(field, value, name, tried):
                yield what, _copied(message, field.name, other)


def _copied(message: Any, field: str, value: Any) -> Any:
    found = type(message)()
    found.CopyFrom(message)
    if isinstance(value, Message):
        getattr(found, field).CopyFrom(value)
    else:
        setattr(found, field, value)
    return found


def _of_list(message: Any, field: FieldDescriptor, values: Any, name: str, tried: Tried) -> Iterator[tuple[str, Any]]:
    for number, length in enumerate((0, 2, 40), 1000):
        if name not in FIXED and _is_new(name, number, tried):
            yield f"{name}×{length}", _with_list(message, field.name, list(values) * length)
    for at, value in enumerate(values):
        for what, other in _others(field, value, name, tried):
            yield what, _with_list(message, field.name, [*values[:at], other, *values[at + 1 :]])


def _with_list(message: Any, field: str, values: list[Any]) -> Any:
    found = type(message)()
    found.CopyFrom(message)
    found.ClearField(field)
    getattr(found, field).extend(values)
    return found


def _of_map(message: Any, field: FieldDescriptor, values: Any, tried: Tried) -> Iterator[tuple[str, Any]]:
    """Only values that are messages: keys name extensions."""
    for key in sorted(values):
        if isinstance(values[key], Message):
            for what, other in _inside(values[key], tried):
                found = type(message)()
                found.CopyFrom(message)
                getattr(found, field.name)[key].CopyFrom(other)
                yield what, found


def _others(field: FieldDescriptor, value: Any, name: str, tried: Tried) -> Iterator[tuple[str, Any]]:
    """Other values of one field that is no list."""
    if isinstance(value, Message):
        yield from _inside(value, tried, name)
        return
    if field.type == FieldDescriptor.TYPE_ENUM or isinstance(value, bool):
        return
    choices = TEXTS if isinstance(value, str) else [one.encode() for one in TEXTS] if isinstance(value, bytes) else NUMBERS
    for number, other in enumerate(choices):
        if _fits(field, other) and _is_new(name, number, tried):
            yield f"{name}={str(other)[:60]!r}", other


def _fits(field: FieldDescriptor, value: Any) -> bool:
    if not isinstance(value, int):
        return True
    bits = 64 if field.type in (FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_INT64) else 32
    is_signed = field.type in (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_INT32)
    return bool(value < 2 ** (bits - is_signed))


def _is_new(name: str, number: int, tried: Tried) -> bool:
    if (name, number) in tried:
        return False
    tried.add((name, number))
    return True


def _inside(value: Any, tried: Tried, field: str = "") -> Iterator[tuple[str, Any]]:
    """Copies of a message within another one, in `field`: a duration or a wrapped number counts by that."""
    name = value.DESCRIPTOR.full_name
    if name == "google.protobuf.Duration":
        for number, (seconds, nanos) in enumerate(DURATIONS):
            if _is_new(field, number, tried):
                yield f"{field}={seconds}.{nanos}", type(value)(seconds=seconds, nanos=nanos)
    elif name.startswith("google.protobuf.") and name.endswith("Value") and "value" in value.DESCRIPTOR.fields_by_name:
        for what, other in _others(value.DESCRIPTOR.fields_by_name["value"], value.value, field, tried):
            yield what, type(value)(value=other)
    elif name == "google.protobuf.Any":
        inner = GetMessageClass(pool.Default().FindMessageTypeByName(value.type_url.rpartition("/")[2])).FromString(value.value)
        for what, other in _spoiled(inner, tried):
            yield what, type(value)(type_url=value.type_url, value=other.SerializeToString(deterministic=True))
    elif name not in ("google.protobuf.Struct", "google.protobuf.Value"):
        yield from _spoiled(value, tried)
