"""Pods with `inject.istio.io/templates: grpc-agent`: no Envoy beside them, an unmodified grpcio in them that does what the objects say."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import Mesh, need_namespaces, rewrite, until

FOLDER = Path(__file__).parent / "proxyless"
APP = Path(__file__).parents[1] / "control" / "proxyless" / "app.py"
LIFE_S = 40
"""Of the certificates of this mesh."""
ECHO, SECURE = "xds:///echo.plain.svc.cluster.local:7070", "xds:///secure:7070"


class Client:
    """`app.py client` in a pod: one process, whose channels stay."""

    def __init__(self, mesh: Mesh, *options: str, target: str = "deploy/client") -> None:
        argv = [sys.executable, "-m", "lateen", "exec", "--name", mesh.name, "-n", "plain", target, "--", sys.executable, str(APP), "client", *options]
        self.began = time.monotonic()
        self.process = subprocess.Popen(argv, env=mesh.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, target: str = ECHO, **asked: object) -> dict:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"target": target, **asked}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    need_namespaces()
    made = Mesh("plain")
    try:
        shutil.copy(FOLDER / "mesh.yaml", made.home / "mesh.yaml")
        yield made.start(made.home / "mesh.yaml", options=("--image-map", str(FOLDER / "image-map.yaml")))
    finally:
        made.close()


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Iterator[Client]:
    made = Client(mesh)
    yield made
    made.close()


@pytest.fixture(scope="module")
def mutual(mesh: Mesh) -> Iterator[Client]:
    made = Client(mesh, "--xds")
    yield made
    made.close()


def test_no_envoy_stands_beside_them(mesh: Mesh) -> None:
    rows = {row["name"].rsplit("-", 2)[0]: row for row in mesh.json("ps")["pods"]}
    assert (rows["client"]["ready"], rows["echo-v1"]["ready"], rows["secure"]["ready"]) == ("1/1", "1/1", "2/2")
    state = json.loads(next((mesh.run / "pods").glob("plain.client-*/state.json")).read_text())
    assert state["envoy"] == {} and state["containers"][0]["env"]["GRPC_XDS_BOOTSTRAP"] == "/etc/istio/proxy/grpc-bootstrap.json"
    done = mesh.lateen("proxy-config", "cluster", "deploy/client", "-n", "plain")
    assert done.returncode == 1 and "gRPC" in done.stderr


def test_routes_subsets_faults_retries_and_limits(client: Client) -> None:
    split = client.ask(calls=1000)
    assert split["codes"] == {} and abs(split["names"]["v1"] / 1000 - 0.8) < 0.1, split
    delayed = client.ask(metadata={"kind": "slow"})
    assert delayed["names"] == {"v1": 1} and delayed["last"]["seconds"] >= 0.5
    assert client.ask(calls=3, metadata={"kind": "bad"})["codes"] == {"ABORTED": 3}
    again = client.ask(metadata={"kind": "again", "fail-until": "2"})
    assert next(iter(again["names"])).startswith("echo-v2-") and again["last"]["attempts"] == "2"
    broken = client.ask(calls=12, parallel=12, metadata={"kind": "again", "hold": "4"})
    assert sum(broken["names"].values()) == 5 and broken["codes"] == {"UNAVAILABLE": 7}


def test_a_header_s_hash_chooses_the_endpoint(client: Client) -> None:
    """Each of 60 users stays with one, and each of two endpoints has some: by a ring of 1024 places, none has all in 1 of 2^50 runs."""
    homes = []
    for user in range(60):
        found = client.ask("xds:///ring:7070", calls=4, wait=True, metadata={"x-user": f"user-{user}"})
        assert found["codes"] == {} and len(found["names"]) == 1, found
        homes += found["names"]
    assert len(set(homes)) == 2


def test_a_sidecar_under_strict_is_called_with_mutual_tls(mesh: Mesh, client: Client, mutual: Client) -> None:
    found = mutual.ask(SECURE, calls=3)
    assert found["names"] == {"secure": 3}, found
    assert mutual.ask(ECHO, calls=3)["codes"] == {}
    assert client.ask(SECURE, timeout=5)["names"] == {}
    proxied = Client(mesh, target="deploy/proxied")
    try:
        assert set(proxied.ask("dns:///echo.plain.svc.cluster.local:7070", calls=150)["names"]) > {"v1"}
    finally:
        proxied.close()


def test_endpoints_are_followed_without_a_failed_call(mesh: Mesh, client: Client) -> None:
    rewrite(
        mesh.home / "mesh.yaml",
        "metadata: {name: echo-v2, namespace: plain}\nspec:\n  replicas: 1",
        "metadata: {name: echo-v2, namespace: plain}\nspec:\n  replicas: 2",
    )

    def both() -> bool:
        found = client.ask(calls=8, metadata={"kind": "again"})
        assert found["codes"] == {}
        return len(found["names"]) == 2

    until(both, 60, "the second endpoint is called")


def test_control_may_die(mesh: Mesh, client: Client) -> None:
    """What runs goes on; a process that starts meanwhile gets what the node last saw accepted."""
    up, control = mesh.pid("up"), mesh.pid("control")
    os.kill(up, signal.SIGSTOP)  # or it would start control anew at once
    try:
        os.kill(control, signal.SIGKILL)
        assert client.ask(calls=200)["codes"] == {}
        newcomer = Client(mesh)
        try:
            found = newcomer.ask(calls=50, timeout=30, wait=True)
            assert found["codes"] == {} and found["names"]["v1"] > 20, found
        finally:
            newcomer.close()
    finally:
        os.kill(up, signal.SIGCONT)
    until(mesh.is_ready, 60, "control is back")
    rewrite(mesh.home / "mesh.yaml", "subset: v1}, weight: 80}, {destination: {host: echo, subset: v2}, weight: 20}", "subset: v1}}")
    until(lambda: client.ask(calls=30)["names"] == {"v1": 30}, 60, "an edit is live at a client that lived through it")


def test_the_node_may_die(mesh: Mesh, client: Client) -> None:
    """`up` starts another one, which takes the pods over; clients find it at the same place."""
    before, node = mesh.pod_pids(), mesh.pid("node")
    os.kill(node, signal.SIGKILL)
    assert client.ask(calls=100)["codes"] == {}
    until(lambda: mesh.pid("node") != node and mesh.is_ready(), 60, "another node")
    rewrite(mesh.home / "mesh.yaml", "route: [{destination: {host: echo, subset: v1}}]\n---", "route: [{destination: {host: echo, subset: v2}}]\n---")
    until(lambda: "v1" not in client.ask(calls=30)["names"], 60, "an edit is live at a client that lived through it")
    assert mesh.pod_pids() == before


def test_certificates_are_followed(mesh: Mesh, mutual: Client) -> None:
    """The one that the client began with is past its life when it connects anew, under STRICT, to a pod that is new."""
    until(lambda: time.monotonic() > mutual.began + LIFE_S + 2, LIFE_S + 60, "its first certificate is past its life")
    done = mesh.lateen("restart", "deploy/secure", "-n", "plain", timeout_s=300)
    assert done.returncode == 0, done.stderr
    until(lambda: mutual.ask(SECURE, calls=3, timeout=5)["names"] == {"secure": 3}, 60, "the new pod answers")
