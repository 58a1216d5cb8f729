"""The part of Kubernetes' objects that pods on one machine are made of, typed. Called by `workloads`, `pods` and `runner`.

Objects come from control, which has validated them; so decoding is lenient: what is not named here is ignored. Attributes are snake_case, JSON camelCase.
"""

from typing import Any

import msgspec

Json = dict[str, Any]
"""One object as Kubernetes spells it in JSON; its shape is Kubernetes', checked by control."""
IntOrText = int | str
"""A port number or name; a number or percentage."""


class Part(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Base of every part of an object."""


class ObjectField(Part, frozen=True):
    """Kubernetes: core/v1 ObjectFieldSelector."""

    field_path: str = ""


class ResourceField(Part, frozen=True):
    """Kubernetes: core/v1 ResourceFieldSelector."""

    resource: str = ""
    container_name: str = ""
    divisor: str | int | float = "1"


class KeyOf(Part, frozen=True):
    """Kubernetes: core/v1 ConfigMapKeySelector and SecretKeySelector."""

    name: str = ""
    key: str = ""
    optional: bool = False


class ValueFrom(Part, frozen=True):
    """Kubernetes: core/v1 EnvVarSource."""

    field_ref: ObjectField | None = None
    resource_field_ref: ResourceField | None = None
    config_map_key_ref: KeyOf | None = None
    secret_key_ref: KeyOf | None = None


class EnvVar(Part, frozen=True):
    """Kubernetes: core/v1 EnvVar."""

    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class Named(Part, frozen=True):
    """A reference by name, perhaps optional."""

    name: str = ""
    optional: bool = False


class EnvFrom(Part, frozen=True):
    """Kubernetes: core/v1 EnvFromSource."""

    prefix: str = ""
    config_map_ref: Named | None = None
    secret_ref: Named | None = None


class Port(Part, frozen=True):
    """Kubernetes: core/v1 ContainerPort."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"


class ExecAction(Part, frozen=True):
    """Kubernetes: core/v1 ExecAction."""

    command: tuple[str, ...] = ()


class HttpHeader(Part, frozen=True):
    """Kubernetes: core/v1 HTTPHeader."""

    name: str
    value: str = ""


class HttpGet(Part, frozen=True):
    """Kubernetes: core/v1 HTTPGetAction."""

    port: IntOrText
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocket(Part, frozen=True):
    """Kubernetes: core/v1 TCPSocketAction."""

    port: IntOrText
    host: str = ""


class GrpcAction(Part, frozen=True):
    """Kubernetes: core/v1 GRPCAction."""

    port: int
    service: str | None = None


class SleepAction(Part, frozen=True):
    """Kubernetes: core/v1 SleepAction."""

    seconds: int = 0


class Handler(Part, frozen=True):
    """Kubernetes: core/v1 LifecycleHandler; probes have the same choice."""

    exec: ExecAction | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: GrpcAction | None = None
    sleep: SleepAction | None = None


class Probe(Handler, frozen=True):
    """Kubernetes: core/v1 Probe."""

    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None
    """None: the pod's."""


class Lifecycle(Part, frozen=True):
    """Kubernetes: core/v1 Lifecycle."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None


class SecurityContext(Part, frozen=True):
    """Kubernetes: core/v1 SecurityContext and PodSecurityContext, the part that is done here. None: not said."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    read_only_root_filesystem: bool = False


class VolumeMount(Part, frozen=True):
    """Kubernetes: core/v1 VolumeMount."""

    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False


class Resources(Part, frozen=True):
    """Kubernetes: core/v1 ResourceRequirements; only told to the application (`resourceFieldRef`), not enforced."""

    limits: dict[str, str | int | float] = {}
    requests: dict[str, str | int | float] = {}


class Container(Part, frozen=True):
    """Kubernetes: core/v1 Container."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[Port, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    resources: Resources = Resources()
    volume_mounts: tuple[VolumeMount, ...] = ()
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    security_context: SecurityContext = SecurityContext()
    restart_policy: str = ""
    """`Always` on an init container: it runs beside the others. Kubernetes: sidecar containers."""


class KeyToPath(Part, frozen=True):
    """Kubernetes: core/v1 KeyToPath."""

    key: str
    path: str
    mode: int | None = None


class DownwardFile(Part, frozen=True):
    """Kubernetes: core/v1 DownwardAPIVolumeFile."""

    path: str
    field_ref: ObjectField | None = None
    resource_field_ref: ResourceField | None = None
    mode: int | None = None


class DownwardVolume(Part, frozen=True):
    """Kubernetes: core/v1 DownwardAPIVolumeSource."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int | None = None


class KeyedVolume(Part, frozen=True):
    """Kubernetes: core/v1 ConfigMapVolumeSource (`name`) and SecretVolumeSource (`secretName`)."""

    name: str = ""
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class ProjectedSource(Part, frozen=True):
    """Kubernetes: core/v1 VolumeProjection; service account tokens have no one to issue them here."""

    config_map: KeyedVolume | None = None
    secret: KeyedVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")


class ProjectedVolume(Part, frozen=True):
    """Kubernetes: core/v1 ProjectedVolumeSource."""

    sources: tuple[ProjectedSource, ...] = ()
    default_mode: int | None = None


class HostPath(Part, frozen=True):
    """Kubernetes: core/v1 HostPathVolumeSource."""

    path: str
    type: str = ""


class Claim(Part, frozen=True):
    """Kubernetes: core/v1 PersistentVolumeClaimVolumeSource."""

    claim_name: str = ""


class Volume(Part, frozen=True):
    """Kubernetes: core/v1 Volume. Other sorts than these are given an empty folder, and a finding says so."""

    name: str
    empty_dir: dict[str, Any] | None = None
    config_map: KeyedVolume | None = None
    secret: KeyedVolume | None = None
    projected: ProjectedVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    host_path: HostPath | None = None
    persistent_volume_claim: Claim | None = None


class HostAlias(Part, frozen=True):
    """Kubernetes: core/v1 HostAlias."""

    ip: str
    hostnames: tuple[str, ...] = ()


class DnsOption(Part, frozen=True):
    """Kubernetes: core/v1 PodDNSConfigOption."""

    name: str
    value: str = ""


class DnsConfig(Part, frozen=True):
    """Kubernetes: core/v1 PodDNSConfig."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class PodSpec(Part, frozen=True):
    """Kubernetes: core/v1 PodSpec."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    service_account_name: str = ""
    service_account: str = ""
    hostname: str = ""
    subdomain: str = ""
    node_name: str = ""
    node_selector: dict[str, str] = {}
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig = DnsConfig()
    security_context: SecurityContext = SecurityContext()


class OwnerReference(Part, frozen=True):
    """Kubernetes: metav1 OwnerReference."""

    api_version: str
    kind: str
    name: str
    controller: bool = True
    uid: str = ""


class PodMeta(Part, frozen=True):
    """Kubernetes: metav1 ObjectMeta."""

    name: str
    namespace: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    uid: str = ""


class Place(Part, frozen=True):
    """The node a pod is said to run on, and where that is. Empty: not said."""

    node: str = ""
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


class Pod(Part, frozen=True):
    """A pod that shall run. `is_meshed`: part of the mesh, with a proxy beside it, unless `is_proxyless`: then its gRPC library is configured itself.
    `is_gateway`: the proxy is all there is."""

    metadata: PodMeta
    spec: PodSpec
    is_meshed: bool = True
    is_gateway: bool = False
    is_proxyless: bool = False
    place: Place = Place()
    workload: str = ""
    """`Kind/namespace/name` of the object it comes from."""
    revision: str = ""
    """Hash of what it was made from: a pod of another revision is replaced."""

    @property
    def has_proxy(self) -> bool:
        """An Envoy stands beside it."""
        return self.is_meshed and not self.is_proxyless

    @property
    def key(self) -> str:
        """`<namespace>.<name>`: names its folder, its network and its records."""
        return f"{self.metadata.namespace}.{self.metadata.name}"

    @property
    def service_account(self) -> str:
        """The service account it runs as."""
        return self.spec.service_account_name or self.spec.service_account or "default"


def without_nulls(value: Any) -> Any:
    """JSON without the fields that say nothing."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def decoded(spec: Json) -> PodSpec:
    """A PodSpec from JSON, strings taken for numbers where the API would. Raises msgspec.ValidationError."""
    return msgspec.convert(without_nulls(spec), PodSpec, strict=False)
