"""EnvoyFilter: patches to what a proxy gets. Istio: networking EnvoyFilter."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import TargetRef, WorkloadSelector
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Int32, Json, Labels, Map, UInt32


class ApplyTo(StrEnum):
    """Istio: EnvoyFilter.ApplyTo."""

    INVALID = "INVALID"
    LISTENER = "LISTENER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"
    BOOTSTRAP = "BOOTSTRAP"
    LISTENER_FILTER = "LISTENER_FILTER"


class PatchContext(StrEnum):
    """Istio: EnvoyFilter.PatchContext."""

    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"
    WAYPOINT = "WAYPOINT"


class ProxyMatch(Spec, frozen=True):
    """Istio: EnvoyFilter.ProxyMatch."""

    proxy_version: str = ""
    """RE2."""
    metadata: Labels = Map()


class ClusterMatch(Spec, frozen=True):
    """Istio: EnvoyFilter.ClusterMatch."""

    port_number: UInt32 = 0
    service: str = ""
    subset: str = ""
    name: str = ""


class SubFilterMatch(Spec, frozen=True):
    """Istio: ListenerMatch.SubFilterMatch."""

    name: str = ""


class FilterMatch(Spec, frozen=True):
    """Istio: ListenerMatch.FilterMatch."""

    name: str = ""
    sub_filter: SubFilterMatch | None = None


class FilterChainMatch(Spec, frozen=True):
    """Istio: ListenerMatch.FilterChainMatch."""

    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: str = ""
    transport_socket: str = ""
    filter: FilterMatch | None = None
    destination_port: UInt32 = 0


class ListenerMatch(Spec, frozen=True):
    """Istio: EnvoyFilter.ListenerMatch."""

    port_number: UInt32 = 0
    port_name: str = ""
    filter_chain: FilterChainMatch | None = None
    listener_filter: str = ""
    name: str = ""


class RouteActionMatch(StrEnum):
    """Istio: RouteMatch.Action."""

    ANY = "ANY"
    ROUTE = "ROUTE"
    REDIRECT = "REDIRECT"
    DIRECT_RESPONSE = "DIRECT_RESPONSE"


class RouteMatch(Spec, frozen=True):
    """Istio: RouteConfigurationMatch.RouteMatch."""

    name: str = ""
    action: RouteActionMatch = RouteActionMatch.ANY


class VirtualHostMatch(Spec, frozen=True):
    """Istio: RouteConfigurationMatch.VirtualHostMatch."""

    name: str = ""
    domain_name: str = ""
    route: RouteMatch | None = None


class RouteConfigurationMatch(Spec, frozen=True):
    """Istio: EnvoyFilter.RouteConfigurationMatch."""

    port_number: UInt32 = 0
    port_name: str = ""
    gateway: str = ""
    vhost: VirtualHostMatch | None = None
    name: str = ""


class WaypointRouteMatch(Spec, frozen=True):
    """Istio: WaypointMatch.RouteMatch."""

    name: str = ""


class WaypointMatch(Spec, frozen=True):
    """Istio: EnvoyFilter.WaypointMatch."""

    filter: FilterMatch | None = None
    port_number: UInt32 = 0
    route: WaypointRouteMatch | None = None


class PatchMatch(Spec, frozen=True):
    """Istio: EnvoyConfigObjectMatch."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("cluster", "listener", "routeConfiguration", "waypoint"),)

    context: PatchContext = PatchContext.ANY
    proxy: ProxyMatch | None = None
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None
    waypoint: WaypointMatch | None = None


class PatchOperation(StrEnum):
    """Istio: Patch.Operation."""

    INVALID = "INVALID"
    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"
    MERGE_AND_REPLACE_LIST = "MERGE_AND_REPLACE_LIST"


class FilterClass(StrEnum):
    """Istio: Patch.FilterClass."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class Patch(Spec, frozen=True):
    """Istio: EnvoyFilter.Patch."""

    operation: PatchOperation = PatchOperation.INVALID
    value: Json | None = None
    filter_class: FilterClass = FilterClass.UNSPECIFIED


class ConfigPatch(Spec, frozen=True):
    """Istio: EnvoyConfigObjectPatch."""

    apply_to: ApplyTo = ApplyTo.INVALID
    match: PatchMatch | None = None
    patch: Patch | None = None


class EnvoyFilterSpec(Spec, frozen=True):
    """Istio: EnvoyFilter."""

    workload_selector: WorkloadSelector | None = None
    target_refs: Annotated[tuple[TargetRef, ...], msgspec.Meta(max_length=16)] = ()
    config_patches: tuple[ConfigPatch, ...] = ()
    priority: Int32 = 0


class EnvoyFilter(Object, frozen=True):
    """networking.istio.io EnvoyFilter."""

    kind: ClassVar[str] = "EnvoyFilter"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1alpha3",)
    plural: ClassVar[str] = "envoyfilters"

    spec: EnvoyFilterSpec = msgspec.field(default_factory=EnvoyFilterSpec)
