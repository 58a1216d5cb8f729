"""Offers gateways' ports on this machine: one Envoy in the host's network, which forwards TCP to the gateway pods. Called by `daemon`.

It follows two files, so that a gateway's new pod or a new port disturbs no connection; it outlives the daemon, and the next one goes on with it.
"""

import asyncio
import errno
import json
import signal
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from lateen.base.errors import LateenError
from lateen.base.paths import MeshPaths
from lateen.local import processes
from lateen.local.isolation import launcher, records
from lateen.local.isolation.seam import OWN_FOLDER, Isolation, Launch, Mount, ProcessRef
from lateen.local.publishing import Published
from lateen.local.users import PROXY_ID
from lateen.wire.binary import envoy_path

_HOST: Final = "127.0.0.1"
_PAUSE_S: Final = 1.0
_TYPES: Final = "type.googleapis.com/envoy."
_log = structlog.get_logger("local.edge")
Json = dict[str, Any]
"""A JSON object for Envoy; Envoy itself checks it."""


class Edge:
    """See the module."""

    def __init__(self, paths: MeshPaths, isolation: Isolation) -> None:
        """Takes over what an earlier daemon offers."""
        self._folder = paths.run / "edge"
        self._isolation = isolation
        self._process: ProcessRef | None = None
        self._is_needed = asyncio.Event()
        self._offered: frozenset[int] = frozenset()
        self.published: tuple[Published, ...] = ()
        known = records.read(self._folder / "record.json", ProcessRef)
        if known is not None and processes.is_alive(known):
            self._process = known
            self._offered = _listened(self._folder / "lds.json")
            self._is_needed.set()

    def offer(self, wanted: Sequence[Published]) -> None:
        """Offer these ports and no others; what cannot be offered says so in `published`. OSError: the files could not be written."""
        own = self._offered
        checked = tuple(each if each.problem or each.host_port in own else replace(each, problem=_taken(each)) for each in wanted)
        good = [each for each in checked if not each.problem]
        if checked == self.published and frozenset(each.host_port for each in good) == own:
            return
        self.published = checked
        self._offered = frozenset(each.host_port for each in good)
        if not good and not self._is_needed.is_set():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write("cds.json", [_cluster(each) for each in good])
        self._write("lds.json", [_listener(each) for each in good])
        self._is_needed.set()

    async def run(self) -> None:
        """Keep the Envoy alive from the first offer on, until cancelled; it goes on without this."""
        while True:
            await self._is_needed.wait()
            if self._process is not None:
                await processes.ended(self._process)
                self._process = None
                _log.warning("the edge's Envoy ended; starting it again", last_words=self._last_words())
                await asyncio.sleep(_PAUSE_S)
            try:
                await self._start()
            except (OSError, LateenError) as error:
                _log.error("the edge's Envoy does not start", error=str(error))
                await asyncio.sleep(_PAUSE_S)

    async def _start(self) -> None:
        self._write_bootstrap()
        argv = (str(envoy_path()), "-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
        launch = Launch(
            argv=argv,
            env={},
            log=self._folder / "envoy.log",
            uid=PROXY_ID,
            gid=PROXY_ID,
            cwd=OWN_FOLDER,
            mounts=(Mount(OWN_FOLDER, self._folder),),
            is_ours=True,
            capabilities=(launcher.CAP_NET_BIND_SERVICE,),
        )
        self._process = await asyncio.to_thread(self._isolation.spawn, None, launch)
        records.write(self._folder / "record.json", self._process)

    def _last_words(self) -> str:
        path = self._folder / "envoy.log"
        return path.read_text(errors="replace")[-300:].strip() if path.exists() else ""

    async def stop(self) -> None:
        """End the Envoy."""
        if self._process is not None:
            process, self._process = self._process, None
            await asyncio.to_thread(processes.kill_session, process)

    @staticmethod
    def remove_recorded(paths: MeshPaths) -> None:
        """End an edge that an earlier daemon started, and forget its files."""
        folder = paths.run / "edge"
        known = records.read(folder / "record.json", ProcessRef)
        if known is not None:
            processes.send(known, signal.SIGKILL)
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            path.unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()

    def _write(self, name: str, resources: list[Json]) -> None:
        records.write(self._folder / name, {"resources": resources}, mode=0o644)  # readable from its first moment: Envoy reads at the rename

    def _write_bootstrap(self) -> None:
        sources = {kind: {"resource_api_version": "V3", "path_config_source": {"path": f"./{kind}.json"}} for kind in ("cds", "lds")}
        bootstrap = {
            "node": {"id": "edge", "cluster": "edge"},
            "dynamic_resources": {"cds_config": sources["cds"], "lds_config": sources["lds"]},
            "stats_config": {"stats_matcher": {"reject_all": True}},
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o755)
        records.write(self._folder / "bootstrap.json", bootstrap, mode=0o644)


def _cluster(each: Published) -> Json:
    name = f"{each.host_port}"
    places = [{"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}} for address, port in each.targets]
    return {
        "@type": f"{_TYPES}config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": places}]},
    }


def _listener(each: Published) -> Json:
    proxy = {"@type": f"{_TYPES}extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "edge", "cluster": f"{each.host_port}", "idle_timeout": "0s"}
    return {
        "@type": f"{_TYPES}config.listener.v3.Listener",
        "name": f"{each.host_port}",
        "address": {"socket_address": {"address": _HOST, "port_value": each.host_port}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
        "ignore_global_conn_limit": True,
    }


def _listened(path: Path) -> frozenset[int]:
    """The host ports that a file of listeners names."""
    try:
        return frozenset(int(each["name"]) for each in json.loads(path.read_text())["resources"])
    except (OSError, ValueError, KeyError):
        return frozenset()


def _taken(each: Published) -> str:
    """Who has the host port, in a line that says what to do. Empty: nobody."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, each.host_port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return f"port {each.host_port} cannot be offered: {error.strerror}"
            pid, command = owner(each.host_port)
            whose = f" by pid {pid} ({command})" if pid else ""
            return f"port {each.host_port} is taken{whose}; choose another: --publish {each.port}={each.host_port + 1000}"
    return ""


def owner(port: int) -> tuple[int, str]:
    """The process that listens on a TCP port of this machine, and its command. (0, ""): not found."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in map(str.split, Path(table).read_text().splitlines()[1:]):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for pid in processes.all_pids():
        try:
            if any(str(entry.readlink()) in inodes for entry in Path(f"/proc/{pid}/fd").iterdir()):
                return pid, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:80]
        except OSError:
            continue
    return 0, ""
