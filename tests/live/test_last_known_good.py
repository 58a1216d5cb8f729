"""Envoys that start while control is away serve what they last had, and take up with control when it is back."""

import os
import signal

from tests.live.harness import BOOKING, Mesh, copied, until

AIM_S = 3.0
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
        until(lambda: not set(before.values()) & set(envoys(mesh).values()), 5 * AIM_S, "the node has new Envoys")
        until(lambda: mesh.curl("http://booking:8080/book")[0] == 200, 5 * AIM_S, "an answer through both new Envoys")
        assert mesh.curl("http://payment.booking.svc.cluster.local:8080/version")[0] == 200
    finally:
        os.kill(up, signal.SIGCONT)
    until(lambda: mesh.pid("control") != control and mesh.is_ready(), 60, "control is back")
    served = envoys(mesh)
    (folder / "after.yaml").write_text(ROUTE)
    until(lambda: mesh.curl("http://payment:8080/after")[0] == 299, 60, "an edit reaches the Envoys that started without control")
    assert mesh.curl("http://booking:8080/book")[0] == 200
    assert envoys(mesh) == served
