"""A mesh of its own for a live test: started as a user would, watched through its terminal output, and gone afterwards."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2.nftables.main import NFTables

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
BOOKING = ROOT / "samples" / "booking"
BEHAVIOUR = Path(__file__).parent / "behaviour"
READY_TIMEOUT_S = 120
STOP_TIMEOUT_S = 120


def need_namespaces() -> None:
    """Skips with a line where namespaces can't be made; never in CI."""
    reason = "" if os.geteuid() == 0 else "needs root: it makes network namespaces"
    if not reason and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        reason = "this kernel or container refuses network namespaces"
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI skips nothing, but {reason}")
        pytest.skip(reason)


def until(condition, timeout_s: float = 60, what: str = "condition"):
    """The first true value of `condition()`, asked every 50 ms. Fails the test after the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    pytest.fail(f"not within {timeout_s:.0f} s: {what}")


class Mesh:
    """One mesh under folders of its own. `lines`: what `up` printed so far."""

    def __init__(self, name: str = "t") -> None:
        self.home = Path(tempfile.mkdtemp(prefix="lateen-"))
        self.name = f"{name}{os.getpid() % 10000}"
        self.environment = os.environ | {"LATEEN_RUN": str(self.home / "run"), "LATEEN_STATE": str(self.home / "state")}
        self.run = self.home / "run" / self.name
        self.up_process: subprocess.Popen | None = None
        self.lines: list[str] = []

    def lateen(self, *arguments: str, timeout_s: float = 60, check: bool = False, stdin: str | None = None) -> subprocess.CompletedProcess:
        """Runs the command line to its end; `--name` is added where it is not `exec`'s."""
        argv = [sys.executable, "-m", "lateen", *self._named(arguments)]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=check, input=stdin)

    def _named(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        if arguments[0] in ("validate", "version", "simulate"):
            return arguments
        if arguments[0] == "ca":
            return (*arguments, "--name", self.name)
        return (arguments[0], "--name", self.name, *arguments[1:])

    def start(self, *paths: Path | str, options: tuple[str, ...] = (), wait: bool = True) -> "Mesh":
        """`lateen up`, until it says it is ready."""
        published = () if "--publish" in options else tuple(part for port in (80, 443, 8080) for part in ("--publish", f"{port}={free_port()}"))
        argv = [sys.executable, "-m", "lateen", "up", *map(str, paths), "--name", self.name, *published, *options]
        self.lines = []
        self.up_process = subprocess.Popen(
            argv,
            env=self.environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self.up_process,), daemon=True).start()
        if wait:
            until(lambda: self.said("ready in") or self.up_process.poll() is not None, READY_TIMEOUT_S, "the mesh is ready")
            assert self.said("ready in"), self.output()
        return self

    def _read(self, process: subprocess.Popen) -> None:
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, text: str) -> str | None:
        """The first printed line that has `text`."""
        return next((line for line in list(self.lines) if text in line), None)

    def output(self) -> str:
        """Everything printed, and the ends of the daemons' logs: for failure messages."""
        logs = [f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:]) for path in sorted((self.run / "logs").glob("*.log"))]
        return "\n".join([*self.lines, *logs])

    def exec(self, target: str, *command: str, namespace: str = "booking", timeout_s: float = 60) -> subprocess.CompletedProcess:
        """Runs a command in a pod."""
        argv = [sys.executable, "-m", "lateen", "exec", "--name", self.name, "-n", namespace, target, "--", *command]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=timeout_s)

    def curl(self, *arguments: str, target: str = "deploy/client", namespace: str = "booking") -> tuple[int, str]:
        """(HTTP status, body) of a request from a pod; status 0: no answer."""
        done = self.exec(target, "curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", *arguments, namespace=namespace)
        body, _, code = done.stdout.rpartition("\n")
        return int(code or 0), body

    def json(self, *arguments: str) -> dict:
        """A command's `-o json`."""
        done = self.lateen(*arguments, "-o", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def is_ready(self) -> bool:
        """Whether control answers, and says that everything runs."""
        done = self.lateen("status", "-o", "json")
        return bool(done.stdout) and json.loads(done.stdout)["ready"]

    def ingress(self) -> str:
        """The first ingress URL."""
        return next(item["url"] for item in self.json("status")["ingress"] if not item.get("problem"))

    def pid(self, daemon: str) -> int:
        """Of `control`, `node` or `up`."""
        return json.loads((self.run / f"{daemon}.pid").read_text())["pid"]

    def pod_pids(self) -> dict[str, list[int]]:
        """Pod → pids of its containers and of its Envoy, from the node's records."""
        found = {}
        for path in sorted((self.run / "pods").glob("*/state.json")):
            state = json.loads(path.read_text())
            found[f"{state['namespace']}/{state['name']}"] = [item["pid"] for item in state["containers"]] + (
                [state["envoy"]["pid"]] if state.get("envoy") else []
            )
        return found

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C; the exit code of `up`."""
        self.up_process.send_signal(number)
        return self.up_process.wait(STOP_TIMEOUT_S)

    def remains(self) -> list[str]:
        """What this mesh has left on the machine: processes, mounts, links, tables, and everything under its run folder."""
        found = [f"process {path.parent.name}: {command}" for path, command in self._processes()]
        found += [f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines() if str(self.home) in line]
        tag = hashlib.sha256(str(self.run).encode()).hexdigest()[:6]  # in the name of every link and table of this mesh
        found += [f"link {path.name}" for path in Path("/sys/class/net").iterdir() if tag in path.name]
        with NFTables() as tables:
            found += [f"table {name}" for message in tables.get_tables() if tag in (name := message.get_attr("NFTA_TABLE_NAME"))]
        return found + [f"file {path}" for path in ([self.run] if self.run.exists() else [])]

    def _processes(self) -> Iterator[tuple[Path, str]]:
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"LATEEN_RUN={self.home}".encode() in path.read_bytes() or str(self.home).encode() in (path.parent / "cmdline").read_bytes():
                    yield path, (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120]
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue

    def close(self) -> None:
        """Whatever state it is in: stopped and removed."""
        if self.up_process and self.up_process.poll() is None:
            self.up_process.send_signal(signal.SIGTERM)
            try:
                self.up_process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.up_process.kill()
        self.lateen("down", timeout_s=STOP_TIMEOUT_S)
        shutil.rmtree(self.home, ignore_errors=True)


class Load:
    """`load.py` in a pod, in the background; without a `target` on this machine. `result()` waits for its JSON."""

    def __init__(self, mesh: Mesh, url: str, count: int = 0, target: str = "deploy/client", namespace: str = "booking", options: tuple[str, ...] = ()) -> None:
        self.stop_file = mesh.home / f"stop-{id(self)}"
        self.progress_file = mesh.home / f"progress-{id(self)}"
        endless = () if count else ("--until", str(self.stop_file))
        script = [sys.executable, str(Path(__file__).parent / "load.py"), url, str(count), *endless, "--progress", str(self.progress_file), *options]
        argv = [sys.executable, "-m", "lateen", "exec", "--name", mesh.name, "-n", namespace, target, "--", *script]
        if not target:
            argv = script
        self.mesh = mesh
        self.process = subprocess.Popen(argv, env=mesh.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def done(self) -> int:
        """How many requests it has made, to the fifty."""
        return int(self.progress_file.read_text() or 0) if self.progress_file.exists() else 0

    def result(self, timeout_s: float = 300) -> dict:
        """Ends an endless one; what it counted."""
        self.stop_file.touch()
        out, err = self.process.communicate(timeout=timeout_s)
        assert out, err
        return json.loads(out)

    def flawless(self, timeout_s: float = 300) -> dict:
        """`result`, of which nothing may have failed: else every failed request is printed with what proxies logged of it."""
        result = self.result(timeout_s)
        assert result["failed"] == {}, "\n".join([json.dumps(result["failed"]), *map(self._told, result["failures"]), *self.mesh.lines[-30:]])
        assert result["ok"] > 0
        return result

    def _told(self, failure: dict) -> str:
        """A failed request and the lines about it in the access logs of all pods that are still there."""
        logs = sorted((self.mesh.run / "pods").glob("*/proxy/access.log*"))
        lines = [f"    {path.parts[-3]}: {line}" for path in logs for line in path.read_text(errors="replace").splitlines() if failure["id"] in line]
        return "\n".join([f"{failure['at']:.3f} {failure['status']} {failure['body']}", *lines])


def rewrite(path: Path, old: str, new: str) -> None:
    """Edits a file as an editor would: a new file renamed over the old. Fails the test if `old` is not there."""
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    temporary = path.with_suffix(".new")
    temporary.write_text(text.replace(old, new))
    temporary.replace(path)


def copied(mesh: Mesh, source: Path = BOOKING) -> Path:
    """A copy of a sample that a test may edit; its image map names the same programs."""
    target = mesh.home / "yaml"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("image-map.yaml", "__pycache__"))
    return target
