"""Pods in network namespaces of their own, joined by a bridge; each process with mounts of its own. Needs root.

Everything is recorded under the mesh's run folder before it is made: `isolation/mesh.json` and one file per pod. `remove_all` needs nothing else.
"""

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from lateen.base.paths import MeshPaths
from lateen.local import processes
from lateen.local.isolation import launcher, links, nat, records
from lateen.local.isolation.addresses import Subnets, free_host, subnets
from lateen.local.isolation.nat import Forward
from lateen.local.isolation.seam import IsolationUnavailable, Launch, Mount, PodNetwork, ProcessRef, SpawnFailed

T = TypeVar("T")
_LAUNCHER = Path(launcher.__file__)
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_FORWARDING_WAS = Path("/run/lateen-forwarding-was")
"""What the first mesh of this machine found, for the last one to put back; a machine has one such setting, so all meshes share the file."""
_KILL_WAIT_S = 5.0
"""How long a killed process may take to vanish (one in an uninterruptible read) before its pod's network is taken away all the same."""


_log = structlog.get_logger("local.isolation")


class _MeshRecord(msgspec.Struct, frozen=True):
    bridge: str
    ipv4: str
    ipv6: str
    has_ipv6: bool


class _PodRecord(msgspec.Struct, frozen=True):
    host: int
    link: str


class NamespaceIsolation:
    """See the module; implements `seam.Isolation`.

    Whatever speaks netlink does so in a thread of its own: the library runs an event loop there, which a caller may already do.
    """

    def __init__(self, paths: MeshPaths) -> None:
        self._records = paths.run / "isolation"
        self._pins = paths.run / "netns"
        self._tag = hashlib.sha256(str(paths.run).encode()).hexdigest()[:6]
        self._lock = threading.Lock()
        self._mesh: _MeshRecord | None = None
        self._subnets: Subnets | None = None
        self._last_host = 1

    def open(self) -> None:
        """See `seam.Isolation`."""
        _in_thread(self._open)

    def _open(self) -> None:
        if os.geteuid() != 0:
            raise IsolationUnavailable("pods need root here: run it with sudo")
        with self._lock:
            known = records.read(self._records / "mesh.json", _MeshRecord)
            bridge = f"lt-{self._tag}"
            if known is None:
                has_ipv6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").is_file()
                chosen = subnets(self._tag, links.taken_networks(bridge))
                known = _MeshRecord(bridge, str(chosen.ipv4), str(chosen.ipv6), has_ipv6)
                records.write(self._records / "mesh.json", known)
            self._mesh, self._subnets = known, _parsed(known)
            links.ensure_bridge(known.bridge, self._subnets, known.has_ipv6)
            self._let_out()
            self._pins.mkdir(parents=True, exist_ok=True)
            if not launcher.is_mounted(self._pins):
                launcher.bind(str(self._pins), str(self._pins))
                launcher.mount(None, str(self._pins), None, launcher.MS_PRIVATE)

    def _let_out(self) -> None:
        """Pods reach beyond this machine over IPv4. Not over IPv6: to forward that, a host must stop listening to its own routers."""
        try:
            nat.commit(nat.masquerade(self.bridge, self.bridge, self.subnets.ipv4))
            if not _FORWARDING_WAS.exists():
                _FORWARDING_WAS.write_text(_FORWARDING.read_text())
            _FORWARDING.write_text("1")
        except OSError as error:
            _log.warning("pods cannot reach beyond this machine", reason=str(error))

    def _keep_in(self, known: _MeshRecord) -> None:
        """Undo `_let_out`; forwarding stays while another mesh needs it."""
        try:
            nat.commit(nat.removed(known.bridge))
            others = any(path.name.startswith("lt-") for path in Path("/sys/class/net").iterdir())
            if not others and _FORWARDING_WAS.exists():
                _FORWARDING.write_text(_FORWARDING_WAS.read_text())
                _FORWARDING_WAS.unlink()
        except OSError as error:
            _log.warning("rules for the way out are not removed", reason=str(error))

    @property
    def subnets(self) -> Subnets:
        """The mesh's networks. Only after `open`."""
        if self._subnets is None:
            raise IsolationUnavailable("the isolation was not opened")
        return self._subnets

    @property
    def bridge(self) -> str:
        """The bridge's name. Only after `open`."""
        if self._mesh is None:
            raise IsolationUnavailable("the isolation was not opened")
        return self._mesh.bridge

    def pods(self) -> tuple[str, ...]:
        """See `seam.Isolation`."""
        return tuple(sorted(path.stem for path in (self._records / "pods").glob("*.json")))

    def create(self, pod: str) -> PodNetwork:
        """See `seam.Isolation`."""
        return _in_thread(lambda: self._create(pod))

    def _create(self, pod: str) -> PodNetwork:
        with self._lock:
            record = self._record(pod)
            if record is not None:
                network = self._network(pod, record)
                if self._is_pinned(network) and links.exists(network.link):
                    return network
                self._take_away(pod)
            used = {other: found.host for other in self.pods() if (found := self._record(other)) is not None}
            host = free_host(self.subnets, frozenset(used.values()), self._last_host)
            self._last_host = host
            record = _PodRecord(host, f"lt{self._tag}-{host}")
            records.write(self._record_path(pod), record)
            network = self._network(pod, record)
            self._make(network)
            return network

    def network(self, pod: str) -> PodNetwork | None:
        """The pod's network as recorded. None: it has none."""
        record = self._record(pod)
        return None if record is None else self._network(pod, record)

    def remove(self, pod: str) -> None:
        """See `seam.Isolation`. Waits up to 5 s for killed processes."""
        _in_thread(lambda: self._remove(pod))

    def _remove(self, pod: str) -> None:
        with self._lock:
            self._take_away(pod)

    def spawn(self, network: PodNetwork | None, launch: Launch) -> ProcessRef:
        """See `seam.Isolation`. Blocks for some 20 ms: call it in a thread."""
        launch_fd = os.memfd_create("launch", os.MFD_CLOEXEC)
        read_end, write_end = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        log = _appending(launch.log, launch)
        output = _appending(launch.output or launch.log, launch)
        try:
            _write_all(launch_fd, msgspec.json.encode(self._plan(network, launch)))
            os.lseek(launch_fd, 0, os.SEEK_SET)
            high = [_above(descriptor) for descriptor in (launch_fd, write_end)]
            actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in ((null, 0), (output, 1), (log, 2), (high[0], 3), (high[1], 4))]
            arguments = [sys.executable, "-I", "-S", str(_LAUNCHER)]
            pid = os.posix_spawn(sys.executable, arguments, {}, file_actions=actions, setsid=True, setsigmask=[], setsigdef=[signal.SIGPIPE])
            for descriptor in high:
                os.close(descriptor)
        finally:
            for descriptor in (launch_fd, write_end, null, log, output):
                os.close(descriptor)
        try:
            process = processes.reference(pid)
            failure = os.read(read_end, 65536)  # ends at the exec, which closes the other end
        finally:
            os.close(read_end)
        if failure:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            told = msgspec.json.decode(failure)
            raise SpawnFailed(told["error"], told["is_user"])
        return process

    def processes(self, network: PodNetwork) -> tuple[int, ...]:
        """See `seam.Isolation`. Cost: one stat per process of this machine."""
        if not self._is_pinned(network):
            return ()
        wanted, ours = network.netns.stat().st_ino, os.getpid()
        found = []
        for pid in processes.all_pids():
            with contextlib.suppress(OSError):
                if pid != ours and Path(f"/proc/{pid}/ns/net").stat().st_ino == wanted:
                    found.append(pid)
        return tuple(found)

    def forward(self, network: PodNetwork, forwards: tuple[Forward, ...]) -> None:
        """See `seam.Isolation`."""
        transaction = _transaction(forwards)
        self.within(network, lambda: nat.commit(transaction))

    def within(self, network: PodNetwork, work: Callable[[], T]) -> T:
        """See `seam.Isolation`. A thread of its own goes in and ends there."""

        def inside() -> T:
            launcher.setns(str(network.netns), launcher.CLONE_NEWNET)
            return work()

        return _in_thread(inside)

    def remove_all(self) -> None:
        """See `seam.Isolation`."""
        _in_thread(self._remove_all)

    def _remove_all(self) -> None:
        with self._lock:
            for pod in self.pods():
                self._take_away(pod)
            known = records.read(self._records / "mesh.json", _MeshRecord)
            links.delete(known.bridge if known else f"lt-{self._tag}")
            if known is not None:
                self._keep_in(known)
            while launcher.is_mounted(self._pins):
                launcher.umount(str(self._pins))
            with contextlib.suppress(OSError):
                self._pins.rmdir()
            (self._records / "mesh.json").unlink(missing_ok=True)
            for folder in (self._records / "pods", self._records):
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def _record_path(self, pod: str) -> Path:
        return self._records / "pods" / f"{pod}.json"

    def _record(self, pod: str) -> _PodRecord | None:
        return records.read(self._record_path(pod), _PodRecord)

    def _network(self, pod: str, record: _PodRecord) -> PodNetwork:
        networks = self._subnets
        if networks is None:
            known = records.read(self._records / "mesh.json", _MeshRecord)
            if known is None:
                raise IsolationUnavailable("the mesh's networks are not recorded")
            networks, self._mesh = _parsed(known), known
        has_ipv6 = self._mesh is not None and self._mesh.has_ipv6
        ipv6 = str(networks.ipv6[record.host]) if has_ipv6 else ""
        return PodNetwork(self._pins / pod, record.link, str(networks.ipv4[record.host]), ipv6)

    def _is_pinned(self, network: PodNetwork) -> bool:
        try:
            return network.netns.stat().st_dev != self._pins.stat().st_dev
        except FileNotFoundError:
            return False

    def _make(self, network: PodNetwork) -> None:
        network.netns.touch()

        def pin() -> None:
            launcher.unshare(launcher.CLONE_NEWNET)
            launcher.mount("/proc/thread-self/ns/net", str(network.netns), None, launcher.MS_BIND)

        _in_thread(pin)
        links.delete(network.link)
        links.add_cable(network, self.bridge)
        self.within(network, lambda: links.configure_inside(network, self.subnets))

    def _take_away(self, pod: str) -> None:
        record = self._record(pod)
        if record is None:
            return
        try:
            network = self._network(pod, record)
        except IsolationUnavailable:
            network = PodNetwork(self._pins / pod, record.link, "", "")
        deadline = time.monotonic() + _KILL_WAIT_S
        while (pids := self.processes(network)) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(OSError):
                    processes.send(processes.reference(pid), signal.SIGKILL)
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.01)
        links.delete(record.link)
        while self._is_pinned(network):
            launcher.umount(str(network.netns))
        network.netns.unlink(missing_ok=True)
        self._record_path(pod).unlink(missing_ok=True)

    def _plan(self, network: PodNetwork | None, launch: Launch) -> dict[str, object]:
        return {
            "netns": str(network.netns) if network else "",
            "hostname": launch.hostname,
            "mounts": [_mount_entry(mount) for mount in launch.mounts],
            "detach": [str(self._pins)],
            "join_mounts": f"/proc/{launch.join_mounts}/ns/mnt" if launch.join_mounts else "",
            "read_only_root": launch.read_only_root,
            "uid": launch.uid,
            "gid": launch.gid,
            "groups": launch.groups,
            "capabilities": launch.capabilities,
            "is_ours": launch.is_ours,
            "argv": launch.argv,
            "env": launch.env,
            "cwd": launch.cwd,
        }


def _mount_entry(mount: Mount) -> dict[str, object]:
    if mount.source is None:
        return {"target": mount.target, "link": mount.link}
    return {"target": mount.target, "source": str(mount.source), "read_only": mount.read_only}


def _parsed(record: _MeshRecord) -> Subnets:

    return Subnets(ipaddress.IPv4Network(record.ipv4), ipaddress.IPv6Network(record.ipv6))


def _appending(path: Path, launch: Launch) -> int:
    """Open a file of output. It belongs to the process's user, who may open /dev/stdout anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchown(descriptor, launch.uid, launch.gid)
    return descriptor


@lru_cache(maxsize=4)
def _transaction(forwards: tuple[Forward, ...]) -> bytes:
    """The same for every pod."""
    return nat.forward(forwards)


def _above(descriptor: int) -> int:
    """A copy of a descriptor that the fixed ones (0 to 4) cannot overwrite."""

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _in_thread(work: Callable[[], T]) -> T:
    """Run in a fresh thread, whose namespaces may change without touching the others. What it raises is raised here."""
    with ThreadPoolExecutor(1, "lateen-namespace") as pool:
        return pool.submit(work).result()
