"""Rolling restarts under load: what `test_rolling` does a few times in CI, and `./run soak` a hundred times."""

import time
from collections.abc import Callable

from tests.live.harness import BOOKING, Load, Mesh, copied, rewrite, until

FILES = {"booking": ("booking-v1",), "inventory": ("inventory-v1",), "payment": ("payment-v1", "payment-v2"), "ledger": ("ledger-v1",)}
"""Of the booking sample: file → its Deployments. HTTP, gRPC, HTTP by subset, and TCP: one booking reaches them all."""
WORKLOADS = [(file, name) for file, names in FILES.items() for name in names]
GRACE = "terminationGracePeriodSeconds: "
TURN_S = 90.0
URL = "http://booking:8080/book"


def restart_all(mesh: Mesh, count: int, told: Callable[[str], None] = lambda _: None) -> list[dict]:
    """The booking sample, of which `count` times a workload is replaced: a round of commands, a round of edits, and so on.

    Meanwhile bookings are made over new and over lasting connections. Returns what the loads counted; fails if any request did.
    """
    folder = copied(mesh)
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    limit = ("--longest", str(TURN_S * (count + 1)))
    loads = [Load(mesh, URL, options=("--threads", "2", *limit)), Load(mesh, URL, options=("--threads", "1", "--keep", *limit))]
    for load in loads:
        until(lambda load=load: load.done() >= 50, 60, "the load runs")
    for turn in range(count):
        (file, workload), began = WORKLOADS[turn % len(WORKLOADS)], time.monotonic()
        if turn // len(WORKLOADS) % 2 == 0:
            done = mesh.lateen("restart", f"deploy/{workload}", "-n", "booking", timeout_s=300)
            assert done.returncode == 0, done.stderr
        else:
            edit(mesh, folder / f"{file}.yaml", FILES[file])
        told(f"{turn + 1}/{count} {workload}: replaced in {time.monotonic() - began:.1f} s, {sum(load.done() for load in loads)} requests")
    return [load.flawless(120) for load in loads]


def edit(mesh, path, workloads) -> None:
    """Changes the pod templates of a file, and waits until nothing but new pods is there."""
    before = {name for workload in workloads for name in pods(mesh, workload)}
    old, new = ("5", "6") if f"{GRACE}5" in path.read_text() else ("6", "5")
    rewrite(path, GRACE + old, GRACE + new)
    for workload in workloads:

        def is_replaced(workload=workload) -> bool:
            now = pods(mesh, workload)
            return bool(now) and not before & set(now) and all(now.values())

        until(is_replaced, TURN_S, f"{workload} is replaced")


def pods(mesh: Mesh, workload: str) -> dict[str, bool]:
    """Name → whether it is ready, of the pods of a Deployment."""
    return {item["name"]: item["ready"] == "2/2" for item in mesh.json("ps")["pods"] if item["name"].rsplit("-", 2)[0] == workload}
