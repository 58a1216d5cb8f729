"""What makes pods: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob. Kubernetes: apps/v1, batch/v1."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.kubernetes.pod import PodTemplate
from lateen.config.kinds.kubernetes.selectors import LabelSelector
from lateen.config.kinds.kubernetes.service import IntOrString
from lateen.config.kinds.objects import Meta, Object, Spec
from lateen.config.kinds.values import Int32, Json


class RollingUpdate(Spec, frozen=True):
    """Numbers or percentages. Kubernetes: apps/v1 RollingUpdateDeployment, RollingUpdateStatefulSetStrategy, RollingUpdateDaemonSet."""

    max_surge: IntOrString | None = None
    max_unavailable: IntOrString | None = None
    partition: Int32 | None = None


class UpdateStrategy(Spec, frozen=True):
    """`RollingUpdate`, `Recreate` or `OnDelete`. Kubernetes: apps/v1 DeploymentStrategy and its like."""

    type: str = ""
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Spec, frozen=True):
    """Kubernetes: apps/v1 DeploymentSpec."""

    replicas: Int32 | None = None
    """None: 1."""
    selector: LabelSelector | None = None
    template: PodTemplate = msgspec.field(default_factory=PodTemplate)
    strategy: UpdateStrategy | None = None
    min_ready_seconds: Int32 = 0
    revision_history_limit: Int32 | None = None
    paused: bool = False
    progress_deadline_seconds: Int32 | None = None


class Deployment(Object, frozen=True):
    """apps/v1 Deployment."""

    kind: ClassVar[str] = "Deployment"
    group: ClassVar[str] = "apps"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "deployments"

    spec: DeploymentSpec = msgspec.field(default_factory=DeploymentSpec)


class ReplicaSetSpec(Spec, frozen=True):
    """Kubernetes: apps/v1 ReplicaSetSpec."""

    replicas: Int32 | None = None
    selector: LabelSelector | None = None
    template: PodTemplate = msgspec.field(default_factory=PodTemplate)
    min_ready_seconds: Int32 = 0


class ReplicaSet(Object, frozen=True):
    """apps/v1 ReplicaSet."""

    kind: ClassVar[str] = "ReplicaSet"
    group: ClassVar[str] = "apps"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "replicasets"

    spec: ReplicaSetSpec = msgspec.field(default_factory=ReplicaSetSpec)


class StatefulSetSpec(Spec, frozen=True):
    """Kubernetes: apps/v1 StatefulSetSpec."""

    replicas: Int32 | None = None
    selector: LabelSelector | None = None
    template: PodTemplate = msgspec.field(default_factory=PodTemplate)
    service_name: str = ""
    pod_management_policy: str = ""
    update_strategy: UpdateStrategy | None = None
    revision_history_limit: Int32 | None = None
    min_ready_seconds: Int32 = 0
    volume_claim_templates: Json | None = None
    persistent_volume_claim_retention_policy: Json | None = None
    ordinals: Json | None = None


class StatefulSet(Object, frozen=True):
    """apps/v1 StatefulSet."""

    kind: ClassVar[str] = "StatefulSet"
    group: ClassVar[str] = "apps"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "statefulsets"

    spec: StatefulSetSpec = msgspec.field(default_factory=StatefulSetSpec)


class DaemonSetSpec(Spec, frozen=True):
    """Kubernetes: apps/v1 DaemonSetSpec."""

    selector: LabelSelector | None = None
    template: PodTemplate = msgspec.field(default_factory=PodTemplate)
    update_strategy: UpdateStrategy | None = None
    min_ready_seconds: Int32 = 0
    revision_history_limit: Int32 | None = None


class DaemonSet(Object, frozen=True):
    """apps/v1 DaemonSet."""

    kind: ClassVar[str] = "DaemonSet"
    group: ClassVar[str] = "apps"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "daemonsets"

    spec: DaemonSetSpec = msgspec.field(default_factory=DaemonSetSpec)


class JobSpec(Spec, frozen=True):
    """Kubernetes: batch/v1 JobSpec."""

    template: PodTemplate = msgspec.field(default_factory=PodTemplate)
    parallelism: Int32 | None = None
    completions: Int32 | None = None
    backoff_limit: Int32 | None = None
    """None: 6."""
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: Int32 | None = None
    completion_mode: str | None = None
    suspend: bool | None = None
    selector: LabelSelector | None = None
    manual_selector: bool | None = None
    pod_failure_policy: Json | None = None
    success_policy: Json | None = None
    backoff_limit_per_index: Int32 | None = None
    max_failed_indexes: Int32 | None = None
    pod_replacement_policy: str | None = None
    managed_by: str | None = None


class Job(Object, frozen=True):
    """batch/v1 Job."""

    kind: ClassVar[str] = "Job"
    group: ClassVar[str] = "batch"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "jobs"

    spec: JobSpec = msgspec.field(default_factory=JobSpec)


class JobTemplate(Spec, frozen=True):
    """Kubernetes: batch/v1 JobTemplateSpec."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: JobSpec = msgspec.field(default_factory=JobSpec)


class CronJobSpec(Spec, frozen=True):
    """Kubernetes: batch/v1 CronJobSpec."""

    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = ""
    suspend: bool | None = None
    job_template: JobTemplate = msgspec.field(default_factory=JobTemplate)
    successful_jobs_history_limit: Int32 | None = None
    failed_jobs_history_limit: Int32 | None = None


class CronJob(Object, frozen=True):
    """batch/v1 CronJob."""

    kind: ClassVar[str] = "CronJob"
    group: ClassVar[str] = "batch"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "cronjobs"

    spec: CronJobSpec = msgspec.field(default_factory=CronJobSpec)
