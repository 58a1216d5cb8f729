"""What happens to a pod and what is done about it, as values: events, actions, and the state kept on disk. Called by `pods` and `runner`."""

import signal
from dataclasses import dataclass
from enum import Enum

import msgspec

from lateen.local.isolation.seam import ProcessRef
from lateen.local.podspec import Pod


class Check(Enum):
    """What is asked of a container again and again. LISTENS is ours: do the declared ports listen?"""

    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"
    LISTENS = "listens"


class Hook(Enum):
    """Kubernetes: lifecycle handlers."""

    POST_START = "postStart"
    PRE_STOP = "preStop"


class Status(Enum):
    """Where a container is."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "terminated"


# events


@dataclass(frozen=True)
class Prepared:
    """The pod's network, files and proxy are there."""

    addresses: tuple[str, ...]


@dataclass(frozen=True)
class PreparationFailed:
    """They are not; it will be tried again."""

    message: str


@dataclass(frozen=True)
class ProxyChanged:
    """The proxy became ready, or stopped being so."""

    is_ready: bool


@dataclass(frozen=True)
class Started:
    """A container's process runs."""

    container: str
    process: ProcessRef


@dataclass(frozen=True)
class StartFailed:
    """A container could not be started. `reason`: one word as Kubernetes uses them."""

    container: str
    reason: str
    message: str


@dataclass(frozen=True)
class Ended:
    """A container's process is gone. `is_lost`: it ended while no daemon watched, so its code is unknown and counts as failed.

    `said`: the last line of its log."""

    container: str
    code: int
    is_lost: bool = False
    said: str = ""


@dataclass(frozen=True)
class Checked:
    """The answer to a `RunCheck`."""

    container: str
    check: Check
    is_good: bool
    message: str = ""


@dataclass(frozen=True)
class HookEnded:
    """The answer to a `RunHook`."""

    container: str
    hook: Hook
    is_good: bool
    message: str = ""


@dataclass(frozen=True)
class StopAsked:
    """The pod shall go. `grace_s` None: its own."""

    grace_s: float | None = None


@dataclass(frozen=True)
class ConfigChanged:
    """Something a waiting container may have missed has changed: try again now."""


@dataclass(frozen=True)
class TornDown:
    """Network and proxy are gone."""


@dataclass(frozen=True)
class Tick:
    """`wake_at` has come."""


Event = Prepared | PreparationFailed | ProxyChanged | Started | StartFailed | Ended | Checked | HookEnded | StopAsked | ConfigChanged | TornDown | Tick

# actions


@dataclass(frozen=True)
class Prepare:
    """Make network, files and proxy; answer `Prepared` or `PreparationFailed`."""


@dataclass(frozen=True)
class Start:
    """Start a container; answer `Started` or `StartFailed`, later `Ended`."""

    container: str


@dataclass(frozen=True)
class RunCheck:
    """Ask a container once; answer `Checked`."""

    container: str
    check: Check


@dataclass(frozen=True)
class RunHook:
    """Run a lifecycle handler; answer `HookEnded`."""

    container: str
    hook: Hook


@dataclass(frozen=True)
class Signal:
    """Send a signal to a container; SIGKILL goes to all it has started."""

    container: str
    number: signal.Signals


@dataclass(frozen=True)
class Drain:
    """Have the proxy ask its clients to go elsewhere; what comes is still served."""


@dataclass(frozen=True)
class TearDown:
    """Take proxy and network away; answer `TornDown`."""


Action = Prepare | Start | RunCheck | RunHook | Signal | Drain | TearDown

# state


class ContainerState(msgspec.Struct):
    """What is known of one container; kept on disk. `exit_code` None: it never ended. `process` None: it does not run."""

    name: str
    status: Status = Status.WAITING
    process: ProcessRef | None = None
    reason: str = "ContainerCreating"
    message: str = ""
    restarts: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    exit_code: int | None = None
    is_started: bool = False
    is_ready: bool = False
    has_run_post_start: bool = False
    back_off_s: float = 0.0
    retry_at: float = 0.0
    term_at: float | None = None
    """When it was told to stop. None: it was not."""
    kill_at: float | None = None
    is_done: bool = False
    """It has ended for good."""


class PodState(msgspec.Struct):
    """What is known of a pod; kept on disk, so that the next daemon goes on with it."""

    pod: Pod
    containers: dict[str, ContainerState]
    created_at: float = 0.0
    is_prepared: bool = False
    addresses: tuple[str, ...] = ()
    message: str = ""
    is_proxy_ready: bool = False
    retry_at: float = 0.0
    back_off_s: float = 0.0
    leaving_at: float | None = None
    kill_at: float | None = None
    is_over: bool = False
    is_gone: bool = False
