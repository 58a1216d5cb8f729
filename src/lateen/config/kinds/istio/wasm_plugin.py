"""WasmPlugin and TrafficExtension: filters of the user's in a proxy. Istio: extensions WasmPlugin, TrafficExtension."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import LabelSelector, TargetRef, WorkloadPort
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Int32, Json


class ExtensionMode(StrEnum):
    """Istio: type.v1beta1.WorkloadMode."""

    UNDEFINED = "UNDEFINED"
    CLIENT = "CLIENT"
    SERVER = "SERVER"
    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"


class TrafficSelector(Spec, frozen=True):
    """Istio: WasmPlugin.TrafficSelector."""

    mode: ExtensionMode = ExtensionMode.UNDEFINED
    ports: tuple[WorkloadPort, ...] = ()


class PluginPhase(StrEnum):
    """Istio: extensions PluginPhase."""

    UNSPECIFIED_PHASE = "UNSPECIFIED_PHASE"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class ExtensionPhase(StrEnum):
    """Istio: TrafficExtension.ExecutionPhase."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class PluginType(StrEnum):
    """Istio: extensions PluginType."""

    UNSPECIFIED_PLUGIN_TYPE = "UNSPECIFIED_PLUGIN_TYPE"
    HTTP = "HTTP"
    NETWORK = "NETWORK"


class FailStrategy(StrEnum):
    """Istio: extensions FailStrategy."""

    FAIL_CLOSE = "FAIL_CLOSE"
    FAIL_OPEN = "FAIL_OPEN"
    FAIL_RELOAD = "FAIL_RELOAD"


class PullPolicy(StrEnum):
    """Istio: extensions PullPolicy."""

    UNSPECIFIED_POLICY = "UNSPECIFIED_POLICY"
    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"


class EnvValueSource(StrEnum):
    """Istio: extensions EnvValueSource."""

    INLINE = "INLINE"
    HOST = "HOST"


class WasmEnv(Spec, frozen=True):
    """Istio: extensions EnvVar."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("name",)

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] = ""
    value_from: EnvValueSource = EnvValueSource.INLINE
    value: Annotated[str, msgspec.Meta(max_length=2048)] = ""


class VmConfig(Spec, frozen=True):
    """Istio: extensions VmConfig."""

    env: Annotated[tuple[WasmEnv, ...], msgspec.Meta(max_length=256)] = ()


class WasmPluginSpec(Spec, frozen=True):
    """Istio: WasmPlugin."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("url",)

    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: Annotated[tuple[TargetRef, ...], msgspec.Meta(max_length=16)] = ()
    url: Annotated[str, msgspec.Meta(min_length=1)] = ""
    sha256: Annotated[str, msgspec.Meta(pattern=r"(^$|^[a-f0-9]{64}$)")] = ""
    image_pull_policy: PullPolicy = PullPolicy.UNSPECIFIED_POLICY
    image_pull_secret: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] = ""
    verification_key: str = ""
    plugin_config: Json | None = None
    plugin_name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] = ""
    phase: PluginPhase = PluginPhase.UNSPECIFIED_PHASE
    priority: Int32 | None = None
    fail_strategy: FailStrategy = FailStrategy.FAIL_CLOSE
    vm_config: VmConfig | None = None
    match: tuple[TrafficSelector, ...] = ()
    type: PluginType = PluginType.UNSPECIFIED_PLUGIN_TYPE


class WasmPlugin(Object, frozen=True):
    """extensions.istio.io WasmPlugin."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("spec",)

    kind: ClassVar[str] = "WasmPlugin"
    group: ClassVar[str] = "extensions.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1alpha1",)
    plural: ClassVar[str] = "wasmplugins"

    spec: WasmPluginSpec = msgspec.field(default_factory=WasmPluginSpec)


class LuaFilter(Spec, frozen=True):
    """Istio: TrafficExtension's LuaConfig."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("inlineCode",)

    inline_code: Annotated[str, msgspec.Meta(min_length=1, max_length=65536)] = ""


class WasmFilter(Spec, frozen=True):
    """Istio: TrafficExtension's WasmConfig."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("url",)

    url: Annotated[str, msgspec.Meta(min_length=1)] = ""
    sha256: Annotated[str, msgspec.Meta(pattern=r"(^$|^[a-f0-9]{64}$)")] = ""
    image_pull_policy: PullPolicy = PullPolicy.UNSPECIFIED_POLICY
    image_pull_secret: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] = ""
    verification_key: str = ""
    plugin_config: Json | None = None
    plugin_name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] = ""
    fail_strategy: FailStrategy = FailStrategy.FAIL_CLOSE
    vm_config: VmConfig | None = None
    type: PluginType = PluginType.UNSPECIFIED_PLUGIN_TYPE


class TrafficExtensionSpec(Spec, frozen=True):
    """Istio: TrafficExtension."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("lua", "wasm"),)

    selector: LabelSelector | None = None
    target_refs: Annotated[tuple[TargetRef, ...], msgspec.Meta(max_length=16)] = ()
    match: tuple[TrafficSelector, ...] = ()
    phase: ExtensionPhase = ExtensionPhase.UNSPECIFIED
    priority: Int32 | None = None
    wasm: WasmFilter | None = None
    lua: LuaFilter | None = None


class TrafficExtension(Object, frozen=True):
    """extensions.istio.io TrafficExtension."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("spec",)

    kind: ClassVar[str] = "TrafficExtension"
    group: ClassVar[str] = "extensions.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1alpha1",)
    plural: ClassVar[str] = "trafficextensions"

    spec: TrafficExtensionSpec = msgspec.field(default_factory=TrafficExtensionSpec)
