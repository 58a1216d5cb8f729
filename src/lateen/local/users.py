"""As whom an application runs. Called by `runner` and `enter`."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lateen.local.podspec import Container, Pod

PROXY_ID = 1337
"""User and group of every Envoy: not the applications', who so cannot read its key. Source: Istio, the proxy's user."""
_NOBODY = 65534


@dataclass(frozen=True)
class User:
    """A user, the groups it is in besides, and its home."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def invoking(environment: Mapping[str, str]) -> User:
    """Who called the command line: through sudo, or directly."""
    uid, gid = int(environment.get("SUDO_UID", os.getuid())), int(environment.get("SUDO_GID", os.getgid()))
    return _known(uid, gid)


def _known(uid: int, gid: int | None) -> User:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(uid, uid if gid is None else gid)
    home = entry.pw_dir if Path(entry.pw_dir).is_dir() else "/"
    return User(uid, entry.pw_gid if gid is None else gid, home=home)


def of_container(pod: Pod, container: Container, caller: User) -> User:
    """The user a container runs as: declared by it, by its pod, or else whoever called. `runAsNonRoot` turns root into nobody, as an image would."""
    own, pods = container.security_context, pod.spec.security_context
    uid = pods.run_as_user if own.run_as_user is None else own.run_as_user
    gid = pods.run_as_group if own.run_as_group is None else own.run_as_group
    non_root = pods.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    groups = tuple(dict.fromkeys([*pods.supplemental_groups, *([] if pods.fs_group is None else [pods.fs_group])]))
    base = caller if uid is None else _known(uid, None)
    if uid is None and base.uid == 0 and non_root:
        base = _known(_NOBODY, None)
    return User(base.uid, base.gid if gid is None else gid, groups, base.home)
