"""Pod and what makes pods share: PodSpec, PodTemplate. Kubernetes: core/v1."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.kubernetes.container import Container, Quantity
from lateen.config.kinds.kubernetes.volumes import Volume
from lateen.config.kinds.objects import Meta, Object, Spec
from lateen.config.kinds.values import Int32, Json, Labels, Map


class HostAlias(Spec, frozen=True):
    """Kubernetes: core/v1 HostAlias."""

    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PodSecurityContext(Spec, frozen=True):
    """Kubernetes: core/v1 PodSecurityContext."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    fs_group_change_policy: str | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: str | None = None
    sysctls: Json | None = None
    se_linux_options: Json | None = None
    se_linux_change_policy: str | None = None
    seccomp_profile: Json | None = None
    app_armor_profile: Json | None = None
    windows_options: Json | None = None


class DnsOption(Spec, frozen=True):
    """Kubernetes: core/v1 PodDNSConfigOption."""

    name: str = ""
    value: str | None = None


class DnsConfig(Spec, frozen=True):
    """Kubernetes: core/v1 PodDNSConfig."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class LocalReference(Spec, frozen=True):
    """Kubernetes: core/v1 LocalObjectReference."""

    name: str = ""


class PodSpec(Spec, frozen=True):
    """Kubernetes: core/v1 PodSpec. What only a scheduler or kubelet reads is opaque."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: Json | None = None
    volumes: tuple[Volume, ...] = ()
    service_account_name: str = ""
    """Empty: `default`."""
    service_account: str = ""
    """Deprecated alias of `service_account_name`."""
    automount_service_account_token: bool | None = None
    node_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    hostname_override: str | None = None
    host_aliases: tuple[HostAlias, ...] = ()
    host_network: bool = False
    host_pid: bool = msgspec.field(default=False, name="hostPID")
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    host_users: bool | None = None
    share_process_namespace: bool | None = None
    restart_policy: str = "Always"
    termination_grace_period_seconds: int | None = None
    """None: 30."""
    active_deadline_seconds: int | None = None
    security_context: PodSecurityContext | None = None
    dns_policy: str = ""
    dns_config: DnsConfig | None = None
    enable_service_links: bool | None = None
    image_pull_secrets: tuple[LocalReference, ...] = ()
    node_selector: Labels = Map()
    set_hostname_as_fqdn: bool | None = msgspec.field(default=None, name="setHostnameAsFQDN")
    affinity: Json | None = None
    tolerations: Json | None = None
    scheduler_name: str = ""
    priority_class_name: str = ""
    priority: Int32 | None = None
    preemption_policy: str | None = None
    readiness_gates: Json | None = None
    runtime_class_name: str | None = None
    overhead: Map[Quantity] = Map()
    topology_spread_constraints: Json | None = None
    os: Json | None = None
    scheduling_gates: Json | None = None
    resource_claims: Json | None = None
    resources: Json | None = None


class PodAddress(Spec, frozen=True):
    """Kubernetes: core/v1 PodIP, HostIP."""

    ip: str = ""


class PodCondition(Spec, frozen=True):
    """Kubernetes: core/v1 PodCondition."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_probe_time: str | None = None
    last_transition_time: str | None = None
    observed_generation: int = 0


class ContainerStatus(Spec, frozen=True):
    """Kubernetes: core/v1 ContainerStatus."""

    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: Int32 = 0
    image: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    container_id: str = msgspec.field(default="", name="containerID")
    state: Json | None = None
    last_state: Json | None = None
    resources: Json | None = None
    allocated_resources: Json | None = None
    allocated_resources_status: Json | None = None
    volume_mounts: Json | None = None
    user: Json | None = None
    stop_signal: str | None = None


class PodStatus(Spec, frozen=True):
    """Kubernetes: core/v1 PodStatus."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodAddress, ...] = msgspec.field(default=(), name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")
    host_ips: tuple[PodAddress, ...] = msgspec.field(default=(), name="hostIPs")
    conditions: tuple[PodCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    start_time: str | None = None
    reason: str = ""
    message: str = ""
    qos_class: str = ""
    nominated_node_name: str = ""
    observed_generation: int = 0
    resize: str = ""
    resource_claim_statuses: Json | None = None
    extended_resource_claim_status: Json | None = None


class Pod(Object, frozen=True):
    """core/v1 Pod."""

    kind: ClassVar[str] = "Pod"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "pods"

    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus | None = None


class PodTemplate(Spec, frozen=True):
    """Kubernetes: core/v1 PodTemplateSpec."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


def pod_template(item: Object) -> PodTemplate | None:
    """What the pods that an object makes are like; None: it makes none."""
    template = getattr(getattr(item, "spec", None), "template", None)
    return template if isinstance(template, PodTemplate) else None
