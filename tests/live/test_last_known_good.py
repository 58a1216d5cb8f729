"""Envoys that start while control is away serve what they last had, and take up with control when it is back; and nobody notices a dead node."""

import os
import signal

from tests.live.harness import BOOKING, Load, Mesh, copied, until

ROUTE = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: after, namespace: booking}
spec:
  hosts: [payment]
  http:
    - match: [{uri: {exact: /after}}]
      directResponse: {status: 299}
    - route: [{destination: {host: payment}}]
"""


def envoys(mesh: Mesh) -> dict[str, int]:
    """Pod → pid of its Envoy."""
    return {pod: pids[-1] for pod, pids in mesh.pod_pids().items()}


def test_envoys_restarted_without_control_serve(mesh: Mesh) -> None:
    folder = copied(mesh)
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    before = envoys(mesh)
    up, control = mesh.pid("up"), mesh.pid("control")
    os.kill(up, signal.SIGSTOP)  # so that it can't bring control back
    try:
        os.kill(control, signal.SIGKILL)
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not set(before.values()) & set(envoys(mesh).values()), 60, "the node has new Envoys")
        until(lambda: mesh.curl("http://booking:8080/book")[0] == 200, 60, "an answer through both new Envoys")
        assert mesh.curl("http://payment.booking.svc.cluster.local:8080/version")[0] == 200
    finally:
        os.kill(up, signal.SIGCONT)
    until(lambda: mesh.pid("control") != control and mesh.is_ready(), 60, "control is back")
    served = envoys(mesh)
    (folder / "after.yaml").write_text(ROUTE)
    until(lambda: mesh.curl("http://payment:8080/after")[0] == 299, 60, "an edit reaches the Envoys that started without control")
    assert mesh.curl("http://booking:8080/book")[0] == 200
    assert envoys(mesh) == served


def test_requests_do_not_notice_a_dead_node(mesh: Mesh) -> None:
    """Names of Services are looked up and connections made while the node is dead."""
    mesh.start(copied(mesh), options=("--image-map", str(BOOKING / "image-map.yaml")))
    before = mesh.pod_pids()
    load = Load(mesh, "http://payment:8080/version")
    until(lambda: load.done() >= 50, 60, "the load runs")
    up, node = mesh.pid("up"), mesh.pid("node")
    os.kill(up, signal.SIGSTOP)  # so that it can't bring the node back
    try:
        os.kill(node, signal.SIGKILL)
        reached = load.done()
        until(lambda: load.done() >= reached + 300, 60, "requests without a node")
    finally:
        os.kill(up, signal.SIGCONT)
    until(lambda: mesh.pid("node") != node and mesh.is_ready(), 60, "the node is back")
    reached = load.done()
    until(lambda: load.done() >= reached + 100, 60, "requests after it")
    result = load.result()
    assert result["failed"] == {} and result["ok"] > 400
    assert mesh.pod_pids() == before
