"""The kill test: what dies must take nothing with it, and what is left must be adopted or removed."""

import os
import signal
import time

import pytest

from tests.live.harness import BOOKING, Load, Mesh, copied, until

REQUESTS = 3000
NO_RETRIES = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: booking-mesh, namespace: booking}
spec:
  hosts: [booking]
  http:
    - route: [{destination: {host: booking}}]
      retries: {attempts: 0}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: booking, namespace: booking}
spec:
  host: booking
  trafficPolicy:
    connectionPool: {http: {maxRequestsPerConnection: 1}}
"""


def test_requests_do_not_notice_a_dead_control(mesh: Mesh) -> None:
    """No retries; a new connection on both hops and a new lookup for each request; control is dead for the whole second half."""
    folder = copied(mesh)
    (folder / "no-retries.yaml").write_text(NO_RETRIES)
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    load = Load(mesh, "http://booking:8080/", REQUESTS)
    until(lambda: load.done() >= REQUESTS // 2, 200, "half of the requests")
    up, control = mesh.pid("up"), mesh.pid("control")
    os.kill(up, signal.SIGSTOP)  # so that it can't bring control back
    try:
        os.kill(control, signal.SIGKILL)
        result = load.result()
    finally:
        os.kill(up, signal.SIGCONT)
    assert result["failed"] == {} and result["ok"] == REQUESTS
    until(lambda: mesh.pid("control") != control and mesh.lateen("status").returncode in (0, 1), 60, "control is back")


@pytest.mark.parametrize("order", [("control", "node"), ("node", "control")])
def test_up_restarts_dead_daemons_and_adopts_pods(booking: Mesh, order: tuple[str, str]) -> None:
    pids = booking.pod_pids()
    for daemon in order:
        old = booking.pid(daemon)
        os.kill(old, signal.SIGKILL)
        until(lambda daemon=daemon, old=old: booking.pid(daemon) != old, 60, f"a new {daemon}")
    until(booking.is_ready, 60, "ready again")
    assert booking.pod_pids() == pids
    assert booking.curl("http://booking:8080/book")[0] == 200


@pytest.mark.parametrize("order", [("up", "node", "control"), ("control", "node", "up"), ("node", "up", "control")])
def test_next_up_adopts_after_everything_was_killed(mesh: Mesh, order: tuple[str, ...]) -> None:
    mesh.start(BOOKING)
    pids = mesh.pod_pids()
    victims = {daemon: mesh.pid(daemon) for daemon in order}
    for daemon in order:
        os.kill(victims[daemon], signal.SIGKILL)
    for daemon in ("control", "node"):  # `up` may have begun new ones before it died
        until(lambda daemon=daemon: not alive(victims[daemon]), 60, f"{daemon} is dead")
    mesh.up_process.wait(60)
    mesh.start(BOOKING)
    assert mesh.pod_pids() == pids
    assert mesh.curl("http://booking:8080/book")[0] == 200


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("way", ["ctrl-c", "down", "kill and down"])
def test_nothing_is_left(mesh: Mesh, way: str) -> None:
    mesh.start(BOOKING)
    assert mesh.remains()
    if way == "ctrl-c":
        assert mesh.stop() == 0
    elif way == "down":
        assert mesh.lateen("down", timeout_s=120).returncode == 0
        mesh.up_process.wait(60)
    else:
        for daemon in ("up", "node", "control"):
            os.kill(mesh.pid(daemon), signal.SIGKILL)
        time.sleep(0.2)
        assert mesh.lateen("down", timeout_s=120).returncode == 0
    until(lambda: not mesh.remains(), 60, "nothing remains")
    assert mesh.remains() == []


def test_a_name_that_is_up_is_refused(booking: Mesh) -> None:
    done = booking.lateen("up", str(BOOKING))
    assert done.returncode == 1
    assert "already up" in done.stderr and len(done.stderr.strip().splitlines()) == 1
