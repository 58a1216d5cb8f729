"""What a way of setting pods apart must offer. `pods`, `runner` and `daemon` know only this; `namespaces.py` is one way, as root.

A pod has a network of its own, named by `PodNetwork`; each of its processes is started by `spawn` with mounts of its own, and is known from
then on by pid and start time, so that a later daemon can go on with it. There is no pid namespace and no process that only holds a pod open.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from lateen.base.errors import LateenError
from lateen.local.isolation.nat import Forward

T = TypeVar("T")
OWN_FOLDER = "/etc/lateen/proxy"
"""Where an Envoy sees its own folder: it resolves its files' full paths, and the real one may lead through folders closed to its user."""


class SpawnFailed(LateenError):
    """A process could not be started. `is_user`: the command or its setting is at fault, not this machine."""

    def __init__(self, message: str, is_user: bool) -> None:
        super().__init__(message)
        self.is_user = is_user


class IsolationUnavailable(LateenError):
    """This machine does not allow this way of isolation; the text says what is missing."""


@dataclass(frozen=True)
class PodNetwork:
    """A pod's network. `netns`: the file that names its namespace. Addresses without prefix length; `ipv6` empty: the machine has no IPv6."""

    netns: Path
    link: str
    """The name of its link on the host."""
    ipv4: str
    ipv6: str

    @property
    def addresses(self) -> tuple[str, ...]:
        """IPv4 first."""
        return (self.ipv4, self.ipv6) if self.ipv6 else (self.ipv4,)


@dataclass(frozen=True)
class Mount:
    """`source` (a file or folder of the host) appears at `target` in the process's view of the file system; or `target` is a link to `link`."""

    target: str
    source: Path | None = None
    link: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class Launch:
    """One process to start. `argv[0]` is looked up in `env`'s PATH. What it says goes to the end of `log`; its input is empty."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    log: Path
    uid: int
    gid: int
    cwd: str = "/"
    groups: tuple[int, ...] = ()
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    read_only_root: bool = False
    output: Path | None = None
    """A file for its standard output alone. None: `log` has both."""
    is_ours: bool = False
    """An Envoy: its program and folder need not be open to its user."""
    capabilities: tuple[int, ...] = ()
    """Kept; empty for every application."""
    join_mounts: int = 0
    """A pid whose file system is shared instead of making one (probes, hooks, exec). 0: none."""


@dataclass(frozen=True)
class ProcessRef:
    """A process for good: `start_ticks` (field 22 of /proc/PID/stat, with the boot id) tells it from a later one with the same pid."""

    pid: int
    start_ticks: int


class Isolation(Protocol):
    """One way of setting pods apart. Everything made is recorded on disk before it is made, so that `remove_all` works after any crash."""

    def open(self) -> None:
        """Make what the mesh as a whole needs (a bridge), or take it over if an earlier daemon made it. IsolationUnavailable."""

    def create(self, pod: str) -> PodNetwork:
        """A network for the pod of this key, up and with addresses. Returns the existing one if there is one."""

    def remove(self, pod: str) -> None:
        """Take the pod's network away, with every process still in it. Nothing happens if there is none."""

    def pods(self) -> tuple[str, ...]:
        """The keys of all pods that have a network, sorted."""

    def spawn(self, network: PodNetwork | None, launch: Launch) -> ProcessRef:
        """Start a process in the pod, or (None) in the host's network. Returns when the command itself runs. SpawnFailed."""

    def processes(self, network: PodNetwork) -> tuple[int, ...]:
        """The pids of everything that lives in the pod's network, also what has left its parent."""

    def forward(self, network: PodNetwork, forwards: tuple[Forward, ...]) -> None:
        """Replace what the pod's connections to Services' addresses become, where no proxy takes them. OSError."""

    def within(self, network: PodNetwork, work: Callable[[], T]) -> T:
        """Run a short function in the pod's network and return what it returns: sockets made there stay there."""

    def remove_all(self) -> None:
        """Take away everything this mesh ever made here, by what is recorded."""
