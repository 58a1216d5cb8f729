"""Listeners as Envoy messages. Called by `xds.resources`; what they are is planned in `plan.listeners`, filters are in `xds.filters`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lateen.base.names import ObjectRef
from lateen.config.store import mesh_field
from lateen.incremental import Db, query
from lateen.mesh.automatic_scope import is_automatic
from lateen.mesh.view import View
from lateen.plan.access_logs import AccessLog, access_logs
from lateen.plan.buffers import client_side_bytes
from lateen.plan.http_settings import HttpSettings, settings_for
from lateen.plan.listener import Chain, Direction, Http, Listener, Patience, Role, Tcp
from lateen.plan.listeners import listener
from lateen.plan.listeners import listener_names as planned_names
from lateen.wire.pb.envoy.config.core.v3 import address_pb2, base_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from lateen.wire.pb.envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from lateen.wire.pb.envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from lateen.wire.pb.envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from lateen.wire.pb.envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from lateen.xds.any import duration, packed
from lateen.xds.check import problem
from lateen.xds.filters.access_log import refused_connection_loggers
from lateen.xds.filters.hcm import hcm_filter
from lateen.xds.filters.tcp_proxy import tcp_filters
from lateen.xds.resource import Resource, ResourceType
from lateen.xds.server_tls import downstream_tls

DETECTION_TIMEOUT_S = 0.2
"""How long a detected port waits for the client's first bytes before it is TCP. Ours: Istio waits for ever, so server-first protocols hang there."""
_HANDSHAKE_TIMEOUT_S = 15.0
_Predicate = listener_components_pb2.ListenerFilterChainMatchPredicate


def listener_names(db: Db, view: View) -> frozenset[str]:
    """The names of all listeners of a view."""
    return planned_names(db, view)


def listener_resource(db: Db, view: View, name: str) -> Resource | None:
    """One listener of a view; None: it has none of that name. Views whose plans are equal share the bytes."""
    plan = listener(db, view, name)
    if plan is None:
        return None
    roles = sorted({chain.does.role for chain in _all_chains(plan) if isinstance(chain.does, Http)}, key=lambda role: role.value)
    settings = tuple((role, settings_for(db, view, role)) for role in roles)
    return _emitted(db, plan, settings, client_side_bytes(db, view), plan.direction is Direction.OUTBOUND and is_automatic(db, view))


@query
def _emitted(db: Db, plan: Listener, settings: tuple[tuple[Role, HttpSettings], ...], buffer_bytes: int | None, is_on_demand: bool) -> Resource:
    """A planned listener as a resource. `buffer_bytes` None: Envoy's own limit of a connection's buffers. `is_on_demand`: clusters are asked for."""
    message = _message(plan, _Traffic(dict(settings), access_logs(db), is_on_demand))
    _apply_limits(db, plan, message, buffer_bytes)
    return Resource(ResourceType.LISTENER, plan.name, message.SerializeToString(deterministic=True), _origins(plan), problem(message))


def _origins(plan: Listener) -> frozenset[ObjectRef]:
    chains = _all_chains(plan)
    rules = (origin for chain in chains if isinstance(chain.does, Tcp) for origin in chain.does.origins)
    return plan.origins.union((chain.origin for chain in chains if chain.origin), rules)


def _all_chains(plan: Listener) -> tuple[Chain, ...]:
    return (*plan.chains, plan.fallback) if plan.fallback else plan.chains


def _address(text: str, port: int) -> address_pb2.Address:
    if port == 0:
        return address_pb2.Address(pipe=address_pb2.Pipe(path=text.removeprefix("unix://")))
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=text, port_value=port))


@dataclass(frozen=True)
class _Traffic:
    """What all chains of a listener share."""

    settings: Mapping[Role, HttpSettings]
    logs: tuple[AccessLog, ...]
    is_on_demand: bool

    def filters(self, chain: Chain) -> list[listener_components_pb2.Filter]:
        """The network filters of a chain."""
        if isinstance(chain.does, Http):
            return [hcm_filter(chain.does, replace(self.settings[chain.does.role], finds_clusters=self.is_on_demand), self.logs)]
        return tcp_filters(chain.does, self.logs, needs_client=chain.tls is not None and chain.tls.needs_client, finds_clusters=self.is_on_demand)


def _message(plan: Listener, traffic: _Traffic) -> listener_pb2.Listener:
    message = listener_pb2.Listener(
        name=plan.name,
        address=_address(plan.addresses[0], plan.port),
        additional_addresses=[listener_pb2.AdditionalAddress(address=_address(other, plan.port)) for other in plan.addresses[1:]],
        traffic_direction=base_pb2.INBOUND if plan.direction is Direction.INBOUND else base_pb2.OUTBOUND,
        filter_chains=[_chain(chain, traffic) for chain in plan.chains],
        listener_filters=_listener_filters(plan),
        access_log=refused_connection_loggers(traffic.logs),
    )
    if plan.fallback is not None:
        message.default_filter_chain.CopyFrom(_chain(plan.fallback, traffic))
    if not plan.is_bound:
        message.bind_to_port.value = False
    if plan.is_capture_all:
        message.use_original_dst.value = True
    return message


def _apply_limits(db: Db, plan: Listener, message: listener_pb2.Listener, buffer_bytes: int | None) -> None:
    """How long detection waits, and the sizes that the ProxyConfig gives."""
    said = mesh_field(db, "protocol_detection_timeout")
    if (plan.inspects_http or plan.inspects_tls) and plan.patience is not Patience.HANDSHAKE:
        waits = float(said) if isinstance(said, float) else DETECTION_TIMEOUT_S
        seconds = 0.0 if plan.patience is Patience.CLIENT else waits
        message.listener_filters_timeout.CopyFrom(duration(seconds))
        message.continue_on_listener_filters_timeout = seconds > 0
    if buffer_bytes is not None:
        message.per_connection_buffer_limit_bytes.value = buffer_bytes


def _listener_filters(plan: Listener) -> list[listener_components_pb2.ListenerFilter]:
    """In order: the original destination, the PROXY header, then what looks at the first bytes."""
    filters = []
    one = listener_components_pb2.ListenerFilter
    if plan.keeps_original_destination:
        filters.append(one(name="envoy.filters.listener.original_dst", typed_config=packed(original_dst_pb2.OriginalDst())))
    if plan.takes_proxy_protocol:
        filters.append(one(name="envoy.filters.listener.proxy_protocol", typed_config=packed(proxy_protocol_pb2.ProxyProtocol())))
    if plan.inspects_tls:
        tls = one(name="envoy.filters.listener.tls_inspector", typed_config=packed(tls_inspector_pb2.TlsInspector()))
        filters.append(_unless(tls, plan.tls_free_ports))
    if plan.inspects_http:
        http = one(name="envoy.filters.listener.http_inspector", typed_config=packed(http_inspector_pb2.HttpInspector()))
        filters.append(_unless(http, plan.http_free_ports))
    return filters


def _unless(filter_: listener_components_pb2.ListenerFilter, ports: tuple[int, ...]) -> listener_components_pb2.ListenerFilter:
    """The filter, off at some destination ports."""
    rules = []
    for port in ports:
        rule = _Predicate()
        rule.destination_port_range.start, rule.destination_port_range.end = port, port + 1
        rules.append(rule)
    if len(rules) == 1:
        filter_.filter_disabled.CopyFrom(rules[0])
    elif rules:
        filter_.filter_disabled.or_match.rules.extend(rules)
    return filter_


def _chain(plan: Chain, traffic: _Traffic) -> listener_components_pb2.FilterChain:
    message = listener_components_pb2.FilterChain(name=plan.name, filters=traffic.filters(plan))
    match = plan.match
    if match.port:
        message.filter_chain_match.destination_port.value = match.port
    message.filter_chain_match.transport_protocol = match.transport
    message.filter_chain_match.application_protocols.extend(match.protocols)
    message.filter_chain_match.server_names.extend(match.server_names)
    message.filter_chain_match.prefix_ranges.extend(_range(text) for text in match.destinations)
    message.filter_chain_match.source_prefix_ranges.extend(_range(text) for text in match.sources)
    if message.filter_chain_match.ByteSize() == 0:
        message.ClearField("filter_chain_match")
    if plan.tls is not None:
        message.transport_socket.CopyFrom(downstream_tls(plan.tls))
        message.transport_socket_connect_timeout.CopyFrom(duration(_HANDSHAKE_TIMEOUT_S))
    return message


def _range(text: str) -> address_pb2.CidrRange:
    address, _, length = text.partition("/")
    cidr = address_pb2.CidrRange(address_prefix=address)
    cidr.prefix_len.value = int(length) if length else 128 if ":" in address else 32
    return cidr
