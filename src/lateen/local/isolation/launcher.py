"""Becomes one process of a pod: joins its network, builds its own mounts, drops every right, then executes the command.

Run as a script by `namespaces.py` and `enter.py` with `python -I -S`, so it imports the standard library only and keeps its pid across
the exec. The launch comes as JSON on an inherited descriptor; a failure goes back as JSON on another, which the exec closes.
The system calls are also used, as functions, by the rest of this package. Linux only.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import stat
from pathlib import Path
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000
MS_RDONLY = 0x1
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_MOUNT_SETATTR = 442
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_CAPABILITY_VERSION_3 = 0x20080522
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


class LaunchError(Exception):
    """The process could not be started; the text is one line for the user."""


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move this thread into new namespaces (`CLONE_NEW…`). OSError if not allowed."""
    _checked(_libc.unshare(flags), "unshare")


def setns(path: str, kind: int) -> None:
    """Move this thread into the namespace that `path` names; `kind` is the `CLONE_NEW…` it must be of. OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(descriptor, kind), f"setns {path}")
    finally:
        os.close(descriptor)


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2). OSError with the target in its text."""

    def encoded(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    result = _libc.mount(encoded(source), encoded(target), encoded(kind), ctypes.c_ulong(flags), options.encode())
    _checked(result, f"mount {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2), lazy unless told otherwise. OSError."""
    _checked(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def is_mounted(path: Path) -> bool:
    """Whether something is mounted exactly at `path` (bind mounts of the same file system included)."""
    wanted = str(path).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")
    return any(line.split(" ")[4] == wanted for line in Path("/proc/self/mountinfo").read_text().splitlines())


def bind(source: str, target: str, read_only: bool = False) -> None:
    """Make `source` (file or folder, with what is mounted below it) appear at `target`, which exists and is of the same sort."""
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def _detached_copy(source: str) -> int:
    """A descriptor of a bind mount of `source` that has no place yet, so that what is mounted or moved meanwhile cannot touch it. OSError."""
    result: int = _libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"open_tree {source}: {os.strerror(number)}")
    return result


def _attach(copy: int, target: str, read_only: bool) -> None:
    """Give a detached copy its place."""
    _checked(_libc.syscall(_SYS_MOVE_MOUNT, copy, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH), f"mount {target}")
    if read_only:
        mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def _set_read_only(target: str, is_read_only: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY if is_read_only else 0, 0 if is_read_only else _MOUNT_ATTR_RDONLY, 0, 0)
    _checked(
        _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, ctypes.byref(attributes), 32),
        f"mount_setattr {target}",
    )


def _copy_entries(original: int, target: Path) -> None:
    """Bind each entry of the folder open as `original` into the empty folder `target`; symbolic links are made anew."""
    for name in os.listdir(original):
        status = os.stat(name, dir_fd=original, follow_symlinks=False)
        here = target / name
        if stat.S_ISLNK(status.st_mode):
            here.symlink_to(os.readlink(name, dir_fd=original))
            continue
        if stat.S_ISDIR(status.st_mode):
            here.mkdir()
        else:
            here.touch()
        bind(f"/proc/self/fd/{original}/{name}", str(here))


def _mirror(folder: Path) -> None:
    """Replace `folder` by a small writable copy made of bind mounts, so that mount points can be made in it and the host sees none."""
    original = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    status = os.fstat(original)
    options = f"size=4m,mode={stat.S_IMODE(status.st_mode):o},uid={status.st_uid},gid={status.st_gid}"
    try:
        if folder != Path("/"):
            mount("lateen", str(folder), "tmpfs", 0, options)
            _copy_entries(original, folder)
            return
        _new_root(original, options)
    finally:
        os.close(original)


def _new_root(original: int, options: str) -> None:
    """Give this mount namespace a root of its own that mirrors the old one."""
    stage = Path("/mnt") if Path("/mnt").is_dir() else Path("/tmp")
    covered = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mount("lateen", str(stage), "tmpfs", 0, options)
    mount(None, str(stage), None, MS_UNBINDABLE)
    for name in os.listdir(original):
        status = os.stat(name, dir_fd=original, follow_symlinks=False)
        here = stage / name
        if stat.S_ISLNK(status.st_mode):
            here.symlink_to(os.readlink(name, dir_fd=original))
        elif stat.S_ISDIR(status.st_mode):
            here.mkdir()
            source = f"/proc/self/fd/{covered}" if Path("/", name) == stage else f"/proc/self/fd/{original}/{name}"
            bind(source, str(here))
        else:
            here.touch()
            bind(f"/proc/self/fd/{original}/{name}", str(here))
    os.close(covered)
    old = stage / ".old"
    old.mkdir()
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _checked(_libc.syscall(number, os.fsencode(stage), os.fsencode(old)), "pivot_root")
    os.chdir("/")
    umount("/.old")
    Path("/.old").rmdir()
    mount(None, "/", None, MS_PRIVATE)


def _ensure_target(target: Path, is_folder: bool, volumes: list[Path]) -> None:
    """Make `target` exist as a place to mount on, touching nothing of the host. `volumes`: targets mounted so far; inside one, the volume itself gets it."""
    resolved = Path(os.path.realpath(target))
    if resolved.is_dir() == is_folder and resolved.exists():
        return
    ancestor = resolved if resolved.is_dir() else resolved.parent
    while not ancestor.is_dir():
        ancestor = ancestor.parent
    if resolved.exists():
        raise LaunchError(f"cannot mount here, something of another sort is in the way: {target}")
    if not _is_ours(ancestor) and not any(ancestor.is_relative_to(volume) for volume in volumes):
        _mirror(ancestor)
    (resolved if is_folder else resolved.parent).mkdir(parents=True, exist_ok=True)
    if not is_folder:
        resolved.touch()


def _is_ours(folder: Path) -> bool:
    """Whether `folder` lies on a tmpfs that this process made (its root is marked by the device of a mirror)."""
    return folder.stat().st_dev in _mirrored_devices()


def _mirrored_devices() -> set[int]:
    devices = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[:2] == ["tmpfs", "lateen"]:
            major, _, minor = left.split()[2].partition(":")
            devices.add(os.makedev(int(major), int(minor)))
    return devices


def _apply_mounts(launch: dict[str, Any]) -> None:
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_SLAVE)
    plans = []
    for entry in launch["mounts"]:  # all sources first: a later mount may cover them
        if "link" in entry:
            plans.append((entry, -1, False))
            continue
        descriptor = _detached_copy(entry["source"])
        plans.append((entry, descriptor, stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    _forget_namespaces(launch.get("detach", ()))
    if launch.get("read_only_root"):
        _set_read_only("/", True)
        for kept in ("/dev", "/proc"):
            _set_read_only(kept, False)
    volumes: list[Path] = []
    for entry, descriptor, is_folder in sorted(plans, key=lambda plan: len(Path(plan[0]["target"]).parts)):
        target = Path(entry["target"])
        if descriptor < 0:
            _link(target, entry["link"])
            continue
        _ensure_target(target, is_folder, volumes)
        place = os.path.realpath(target)
        _attach(descriptor, place, bool(entry.get("read_only")))
        volumes.append(Path(place))
        os.close(descriptor)
    _make_working_folder(launch.get("cwd") or "/", volumes)


def _make_working_folder(folder: str, volumes: list[Path]) -> None:
    """Make the working folder where there is none, as a container's runtime does: outside volumes the host sees nothing of it.

    What is in the way is told when the folder is entered."""
    if folder.startswith("/") and not os.path.lexists(folder):
        with contextlib.suppress(OSError):
            _ensure_target(Path(folder), True, volumes)


def _forget_namespaces(folders: list[str]) -> None:
    """Unmount what pins namespaces on this machine, first whole folders of such pins: a copy of a pin would keep a removed pod's network alive."""
    for folder in folders:
        with contextlib.suppress(OSError):
            umount(folder)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] == "nsfs":
            with contextlib.suppress(OSError):
                umount(left.split()[4])


def _link(target: Path, points_to: str) -> None:
    """Make `target` a symbolic link inside a mirrored folder."""
    if not _is_ours(target.parent):
        _mirror(target.parent)
    with contextlib.suppress(OSError):  # a mirrored file is a mount, a mirrored link is not
        _checked(_libc.umount2(os.fsencode(target), MNT_DETACH | _UMOUNT_NOFOLLOW), "umount")
    target.unlink(missing_ok=True)
    target.symlink_to(points_to)


def _drop_rights(launch: dict[str, Any]) -> None:
    kept = frozenset(launch.get("capabilities", ()))
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in kept and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # past the last one this kernel knows
    if kept:
        _checked(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl")
    os.setgroups(launch.get("groups", []))
    os.setresgid(launch["gid"], launch["gid"], launch["gid"])
    os.setresuid(launch["uid"], launch["uid"], launch["uid"])
    bits = sum(1 << capability for capability in kept)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    _checked(_libc.syscall(_SYS_CAPSET[os.uname().machine], ctypes.byref(header), ctypes.byref(data)), "capset")
    for capability in kept:
        _checked(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0), "prctl")
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _executable(command: str, environment: dict[str, str]) -> str:
    """The file that `command` names, as execvp finds it. LaunchError says why there is none, or who may not reach it."""
    candidates = [command] if "/" in command else [f"{part}/{command}" for part in environment.get("PATH", os.defpath).split(":")]
    denied = ""
    for candidate in candidates:
        try:
            mode = Path(candidate).stat().st_mode
        except PermissionError:
            denied = denied or candidate
            continue
        except OSError:
            continue
        if stat.S_ISREG(mode) and os.access(candidate, os.X_OK):
            return candidate
        denied = denied or candidate
    if denied:
        raise LaunchError(f"user {os.getuid()} may not execute it{_closed_folder(denied)}: {denied}")
    raise LaunchError(f"command not found: {command}")


def _closed_folder(path: str) -> str:
    for parent in reversed(Path(path).parents):
        if not os.access(parent, os.X_OK):
            return f" (folder {parent} is closed to other users; use an interpreter outside it)"
    return ""


def _opened(launch: dict[str, Any]) -> int:
    """Enter the folder and open the program with the rights we still have: ours may lie under folders that are closed to its user."""
    os.chdir(launch["cwd"])
    return os.open(_executable(launch["argv"][0], launch["env"]), os.O_RDONLY)


def run(launch: dict[str, Any]) -> None:
    """Turn this process into the one `launch` describes; returns only by raising."""
    if launch.get("join_mounts"):
        descriptor = os.open(launch["join_mounts"], os.O_RDONLY | os.O_CLOEXEC)
    if launch.get("netns"):
        setns(launch["netns"], CLONE_NEWNET)
    if launch.get("hostname"):
        unshare(CLONE_NEWUTS)
        name = os.fsencode(launch["hostname"][:63])
        _checked(_libc.sethostname(name, len(name)), "sethostname")
    if launch.get("join_mounts"):
        _checked(_libc.setns(descriptor, CLONE_NEWNS), "setns")
        os.close(descriptor)
    elif launch.get("mounts") or launch.get("detach") or launch.get("read_only_root"):
        _apply_mounts(launch)
    environment = launch["env"]
    program = _opened(launch) if launch.get("is_ours") else None
    _drop_rights(launch)
    os.umask(0o022)
    if launch.get("core") == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if program is None:
            os.chdir(launch.get("cwd") or "/")
    except OSError as error:
        raise LaunchError(f"cannot enter the working folder ({error.strerror}): {launch.get('cwd')}") from error
    executable = program if program is not None else _executable(launch["argv"][0], environment)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(executable, launch["argv"], environment)
    except OSError as error:
        raise LaunchError(f"cannot execute it ({error.strerror}): {executable}") from error


def main() -> None:
    """Entry of the script: the launch is on descriptor 3, its outcome goes to descriptor 4."""
    launch_fd, status_fd = 3, 4
    os.set_inheritable(status_fd, False)
    os.closerange(status_fd + 1, 1 << 20)
    with os.fdopen(launch_fd, "rb") as source:
        launch = json.loads(source.read())
    try:
        run(launch)
    except (LaunchError, OSError) as error:
        os.write(status_fd, json.dumps({"error": str(error), "is_user": isinstance(error, LaunchError)}).encode())
        os._exit(127)


if __name__ == "__main__":
    main()
