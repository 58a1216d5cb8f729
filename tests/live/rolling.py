"""Rolling restarts under load: what `test_rolling` does a few times in CI, and `./run soak` a hundred times."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.live.harness import BOOKING, Load, Mesh, copied, rewrite, until

WORKLOADS = (
    ("istio-system", "", "istio-ingressgateway"),
    ("booking", "booking.yaml", "booking-v1"),
    ("booking", "inventory.yaml", "inventory-v1"),
    ("booking", "payment.yaml", "payment-v1"),
    ("plain", "plain.yaml", "unmeshed"),
    ("booking", "payment.yaml", "payment-v2"),
    ("booking", "ledger.yaml", "ledger-v1"),
)
"""Namespace, file (none: the mesh made it up), Deployment. A gateway, HTTP, gRPC, HTTP by subset, a service without proxies, and TCP."""
EXTRA = {
    "slow.yaml": """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: slow, namespace: booking}
spec:
  hosts: [slow.example]
  gateways: [booking-gateway]
  http:
  - fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}
    route: [{destination: {host: booking, port: {number: 8080}}}]
""",
    "retries.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "defaultHttpRetryPolicy: {attempts: 0}"}
""",
    "plain.yaml": """
apiVersion: v1
kind: Namespace
metadata: {name: plain, labels: {istio-injection: disabled}}
---
apiVersion: v1
kind: Service
metadata: {name: unmeshed, namespace: plain}
spec: {selector: {app: unmeshed}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: unmeshed, namespace: plain}
spec:
  selector: {matchLabels: {app: unmeshed}}
  template:
    metadata: {labels: {app: unmeshed}}
    spec:
      terminationGracePeriodSeconds: 5
      containers: [{name: payment, image: "lateen/payment:1.0", ports: [{containerPort: 8080}], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]
""",
}
"""Beside the sample. Nobody tries again: a request that fails is seen."""
GRACE = "terminationGracePeriodSeconds: "
TURN_S = 90.0


def restart_all(mesh: Mesh, count: int, told: Callable[[str], None] = lambda _: None) -> int:
    """The booking sample, of which `count` times a workload is replaced: a round of commands, a round of edits, and so on.

    Meanwhile requests are made over new and over lasting connections, from a pod and through the gateway, some of which take two seconds. Returns how many;
    fails if any of them did.
    """
    folder = copied(mesh)
    for name, text in EXTRA.items():
        (folder / name).write_text(text)
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    loads = begun(mesh, TURN_S * (count + 1))
    for turn in range(count):
        (namespace, file, workload), began = WORKLOADS[turn % len(WORKLOADS)], time.monotonic()
        if file and turn // len(WORKLOADS) % 2:
            edit(mesh, folder / file)
        else:
            done = mesh.lateen("restart", f"deploy/{workload}", "-n", namespace, timeout_s=300)
            assert done.returncode == 0, done.stderr
        told(f"{turn + 1}/{count} {workload}: replaced in {time.monotonic() - began:.1f} s, {sum(load.done() for load in loads)} requests")
    return sum(load.flawless(120)["ok"] for load in loads)


def begun(mesh: Mesh, longest_s: float) -> list[Load]:
    """The loads, running."""
    options = ("--threads", "1", "--longest", str(longest_s), "--pause", "0.002")
    inside, outside = "http://booking:8080/book", f"{mesh.ingress()}/book"
    loads = [Load(mesh, inside, options=options), Load(mesh, inside, options=(*options, "--keep"))]
    loads += [Load(mesh, "http://unmeshed.plain:8080/version", options=options)]
    loads += [Load(mesh, outside, target="", options=options), Load(mesh, outside, target="", options=(*options, "--keep"))]
    for load in loads:
        until(lambda load=load: load.done() >= 50, 60, "the load runs")
    slow = ("--threads", "4", "--longest", str(longest_s), "--header", "host:slow.example")  # a gateway that ends has some of these under way
    return [*loads, Load(mesh, mesh.ingress(), target="", options=slow)]


def edit(mesh: Mesh, path: Path) -> None:
    """Changes the pod templates of a file, and waits until nothing but new pods is there."""
    workloads = [workload for _, file, workload in WORKLOADS if file == path.name]
    before = {name for workload in workloads for name in pods(mesh, workload)}
    old, new = ("5", "6") if f"{GRACE}5" in path.read_text() else ("6", "5")
    rewrite(path, GRACE + old, GRACE + new)
    for workload in workloads:

        def is_replaced(workload: str = workload) -> bool:
            now = pods(mesh, workload)
            return bool(now) and not before & set(now) and all(now.values())

        until(is_replaced, TURN_S, f"{workload} is replaced")


def pods(mesh: Mesh, workload: str) -> dict[str, bool]:
    """Name → whether it is ready, of the pods of a Deployment."""
    found = [item for item in mesh.json("ps")["pods"] if item["name"].rsplit("-", 2)[0] == workload]
    return {item["name"]: item["ready"].split("/")[0] == item["ready"].split("/")[1] for item in found}
