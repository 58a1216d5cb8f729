"""Volumes of a pod: those a local pod can have are typed, the rest is kept opaque. Kubernetes: core/v1 Volume."""

import msgspec

from lateen.config.kinds.kubernetes.container import FieldRef, Quantity, ResourceFieldRef
from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Int32, Json


class KeyToPath(Spec, frozen=True):
    """Kubernetes: core/v1 KeyToPath."""

    key: str = ""
    path: str = ""
    mode: Int32 | None = None


class EmptyDir(Spec, frozen=True):
    """Kubernetes: core/v1 EmptyDirVolumeSource."""

    medium: str = ""
    size_limit: Quantity | None = None


class ConfigMapVolume(Spec, frozen=True):
    """Kubernetes: core/v1 ConfigMapVolumeSource."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: Int32 | None = None
    optional: bool | None = None


class SecretVolume(Spec, frozen=True):
    """Kubernetes: core/v1 SecretVolumeSource."""

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: Int32 | None = None
    optional: bool | None = None


class HostPath(Spec, frozen=True):
    """Kubernetes: core/v1 HostPathVolumeSource."""

    path: str = ""
    type: str | None = None


class DownwardFile(Spec, frozen=True):
    """Kubernetes: core/v1 DownwardAPIVolumeFile."""

    path: str = ""
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: Int32 | None = None


class DownwardVolume(Spec, frozen=True):
    """Kubernetes: core/v1 DownwardAPIVolumeSource."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: Int32 | None = None


class ProjectedKeys(Spec, frozen=True):
    """Kubernetes: core/v1 ConfigMapProjection, SecretProjection."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class TokenProjection(Spec, frozen=True):
    """Kubernetes: core/v1 ServiceAccountTokenProjection."""

    path: str = ""
    audience: str = ""
    expiration_seconds: int | None = None


class Projection(Spec, frozen=True):
    """One of several. Kubernetes: core/v1 VolumeProjection."""

    config_map: ProjectedKeys | None = None
    secret: ProjectedKeys | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: TokenProjection | None = None
    cluster_trust_bundle: Json | None = None
    pod_certificate: Json | None = None


class ProjectedVolume(Spec, frozen=True):
    """Kubernetes: core/v1 ProjectedVolumeSource."""

    sources: tuple[Projection, ...] = ()
    default_mode: Int32 | None = None


class ClaimVolume(Spec, frozen=True):
    """Kubernetes: core/v1 PersistentVolumeClaimVolumeSource."""

    claim_name: str = ""
    read_only: bool = False


class Volume(Spec, frozen=True):
    """A name and one source. Kubernetes: core/v1 Volume."""

    name: str = ""
    empty_dir: EmptyDir | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    host_path: HostPath | None = None
    projected: ProjectedVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    persistent_volume_claim: ClaimVolume | None = None
    csi: Json | None = None
    ephemeral: Json | None = None
    image: Json | None = None
    nfs: Json | None = None
    iscsi: Json | None = None
    rbd: Json | None = None
    cephfs: Json | None = None
    glusterfs: Json | None = None
    fc: Json | None = None
    git_repo: Json | None = None
    azure_disk: Json | None = None
    azure_file: Json | None = None
    aws_elastic_block_store: Json | None = None
    gce_persistent_disk: Json | None = None
    cinder: Json | None = None
    flex_volume: Json | None = None
    flocker: Json | None = None
    portworx_volume: Json | None = None
    photon_persistent_disk: Json | None = None
    quobyte: Json | None = None
    scale_io: Json | None = msgspec.field(default=None, name="scaleIO")
    storageos: Json | None = None
    vsphere_volume: Json | None = None
