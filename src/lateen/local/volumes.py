"""A pod's volumes: which folders and files they hold (pure), and where a container sees them. Called by `runner`.

Each volume is a folder of the pod's own; files from ConfigMaps, Secrets and the downward API lie behind `..data`,
a link that a later change swaps, as on a cluster.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lateen.local.environment import Surroundings, Unresolved, config_values, expanded, pod_field, resource_field, secret_values
from lateen.local.isolation.seam import Mount
from lateen.local.podspec import Container, DownwardVolume, Json, KeyedVolume, Pod, Volume

_DEFAULT_MODE = 0o644
_SAFE_PATH = re.compile(r"^(?!/)(?!.*(^|/)\.\.(/|$)).+$")


@dataclass(frozen=True)
class File:
    """One file of a volume. `path`: relative to the volume."""

    path: str
    content: bytes
    mode: int = _DEFAULT_MODE


@dataclass(frozen=True)
class VolumePlan:
    """One volume of a pod. `files` None: a folder the application may write.

    `host` not empty: a folder or file of this machine; `claim` not empty: a folder that outlives the pod, named by its claim.
    """

    name: str
    files: tuple[File, ...] | None = None
    host: str = ""
    claim: str = ""


def plans(pod: Pod, around: Surroundings) -> tuple[VolumePlan, ...]:
    """What each volume holds. Unresolved: a ConfigMap, Secret or key is missing and not optional."""
    return tuple(_plan(pod, volume, around) for volume in pod.spec.volumes)


def _plan(pod: Pod, volume: Volume, around: Surroundings) -> VolumePlan:
    if volume.config_map is not None:
        return VolumePlan(volume.name, _keyed(volume.config_map, volume.config_map.name, around.config_maps, "ConfigMap"))
    if volume.secret is not None:
        return VolumePlan(volume.name, _keyed(volume.secret, volume.secret.secret_name, around.secrets, "Secret"))
    if volume.downward_api is not None:
        return VolumePlan(volume.name, _downward(pod, volume.downward_api, around))
    if volume.projected is not None:
        files: list[File] = []
        for source in volume.projected.sources:
            if source.config_map is not None:
                files += _keyed(source.config_map, source.config_map.name, around.config_maps, "ConfigMap", volume.projected.default_mode)
            if source.secret is not None:
                files += _keyed(source.secret, source.secret.name, around.secrets, "Secret", volume.projected.default_mode)
            if source.downward_api is not None:
                files += _downward(pod, source.downward_api, around)
        return VolumePlan(volume.name, tuple(files))
    if volume.persistent_volume_claim is not None:
        return VolumePlan(volume.name, claim=volume.persistent_volume_claim.claim_name)
    if volume.host_path is not None:
        return VolumePlan(volume.name, host=volume.host_path.path)
    return VolumePlan(volume.name)


def _keyed(source: KeyedVolume, name: str, found: Mapping[str, Json], kind: str, mode: int | None = None) -> tuple[File, ...]:
    item = found.get(name)
    if item is None:
        if source.optional:
            return ()
        raise Unresolved(f"{kind} not found: {name}")
    values = secret_values(item) if kind == "Secret" else config_values(item)
    default = source.default_mode or mode or _DEFAULT_MODE
    if not source.items:
        return tuple(File(key, value, default) for key, value in sorted(values.items()) if _SAFE_PATH.match(key))
    files = []
    for entry in source.items:
        if not _SAFE_PATH.match(entry.path):
            raise Unresolved(f"{kind} {name}: a path must be relative and stay inside the volume: {entry.path}")
        if entry.key not in values:
            if source.optional:
                continue
            raise Unresolved(f"{kind} {name} has no key: {entry.key}")
        files.append(File(entry.path, values[entry.key], entry.mode or default))
    return tuple(files)


def _downward(pod: Pod, source: DownwardVolume, around: Surroundings) -> tuple[File, ...]:
    files = []
    for item in source.items:
        text = ""
        if item.field_ref is not None:
            text = pod_field(pod, item.field_ref.field_path, around)
        elif item.resource_field_ref is not None:
            wanted = item.resource_field_ref
            container = next((each for each in pod.spec.containers if each.name == wanted.container_name), pod.spec.containers[0])
            text = resource_field(container, wanted, around)
        if _SAFE_PATH.match(item.path):
            files.append(File(item.path, text.encode(), item.mode or source.default_mode or _DEFAULT_MODE))
    return tuple(files)


def write(plan: VolumePlan, folder: Path, uid: int, gid: int) -> bool:
    """Make or renew a volume on disk under `folder`. True: what the application reads there changed. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if plan.files is None:
        folder.chmod(0o2777 if gid else 0o777)
        os.chown(folder, uid, gid)
        return False
    if _as_written(folder) == {file.path: file.content for file in plan.files}:
        return False
    fresh = folder / f"..{secrets.token_hex(6)}"
    for file in plan.files:
        path = fresh / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode | (0o440 if gid else 0))
        os.chown(path, uid, gid)
    fresh.mkdir(exist_ok=True)
    before = (folder / "..data").readlink() if (folder / "..data").is_symlink() else None
    swap = folder / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(fresh.name)
    swap.rename(folder / "..data")
    tops = {file.path.partition("/")[0] for file in plan.files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if before is not None:
        shutil.rmtree(folder / before, ignore_errors=True)
    return True


def _as_written(folder: Path) -> dict[str, bytes] | None:
    """The files behind `..data`. None: never written."""
    data = folder / "..data"
    if not data.is_symlink():
        return None
    root = data.resolve()
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def mounts(container: Container, volumes: Mapping[str, VolumePlan], place: Callable[[VolumePlan], Path], env: Mapping[str, str]) -> tuple[Mount, ...]:
    """Where a container sees the pod's volumes. `place`: the folder of a volume. Unresolved: no such volume, a path that leaves it."""
    result = []
    for mount in container.volume_mounts:
        plan = volumes.get(mount.name)
        if plan is None:
            raise Unresolved(f"volumeMounts names no volume of the pod: {mount.name}")
        if not mount.mount_path.startswith("/"):
            raise Unresolved(f"mountPath is not absolute: {mount.mount_path}")
        source = place(plan)
        sub = expanded(mount.sub_path_expr, env) or mount.sub_path
        if sub and not _SAFE_PATH.match(sub):
            raise Unresolved(f"subPath must be relative and stay inside the volume: {sub}")
        if sub:
            source = source / sub
            if plan.files is None and not plan.host:
                source.mkdir(parents=True, exist_ok=True)
            source = source.resolve()
        if not source.exists():
            raise Unresolved(f"nothing to mount at {mount.mount_path}: {sub or plan.host}")
        result.append(Mount(mount.mount_path, source, read_only=mount.read_only or plan.files is not None))
    return tuple(result)
