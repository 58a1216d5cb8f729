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
from tools.bench.mesh_yaml import services

STARTS, EDITS, CALLS, CHANGES = 3, 15, 200, 25
SERVICES, SCOPE_SERVICES, PAIRS = 100, 1000, 5
REST_S = 3.0
FAR = """apiVersion: v1
kind: Service
metadata: {{name: far, namespace: booking}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: far-a, namespace: booking, labels: {{kubernetes.io/service-name: far}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: [{{addresses: [10.255.0.{last}], conditions: {{ready: true}}}}]
"""


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


def endpoint() -> Figures:
    """One endpoint changes under ten real Envoys: until the last has acknowledged it, from control's reading on (what `up` prints) and from the edit on."""
    mesh = Mesh("m")
    try:
        folder = copied(mesh)
        rewrite(folder / "client.yaml", "replicas: 1", "replicas: 4")
        far = folder / "far.yaml"
        far.write_text(FAR.format(last=1))
        mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
        told, seen, proxies = [], [], set()
        for number in range(CHANGES):
            time.sleep(0.3)
            count = len(mesh.lines)
            (folder / ".far").write_text(FAR.format(last=number + 2))
            at = time.monotonic()
            (folder / ".far").rename(far)
            until(lambda count=count: any("live on" in line for line in mesh.lines[count:]), 20, "the line")
            seen.append(1000 * (time.monotonic() - at))
            for of, ms in re.findall(r"live on \d+/(\d+) proxies in (\d+) ms", "".join(mesh.lines[count:])):
                proxies.add(int(of))
                told.append(int(ms))
        return {"proxies": max(proxies), "change_to_last_ack_ms": round(median(told), 1), "edit_to_line_ms": round(median(seen), 1), "file_rest_ms": 20}
    finally:
        mesh.close()


def memory() -> Figures:
    """Private memory: of a proxy by services (slope, and the intercept at none), of the daemons by pods (slope)."""
    base, pods, services = (_memory(*size) for size in ((1, 0), (11, 0), (1, SERVICES)))
    per_service = (services["proxy"] - base["proxy"]) / SERVICES
    more = pods["pods"] - base["pods"]
    return {
        "private_mb_per_proxy": round(base["proxy"], 1),
        "services": base["services"],
        "kb_per_service": round(1000 * per_service, 1),
        "proxy_intercept_mb": round(base["proxy"] - per_service * base["services"], 1),
        "node_mb_per_pod": round((pods["node"] - base["node"]) / more, 2),
        "control_mb_per_pod": round((pods["control"] - base["control"]) / more, 2),
        "node_mb": round(base["node"], 1),
        "control_mb": round(base["control"], 1),
    }


def _memory(replicas: int, extra: int) -> dict[str, float]:
    """A booking mesh with so many client pods and further services, at rest."""
    mesh = Mesh("m")
    try:
        folder = copied(mesh)
        rewrite(folder / "client.yaml", "replicas: 1", f"replicas: {replicas}")
        (folder / "more.yaml").write_text(services(extra, 3, 1) if extra else "")
        mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
        time.sleep(REST_S)
        envoys = [one["pid"] for path in (mesh.run / "pods").glob("*/state.json") if (one := json.loads(path.read_text()).get("envoy"))]
        found = {name: _private_mb(mesh.pid(name)) for name in ("control", "node")}
        found |= {"pods": len(envoys), "proxy": median(_private_mb(pid) for pid in envoys), "services": len(mesh.json("get", "service")["objects"]) - extra}
        stage(f"{len(envoys)} pods, {extra} further services: {found}")
        return found
    finally:
        mesh.close()


def scope() -> Figures:
    """A proxy among many services that calls none, in complete and in automatic scope by turns: private memory, and `up` until ready; medians."""
    runs: dict[str, list[float]] = {}
    for _ in range(PAIRS):
        for name in ("complete", "automatic"):
            ready_s, private_mb = _scoped(name)
            runs.setdefault(f"{name}_ready_s", []).append(ready_s)
            runs.setdefault(f"{name}_private_mb", []).append(private_mb)
            stage(f"{name}: ready in {ready_s:.2f} s, {private_mb:.1f} MB")
    saved = [complete - automatic for complete, automatic in zip(runs["complete_private_mb"], runs["automatic_private_mb"], strict=True)]
    return {
        "services": SCOPE_SERVICES,
        "pairs": PAIRS,
        **{name: round(median(values), 2) for name, values in runs.items()},
        "least_saved_mb": round(min(saved), 1),
        "most_saved_mb": round(max(saved), 1),
    }


def _scoped(name: str) -> tuple[float, float]:
    """Seconds until ready, and private megabytes of the client's Envoy at rest."""
    mesh = Mesh("m")
    try:
        folder = mesh.home / "yaml"
        folder.mkdir()
        for part in ("namespace.yaml", "client.yaml"):
            (folder / part).write_text((BOOKING / part).read_text())
        (folder / "more.yaml").write_text(services(SCOPE_SERVICES, 3, 4))
        began = time.monotonic()
        mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml"), "--scope", name))
        ready_s = time.monotonic() - began
        time.sleep(REST_S)
        state = next(one for path in (mesh.run / "pods").glob("*/state.json") if (one := json.loads(path.read_text()))["namespace"] == "booking")
        return ready_s, _private_mb(state["envoy"]["pid"])
    finally:
        mesh.close()


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
