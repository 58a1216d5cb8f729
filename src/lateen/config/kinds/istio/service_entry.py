"""ServiceEntry: hosts that the registry does not know by itself. Istio: networking ServiceEntry."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import WorkloadSelector
from lateen.config.kinds.istio.workload_entry import WorkloadEntrySpec
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import UInt32


class Location(StrEnum):
    """Istio: ServiceEntry.Location."""

    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(StrEnum):
    """Istio: ServiceEntry.Resolution."""

    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


class ServicePort(Spec, frozen=True):
    """Istio: ServicePort."""

    REQUIRED: ClassVar[tuple[str, ...]] = (
        "name",
        "number",
    )

    number: UInt32 = 0
    protocol: Annotated[str, msgspec.Meta(max_length=256)] = ""
    name: Annotated[str, msgspec.Meta(max_length=256)] = ""
    target_port: UInt32 = 0
    """0: as `number`."""


class ServiceEntrySpec(Spec, frozen=True):
    """Istio: ServiceEntry."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("hosts",)

    hosts: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=256)] = ()
    addresses: Annotated[tuple[str, ...], msgspec.Meta(max_length=256)] = ()
    ports: Annotated[tuple[ServicePort, ...], msgspec.Meta(max_length=256)] = ()
    location: Location = Location.MESH_EXTERNAL
    resolution: Resolution = Resolution.NONE
    endpoints: Annotated[tuple[WorkloadEntrySpec, ...], msgspec.Meta(max_length=4096)] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()


class ServiceEntry(Object, frozen=True):
    """networking.istio.io ServiceEntry."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("spec",)

    kind: ClassVar[str] = "ServiceEntry"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha3")
    plural: ClassVar[str] = "serviceentries"

    spec: ServiceEntrySpec = msgspec.field(default_factory=ServiceEntrySpec)
