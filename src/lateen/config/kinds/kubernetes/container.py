"""Containers of a pod: command, environment, probes, lifecycle, security. Kubernetes: core/v1 Container."""

import msgspec

from lateen.config.kinds.kubernetes.service import IntOrString
from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Int32, Json, Map

Quantity = str | int | float
"""`500m`, `1Gi`, or a number."""


class ContainerPort(Spec, frozen=True):
    """Kubernetes: core/v1 ContainerPort."""

    name: str = ""
    container_port: Int32 = 0
    protocol: str = "TCP"
    host_port: Int32 = 0
    host_ip: str = msgspec.field(default="", name="hostIP")


class FieldRef(Spec, frozen=True):
    """Kubernetes: core/v1 ObjectFieldSelector."""

    field_path: str = ""
    api_version: str = ""


class ResourceFieldRef(Spec, frozen=True):
    """Kubernetes: core/v1 ResourceFieldSelector."""

    resource: str = ""
    container_name: str = ""
    divisor: Quantity | None = None


class KeyRef(Spec, frozen=True):
    """A key of a ConfigMap or Secret. Kubernetes: core/v1 ConfigMapKeySelector, SecretKeySelector."""

    name: str = ""
    key: str = ""
    optional: bool | None = None


class EnvSource(Spec, frozen=True):
    """One of four. Kubernetes: core/v1 EnvVarSource."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    file_key_ref: Json | None = None


class EnvVar(Spec, frozen=True):
    """Kubernetes: core/v1 EnvVar."""

    name: str = ""
    value: str = ""
    value_from: EnvSource | None = None


class EnvFromRef(Spec, frozen=True):
    """Kubernetes: core/v1 ConfigMapEnvSource, SecretEnvSource."""

    name: str = ""
    optional: bool | None = None


class EnvFrom(Spec, frozen=True):
    """Kubernetes: core/v1 EnvFromSource."""

    prefix: str = ""
    config_map_ref: EnvFromRef | None = None
    secret_ref: EnvFromRef | None = None


class HttpHeader(Spec, frozen=True):
    """Kubernetes: core/v1 HTTPHeader."""

    name: str = ""
    value: str = ""


class ExecAction(Spec, frozen=True):
    """Kubernetes: core/v1 ExecAction."""

    command: tuple[str, ...] = ()


class HttpGetAction(Spec, frozen=True):
    """Kubernetes: core/v1 HTTPGetAction."""

    path: str = ""
    port: IntOrString = 0
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocketAction(Spec, frozen=True):
    """Kubernetes: core/v1 TCPSocketAction."""

    port: IntOrString = 0
    host: str = ""


class GrpcAction(Spec, frozen=True):
    """Kubernetes: core/v1 GRPCAction."""

    port: Int32 = 0
    service: str | None = None


class SleepAction(Spec, frozen=True):
    """Kubernetes: core/v1 SleepAction."""

    seconds: int = 0


class Probe(Spec, frozen=True):
    """One way of four, and when. Kubernetes: core/v1 Probe, with its defaults."""

    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    grpc: GrpcAction | None = None
    initial_delay_seconds: Int32 = 0
    timeout_seconds: Int32 = 1
    period_seconds: Int32 = 10
    success_threshold: Int32 = 1
    failure_threshold: Int32 = 3
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(Spec, frozen=True):
    """Kubernetes: core/v1 LifecycleHandler."""

    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Spec, frozen=True):
    """Kubernetes: core/v1 Lifecycle."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str | None = None


class Resources(Spec, frozen=True):
    """Kubernetes: core/v1 ResourceRequirements."""

    limits: Map[Quantity] = Map()
    requests: Map[Quantity] = Map()
    claims: Json | None = None


class VolumeMount(Spec, frozen=True):
    """Kubernetes: core/v1 VolumeMount."""

    name: str = ""
    mount_path: str = ""
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: str | None = None
    recursive_read_only: str | None = None


class SecurityContext(Spec, frozen=True):
    """Kubernetes: core/v1 SecurityContext."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    privileged: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: Json | None = None
    se_linux_options: Json | None = None
    seccomp_profile: Json | None = None
    app_armor_profile: Json | None = None
    windows_options: Json | None = None
    proc_mount: str | None = None


class Container(Spec, frozen=True):
    """Kubernetes: core/v1 Container (and init and ephemeral ones)."""

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    resources: Resources | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    volume_devices: Json | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    security_context: SecurityContext | None = None
    restart_policy: str | None = None
    """Of an init container; `Always`: a native sidecar."""
    restart_policy_rules: Json | None = None
    resize_policy: Json | None = None
    image_pull_policy: str = ""
    termination_message_path: str = ""
    termination_message_policy: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
