"""Everything one proxy gets, decoded anew from its serialized resources. Made by `case`; read by the files beside this one."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import Message

from lateen.insight.simulate.messages import unpacked
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.core.v3 import extension_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2, route_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2

_TYPE = "type.googleapis.com/envoy."
LISTENER = _TYPE + "config.listener.v3.Listener"
CLUSTER = _TYPE + "config.cluster.v3.Cluster"
ENDPOINT = _TYPE + "config.endpoint.v3.ClusterLoadAssignment"
ROUTE = _TYPE + "config.route.v3.RouteConfiguration"
EXTENSION = _TYPE + "config.core.v3.TypedExtensionConfig"
SECRET = _TYPE + "extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True, order=True)
class Serialized:
    """One resource as it travels: type URL, name, bytes."""

    type_url: str
    name: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Chain:
    """A filter chain of a listener with its filters unpacked. `index`: its place among the listener's, -1: the default chain."""

    listener: str
    index: int
    message: listener_components_pb2.FilterChain = field(repr=False)
    filters: tuple[tuple[str, Message], ...] = field(repr=False)
    tls: tls_pb2.DownstreamTlsContext | None = field(repr=False)

    @property
    def key(self) -> str:
        """Its name in `chains.json`."""
        return f"{self.listener}|{self.index if self.index >= 0 else 'default'}"


@dataclass(frozen=True)
class Listener:
    """A listener with its chains, in order, and its listener filters unpacked (`None` where one has no configuration)."""

    message: listener_pb2.Listener = field(repr=False)
    chains: tuple[Chain, ...]
    default_chain: Chain | None
    addresses: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """The listener's name."""
        return self.message.name


@dataclass(frozen=True)
class RouteMatchFound:
    """A route that took a request. `index`: its place in the virtual host."""

    config: route_pb2.RouteConfiguration = field(repr=False)
    virtual_host: route_components_pb2.VirtualHost = field(repr=False)
    route: route_components_pb2.Route = field(repr=False)
    index: int


@dataclass(frozen=True)
class Emitted:
    """All resources of one proxy. Listeners keep the order of their names; the rest is keyed by name."""

    listeners: tuple[Listener, ...]
    clusters: dict[str, cluster_pb2.Cluster]
    assignments: dict[str, endpoint_pb2.ClusterLoadAssignment]
    routes: dict[str, route_pb2.RouteConfiguration]
    extensions: dict[str, extension_pb2.TypedExtensionConfig]
    secrets: dict[str, secret_pb2.Secret]

    @staticmethod
    def decoded(resources: Iterable[Serialized]) -> "Emitted":
        """From resources of any order. Raises UnknownMessage, google.protobuf.message.DecodeError: they are not Envoy's."""
        of: dict[str, dict[str, bytes]] = {}
        for resource in sorted(resources):
            of.setdefault(resource.type_url, {})[resource.name] = resource.body
        return Emitted(
            listeners=tuple(_listener(listener_pb2.Listener.FromString(body)) for body in of.get(LISTENER, {}).values()),
            clusters={name: cluster_pb2.Cluster.FromString(body) for name, body in of.get(CLUSTER, {}).items()},
            assignments={name: endpoint_pb2.ClusterLoadAssignment.FromString(body) for name, body in of.get(ENDPOINT, {}).items()},
            routes={name: route_pb2.RouteConfiguration.FromString(body) for name, body in of.get(ROUTE, {}).items()},
            extensions={name: extension_pb2.TypedExtensionConfig.FromString(body) for name, body in of.get(EXTENSION, {}).items()},
            secrets={name: secret_pb2.Secret.FromString(body) for name, body in of.get(SECRET, {}).items()},
        )

    def route_config(self, manager: hcm_pb2.HttpConnectionManager) -> route_pb2.RouteConfiguration | None:
        """The manager's route configuration, inline or by RDS. None: it was asked for by RDS and does not exist."""
        if manager.WhichOneof("route_specifier") == "rds":
            return self.routes.get(manager.rds.route_config_name)
        return manager.route_config


def _listener(message: listener_pb2.Listener) -> Listener:
    default = message.default_filter_chain if message.HasField("default_filter_chain") else None
    places = [message.address, *(extra.address for extra in message.additional_addresses)]
    return Listener(
        message=message,
        chains=tuple(_chain(message.name, index, chain) for index, chain in enumerate(message.filter_chains)),
        default_chain=None if default is None else _chain(message.name, -1, default),
        addresses=tuple((place.socket_address.address, place.socket_address.port_value) for place in places if place.HasField("socket_address")),
    )


def _chain(listener: str, index: int, message: listener_components_pb2.FilterChain) -> Chain:
    tls = None
    if message.HasField("transport_socket") and message.transport_socket.HasField("typed_config"):
        socket = unpacked(message.transport_socket.typed_config)
        if isinstance(socket, tls_pb2.DownstreamTlsContext):
            tls = socket
    return Chain(listener, index, message, tuple((one.name, unpacked(one.typed_config)) for one in message.filters if one.HasField("typed_config")), tls)
