"""Figures of a whole mesh on this machine: start, edits, endpoint changes, memory of a pod, the price of two proxies."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median

from tests.live.harness import BOOKING, Mesh, copied, rewrite, until
from tools.bench.control_plane import Figures, stage

STARTS, EDITS, CALLS = 3, 15, 200


def start() -> Figures:
    """`lateen up samples/booking` until the first request through the ingress and two hops of mutual TLS is answered."""
    runs = []
    for _ in range(STARTS):
        mesh = Mesh("m")
        try:
            began = time.monotonic()
            mesh.start(BOOKING)
            ready_s = time.monotonic() - began
            until(lambda mesh=mesh: urllib.request.urlopen(f"{mesh.ingress()}/book", timeout=10).status == 200, 30, "an answer")
            runs.append((ready_s, time.monotonic() - began))
            stage(f"ready {ready_s:.2f} s, first answer {runs[-1][1]:.2f} s")
        finally:
            mesh.close()
    return {"ready_s": round(median(run[0] for run in runs), 2), "first_answer_s": round(median(run[1] for run in runs), 2)}


def edit() -> Figures:
    """An edited route until every proxy has acknowledged it (what `up` prints), and until the client in a pod sees it."""
    mesh = Mesh("m")
    try:
        folder = copied(mesh)
        mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
        watcher = _watch(mesh)
        effects, told = [], []
        version = "v1"
        text = (folder / "mesh.yaml").read_text()
        for _ in range(EDITS):
            version = "v2" if version == "v1" else "v1"
            weights = ("0", "100") if version == "v2" else ("100", "0")
            time.sleep(0.3)
            count, at = len(mesh.lines), time.time()
            (folder / "mesh.yaml").write_text(text.replace("weight: 90", f"weight: {weights[0]}").replace("weight: 10\n", f"weight: {weights[1]}\n"))
            seen = next(when for when, which in watcher if when > at and which == version)
            effects.append(1000 * (seen - at))
            until(lambda count=count: any("live on" in line for line in mesh.lines[count:]), 20, "the line")
            told += [float(ms) for line in mesh.lines[count:] for ms in re.findall(r"in (\d+) ms", line)]
        watcher.close()
        return {"edit_to_effect_ms": round(median(effects), 1), "edit_to_ack_ms": round(median(told), 1), "proxies": 6}
    finally:
        mesh.close()


def _watch(mesh: Mesh):  # yields (time, version) for ever
    program = (
        "import http.client, json, time\n"
        "while True:\n"
        " c = http.client.HTTPConnection('payment', 8080, timeout=5)\n"
        " for _ in range(50):\n"
        "  c.request('GET', '/version'); v = json.load(c.getresponse())['version']; print(time.time(), v, flush=True); time.sleep(0.002)\n"
        " c.close()\n"
    )
    argv = [
        sys.executable,
        "-m",
        "lateen",
        "exec",
        "--name",
        mesh.name,
        "-n",
        "booking",
        "deploy/client",
        "--",
        "timeout",
        "120",
        sys.executable,
        "-c",
        program,
    ]
    process = subprocess.Popen(argv, env=mesh.environment, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            when, _, version = line.strip().partition(" ")
            yield float(when), version
    finally:
        process.kill()
        process.wait()


def memory() -> Figures:
    """Private memory of the proxies in meshes of 6 and of 16 pods: what one pod costs (slope) and the intercept."""
    points = []
    for replicas in (1, 11):
        mesh = Mesh("m")
        try:
            folder = copied(mesh)
            rewrite(folder / "client.yaml", "replicas: 1", f"replicas: {replicas}")
            mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
            envoys = [json.loads(path.read_text()).get("envoy") for path in (mesh.run / "pods").glob("*/state.json")]
            private = [_private_mb(one["pid"]) for one in envoys if one]
            daemons = {name: _private_mb(mesh.pid(name)) for name in ("control", "node")}
            points.append((len(private), median(private), daemons))
            stage(f"{len(private)} pods: {median(private):.1f} MB private per proxy, {daemons}")
        finally:
            mesh.close()
    pods = points[1][0] - points[0][0]
    return {
        "private_mb_per_proxy": round(points[1][1], 1),
        "node_mb_per_pod": round((points[1][2]["node"] - points[0][2]["node"]) / pods, 2),
        "control_mb_per_pod": round((points[1][2]["control"] - points[0][2]["control"]) / pods, 2),
        "node_mb": round(points[0][2]["node"], 1),
        "control_mb": round(points[0][2]["control"], 1),
    }


def _private_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kilobytes) for kilobytes in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", text, re.M)) / 1000


def hops() -> Figures:
    """Latency of a call through two proxies against one without, in pairs from the same pod; the ratio and both medians."""
    mesh = Mesh("m")
    try:
        folder = copied(mesh)
        (folder / "plain.yaml").write_text(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: plain, namespace: booking, labels: {app: plain, sidecar.istio.io/inject: 'false'}}\n"
            "spec: {containers: [{name: plain, image: 'lateen/payment:1.0', ports: [{containerPort: 8080}]}]}\n"
            "---\napiVersion: v1\nkind: Pod\nmetadata: {name: bare, namespace: booking, labels: {app: bare, sidecar.istio.io/inject: 'false'}}\n"
            "spec: {containers: [{name: bare, image: x, command: [sleep, infinity]}]}\n"
        )
        mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
        address = next(pod["ip"] for pod in mesh.json("ps")["pods"] if pod["name"] == "plain")
        program = (
            "import http.client, json, sys, time\n"
            "c = http.client.HTTPConnection(sys.argv[1], 8080, timeout=5)\n"
            f"found = []\nfor _ in range({CALLS}):\n t = time.perf_counter(); c.request('GET', '/version'); c.getresponse().read()\n"
            " found.append(time.perf_counter() - t)\n"
            "print(json.dumps(sorted(found)[len(found) // 2] * 1000))\n"
        )
        pairs = []
        for _ in range(5):
            meshed = float(mesh.exec("deploy/client", sys.executable, "-c", program, "payment").stdout)
            direct = float(mesh.exec("bare", sys.executable, "-c", program, address).stdout)
            pairs.append((meshed, direct))
        ratios = [meshed / direct for meshed, direct in pairs]
        return {"meshed_ms": round(median(p[0] for p in pairs), 2), "direct_ms": round(median(p[1] for p in pairs), 2), "ratio": round(median(ratios), 2)}
    finally:
        mesh.close()
