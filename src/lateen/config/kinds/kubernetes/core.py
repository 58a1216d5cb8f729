"""Namespace, Node, ServiceAccount, ConfigMap, Secret. Kubernetes: core/v1."""

import base64
import binascii
from typing import ClassVar

import msgspec

from lateen.base.secrets import Secret as Hidden
from lateen.config.kinds.kubernetes.container import Quantity
from lateen.config.kinds.kubernetes.pod import LocalReference
from lateen.config.kinds.kubernetes.service import TargetObject
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Json, Labels, Map


class NamespaceSpec(Spec, frozen=True):
    """Kubernetes: core/v1 NamespaceSpec."""

    finalizers: tuple[str, ...] = ()


class Namespace(Object, frozen=True):
    """core/v1 Namespace."""

    kind: ClassVar[str] = "Namespace"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "namespaces"
    is_namespaced: ClassVar[bool] = False

    spec: NamespaceSpec = msgspec.field(default_factory=NamespaceSpec)


class Taint(Spec, frozen=True):
    """Kubernetes: core/v1 Taint."""

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class NodeSpec(Spec, frozen=True):
    """Kubernetes: core/v1 NodeSpec."""

    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")
    provider_id: str = msgspec.field(default="", name="providerID")
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    config_source: Json | None = None
    external_id: str = msgspec.field(default="", name="externalID")


class NodeAddress(Spec, frozen=True):
    """Kubernetes: core/v1 NodeAddress."""

    type: str = ""
    address: str = ""


class NodeStatus(Spec, frozen=True):
    """Kubernetes: core/v1 NodeStatus."""

    addresses: tuple[NodeAddress, ...] = ()
    conditions: Json | None = None
    capacity: Map[Quantity] = Map()
    allocatable: Map[Quantity] = Map()
    phase: str = ""
    daemon_endpoints: Json | None = None
    node_info: Json | None = None
    images: Json | None = None
    volumes_in_use: tuple[str, ...] = ()
    volumes_attached: Json | None = None
    config: Json | None = None
    runtime_handlers: Json | None = None
    features: Json | None = None


class Node(Object, frozen=True):
    """core/v1 Node. Its labels `topology.kubernetes.io/region` and `…/zone` are its locality."""

    kind: ClassVar[str] = "Node"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "nodes"
    is_namespaced: ClassVar[bool] = False

    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus | None = None


class ServiceAccount(Object, frozen=True):
    """core/v1 ServiceAccount."""

    kind: ClassVar[str] = "ServiceAccount"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "serviceaccounts"

    secrets: tuple[TargetObject, ...] = ()
    image_pull_secrets: tuple[LocalReference, ...] = ()
    automount_service_account_token: bool | None = None


class ConfigMap(Object, frozen=True):
    """core/v1 ConfigMap."""

    kind: ClassVar[str] = "ConfigMap"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "configmaps"

    data: Labels = Map()
    binary_data: Labels = Map()
    """Base64."""
    immutable: bool | None = None


class Secret(Object, frozen=True):
    """core/v1 Secret. Values print as [redacted]."""

    kind: ClassVar[str] = "Secret"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "secrets"

    type: str = "Opaque"
    data: Map[Hidden] = Map()
    """Base64."""
    string_data: Map[Hidden] = Map()
    """Plain text; wins over `data`."""
    immutable: bool | None = None

    def value(self, key: str) -> bytes | None:
        """The bytes at `key`. None: no such key, or it is not base64."""
        if (text := self.string_data.get(key)) is not None:
            return text.reveal()
        if (encoded := self.data.get(key)) is None:
            return None
        try:
            return base64.b64decode(b"".join(encoded.reveal().split()), validate=True)
        except binascii.Error:
            return None

    def keys(self) -> tuple[str, ...]:
        """Names of all values."""
        return tuple(sorted({*self.data, *self.string_data}))
