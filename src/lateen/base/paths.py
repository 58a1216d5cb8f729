"""Where a mesh of one name keeps its files on this machine. Pure: the environment is an argument."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_NAME = "default"


@dataclass(frozen=True)
class MeshPaths:
    """The folders and sockets of one mesh. `run`: gone after `down` and after a reboot; `state`: stays (the CA's root, last known good)."""

    name: str
    run: Path
    state: Path

    @staticmethod
    def of(name: str, environment: Mapping[str, str], is_root: bool) -> "MeshPaths":
        """The paths of mesh `name`. LATEEN_RUN and LATEEN_STATE override the roots of both."""
        home = Path(environment.get("HOME", "/root"))
        run = Path("/run") if is_root else Path(environment.get("XDG_RUNTIME_DIR", "/tmp"))
        state = Path("/var/lib") if is_root else Path(environment.get("XDG_STATE_HOME", home / ".local/state"))
        run_root = Path(environment["LATEEN_RUN"]) if environment.get("LATEEN_RUN") else run / "lateen"
        state_root = Path(environment["LATEEN_STATE"]) if environment.get("LATEEN_STATE") else state / "lateen"
        return MeshPaths(name, run_root / name, state_root / name)

    @property
    def control_socket(self) -> Path:
        """Where control serves the node and the command line."""
        return self.run / "control.sock"

    @property
    def node_socket(self) -> Path:
        """Where the node answers the command line (pods, logs, restart)."""
        return self.run / "node.sock"

    @property
    def up_lock(self) -> Path:
        """Held (flock) by a living `up`; holds its pid."""
        return self.run / "up.lock"

    @property
    def pods(self) -> Path:
        """A folder per pod: `<namespace>.<pod>/`, with `state.json`, logs and certificates."""
        return self.run / "pods"

    @property
    def logs(self) -> Path:
        """Logs of the daemons: `control.log`, `node.log`."""
        return self.run / "logs"

    @property
    def ca(self) -> Path:
        """The CA's root certificate and key."""
        return self.state / "ca"
