"""A full disk: one clear line, nothing that runs is disturbed, edits still arrive, and everything goes on when there is room again."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import BOOKING, Mesh, need_namespaces, until

POD = 'apiVersion: v1\nkind: Pod\nmetadata: {name: late, namespace: booking}\nspec: {containers: [{name: c, image: x, command: [sleep, "1000"]}]}\n'
ROUTE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: teapot, namespace: booking}
spec: {hosts: [teapot.example], http: [{directResponse: {status: 418}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: teapot, namespace: booking}
spec: {hosts: [teapot.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 192.0.2.9}]}
"""


@pytest.fixture
def small() -> Iterator[Mesh]:
    """A mesh whose run and state folders lie on a small disk of their own."""
    need_namespaces()
    mesh = Mesh("full")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "lateen-test", str(mesh.home)], check=True)
    yaml = Path(f"{mesh.home}-yaml")
    try:
        shutil.copytree(BOOKING, yaml, ignore=shutil.ignore_patterns("image-map.yaml", "__pycache__"))
        yield mesh.start(yaml, options=("--image-map", str(BOOKING / "image-map.yaml")))
        assert mesh.stop() == 0
    finally:
        (mesh.home / "filler").unlink(missing_ok=True)
        mesh.close()
        subprocess.run(["umount", str(mesh.home)], check=True)
        mesh.home.rmdir()
        shutil.rmtree(yaml, ignore_errors=True)


def fill(path: Path) -> None:
    """Takes all the room there is."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue


@pytest.mark.live
def test_a_full_disk_disturbs_nothing_and_is_told(small: Mesh) -> None:
    yaml, before = Path(f"{small.home}-yaml"), small.pod_pids()
    fill(small.home / "filler")
    until(lambda: small.said("no room on the disk of"), 60, "the full disk is told")
    assert small.curl("http://booking:8080/book")[0] == 200
    (yaml / "route.yaml").write_text(ROUTE)
    until(lambda: small.curl("http://teapot.example/")[0] == 418, 60, "an edit arrives")
    (yaml / "late.yaml").write_text(POD)
    until(lambda: small.said("No space left on device"), 60, "the pod that has no room says so")
    for daemon in ("node", "control"):
        dead = small.pid(daemon)
        os.kill(dead, signal.SIGKILL)
        until(lambda daemon=daemon, dead=dead: small.pid(daemon) != dead, 60, f"{daemon} is started again")
        assert small.curl("http://booking:8080/book")[0] == 200
    assert small.up_process is not None and small.up_process.poll() is None
    (small.home / "filler").unlink()
    until(lambda: small.said("there is room again"), 60, "the room is told")
    until(lambda: small.is_ready() and "booking/late" in small.pod_pids(), 90, "everything runs, the late pod too")
    after = small.pod_pids()
    assert {name: after[name] for name in before} == before
    assert small.curl("http://booking:8080/book")[0] == 200
