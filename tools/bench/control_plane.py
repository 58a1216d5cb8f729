"""Figures of control alone: cold builds, memory, and endpoint changes to simulated proxies."""

import contextlib
import json
import math
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
PUSHES = 15
SIZES, BUILDS = (500, 1000, 2000, 4000), 3
CALM_S = 6.0
"""After a storm control gives memory back within a few seconds."""
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


def _file_mb(pid: int) -> float:
    """Of the resident memory, what is mapped from files: the code of libraries, which processes of a machine share."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[2]) * 4096 / 1e6


def _peak_mb(pid: int) -> float:
    """The most that was ever resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


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


@contextlib.contextmanager
def crowd(folder: Path, port: int, clients: int, views: int) -> Iterator["subprocess.Popen[str]"]:
    """Simulated proxies of so many views, which hold everything. RuntimeError: they did not get it in time."""
    certificates = folder.parent / "certificates"
    environment = os.environ | {"LATEEN_RUN": str(folder.parent / "run"), "LATEEN_STATE": str(folder.parent / "state")}
    for view in range(views):
        argv = [sys.executable, "-m", "lateen", "ca", "issue", f"ns{view}/default", "--out", str(certificates / f"ns{view}"), "--name", "bench"]
        subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=60)
    program = [sys.executable, "-m", "tools.bench.clients", str(port), str(clients), str(views), str(certificates)]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the clients did not get everything in time")
        yield process
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(30)


def build() -> Figures:
    """Cold build: control's CPU until one proxy has all of a mesh of so many services, memory, and the exponent of its growth (1: linear)."""
    runs: dict[int, list[tuple[float, float]]] = {count: [] for count in (1, *SIZES)}
    for _ in range(BUILDS):
        for count, found in runs.items():
            with control(count, 20) as (process, folder, port, _), crowd(folder, port, 1, 1):
                found.append((cpu_s(process.pid), rss_mb(process.pid)))
            stage(f"{count} services × {ENDPOINTS} endpoints: {found[-1][0]:.2f} s of CPU, {found[-1][1]:.0f} MB")
    cpu = {count: median(run[0] for run in found) for count, found in runs.items()}
    figures: Figures = {"empty_cpu_s": round(cpu[1], 2)}
    for count in SIZES:
        figures[f"{count}_services"] = {"cpu_s": round(cpu[count] - cpu[1], 2), "rss_mb": round(median(run[1] for run in runs[count]))}
    first, last = SIZES[0], SIZES[-1]
    figures["growth_exponent"] = round(math.log((cpu[last] - cpu[1]) / (cpu[first] - cpu[1])) / math.log(last / first), 2)
    return figures


def push(clients: int = 500, views: int = 20, count: int = 1000) -> Figures:
    """One endpoint changes: until it is at each of `clients` proxies, from the file's change on; server CPU per push and acknowledgement."""
    with control(count, views) as (process, folder, port, ready_s):
        pid = process.pid
        found: Figures = {"clients": clients, "views": views, "services": count, "ready_s": round(ready_s, 2), "rss_mb_without_clients": round(rss_mb(pid))}
        stage(f"control is ready in {ready_s:.1f} s; {clients} clients connect")
        began, cpu = time.monotonic(), cpu_s(pid)
        with crowd(folder, port, clients, views) as proxies:
            found |= {"sync_s": round(time.monotonic() - began, 1), "sync_cpu_s": round(cpu_s(pid) - cpu, 1)}
            stage(f"all hold everything: {found}")
            time.sleep(CALM_S)
            found |= {"rss_mb": round(rss_mb(pid)), "of_it_shared_files_mb": round(_file_mb(pid)), "peak_rss_mb": round(_peak_mb(pid))}
            found |= _pushes(pid, folder, proxies, clients)
    return found


def _pushes(pid: int, folder: Path, crowd: "subprocess.Popen[str]", clients: int) -> Figures:
    firsts, medians, lasts, costs = [], [], [], []
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
        firsts.append(1000 * times[0])
        medians.append(1000 * times[len(times) // 2])
        lasts.append(1000 * times[-1])
        costs.append((cpu_s(pid) - cpu) * 1e6 / clients)
    return {
        "first_ms": round(median(firsts), 1),
        "p50_ms": round(median(medians), 1),
        "last_ms": round(median(lasts), 1),
        "cpu_us_per_push_and_ack": round(median(costs)),
        "file_rest_ms": 20,
    }
