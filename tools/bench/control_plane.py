"""Figures of control alone: cold builds, memory, and endpoint changes to simulated proxies."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tools.bench.mesh_yaml import endpoint_slice, services

ENDPOINTS = 10
PUSHES = 9
START_TIMEOUT_S = 120
Figures = dict[str, Any]  # JSON


def stage(text: str) -> None:
    """Says what goes on."""
    print(f"  {text}", file=sys.stderr, flush=True)


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, from its scheduler statistics (ns)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def rss_mb(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


@contextlib.contextmanager
def control(count: int, namespaces: int) -> Iterator[tuple[subprocess.Popen[bytes], Path, int, float]]:
    """A control over `count` services: process, folder of its YAML, TCP port, seconds until it was ready."""
    with tempfile.TemporaryDirectory(prefix="lateen-bench-") as home:
        folder = Path(home) / "files"
        folder.mkdir()
        (folder / "all.yaml").write_text(services(count, ENDPOINTS, namespaces))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = os.environ | {"LATEEN_RUN": f"{home}/run", "LATEEN_STATE": f"{home}/state"}
        argv = [sys.executable, "-m", "lateen", "control", str(folder), "--name", "bench", "--listen", f"127.0.0.1:{port}"]
        began = time.monotonic()
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert process.stdout
            for line in process.stdout:
                if b"is ready" in line:
                    break
            yield process, folder, port, time.monotonic() - began
        finally:
            process.terminate()
            process.wait(30)


def build() -> Figures:
    """Cold build at 500, 1000 and 2000 services: seconds until ready, memory, and the slope (1: linear)."""
    found: Figures = {}
    for count in (500, 1000, 2000):
        runs = []
        for _ in range(3):
            with control(count, 20) as (process, _, _, ready_s):
                runs.append((ready_s, rss_mb(process.pid)))
        found[f"{count}_services"] = {"ready_s": round(median(run[0] for run in runs), 2), "rss_mb": round(median(run[1] for run in runs))}
        stage(f"{count} services × {ENDPOINTS} endpoints: {found[f'{count}_services']}")
    found["slope_1000_to_2000"] = round(found["2000_services"]["ready_s"] / found["1000_services"]["ready_s"] / 2, 2)
    return found


def push(clients: int = 500, views: int = 20, count: int = 1000) -> Figures:
    """One endpoint changes: until the last byte is at each of `clients` proxies, from the file's change on; server CPU per push and acknowledgement."""
    with control(count, views) as (process, folder, port, ready_s):
        found: Figures = {
            "clients": clients,
            "views": views,
            "services": count,
            "ready_s": round(ready_s, 2),
            "rss_mb_without_clients": round(rss_mb(process.pid)),
        }
        certificates = folder.parent / "certificates"
        environment = os.environ | {"LATEEN_RUN": str(folder.parent / "run"), "LATEEN_STATE": str(folder.parent / "state")}
        for view in range(views):
            argv = [sys.executable, "-m", "lateen", "ca", "issue", f"ns{view}/default", "--out", str(certificates / f"ns{view}"), "--name", "bench"]
            subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=60)
        stage(f"control is ready in {ready_s:.1f} s; {clients} clients connect")
        program = [sys.executable, "-m", "tools.bench.clients", str(port), str(clients), str(views), str(certificates)]
        crowd = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert crowd.stdin and crowd.stdout
        try:
            began, cpu = time.monotonic(), cpu_s(process.pid)
            if crowd.stdout.readline().strip() != "ready":
                raise RuntimeError("the clients did not get everything in time")
            found |= {"sync_s": round(time.monotonic() - began, 1), "sync_cpu_s": round(cpu_s(process.pid) - cpu, 1), "rss_mb": round(rss_mb(process.pid))}
            stage(f"all hold everything: {found}")
            found |= _pushes(process.pid, folder, crowd, clients)
        finally:
            crowd.stdin.close()
            crowd.terminate()
            crowd.wait(30)
    return found


def _pushes(pid: int, folder: Path, crowd: "subprocess.Popen[str]", clients: int) -> Figures:
    medians, lasts, costs = [], [], []
    assert crowd.stdin and crowd.stdout
    for number in range(PUSHES):
        time.sleep(1.0)
        crowd.stdin.write("go\n")
        crowd.stdin.flush()
        crowd.stdout.readline()
        (folder / ".b").write_text(endpoint_slice(7, "ns7", number + 1))
        cpu, at = cpu_s(pid), time.time()
        (folder / ".b").rename(folder / "b.yaml")
        times = [moved - at for moved in json.loads(crowd.stdout.readline())]
        time.sleep(0.3)
        medians.append(1000 * times[len(times) // 2])
        lasts.append(1000 * times[-1])
        costs.append((cpu_s(pid) - cpu) * 1e6 / clients)
    return {"p50_ms": round(median(medians), 1), "last_ms": round(median(lasts), 1), "cpu_us_per_push_and_ack": round(median(costs)), "file_rest_ms": 20}
