"""Bad input names its place and never disturbs what works."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.harness import BOOKING, ROOT, Mesh, copied, until

BAD = {
    "broken yaml": ("a: [1,\nb: }\n", "bad.yaml:2"),
    "brackets": ("[" * 80_000, "bad.yaml:1"),
    "unknown kind": (
        "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: x, namespace: booking}\nspec: {hosts: [x]}\n",
        "did you mean `VirtualService`",
    ),
    "unknown field": (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: booking}\nspec:\n  hosts: [x]\n  http:\n  - rout: [{destination: {host: x}}]\n",
        "bad.yaml:7",
    ),
    "wrong type": (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: booking}\nspec:\n  hosts: [x]\n  http:\n  - route: [{destination: {host: x}, weight: heavy}]\n",
        "weight",
    ),
}

VIRTUAL_SERVICE = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x, namespace: booking}}\nspec:\n  hosts: [ledger]\n  http:\n  - route: [{{destination: {to}}}]\n"
GATEWAY = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: booking}\nspec:\n  selector: {istio: ingressgateway}\n  servers:\n  - {port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}\n"
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: clash, namespace: booking}\nspec:\n  ports:\n  - {name: http, port: 80}\n  - {name: grpc, port: 80}\n"
)
TOGETHER = {
    "missing host": (VIRTUAL_SERVICE.format(to="{host: paymnt}"), "bad.yaml:7:34", "did you mean `payment`", 1),
    "missing subset": (VIRTUAL_SERVICE.format(to="{host: payment, subset: v3}"), "bad.yaml:7:", "no DestinationRule of the host defines this subset: `v3`", 1),
    "missing port": (VIRTUAL_SERVICE.format(to="{host: payment, port: {number: 81}}"), "bad.yaml:7:", "the service has no such port: `81`", 1),
    "ports clash": (SERVICE, "bad.yaml:7:", "twice in one Service: 80", 1),
    "protocols clash": (GATEWAY, "bad.yaml:7:", "port 80 already speaks http", 0),
}
"""What is wrong only beside the sample: text, place, words, exit code."""
FILES = {
    "empty": (b"", "info [LTN0110] the file is empty", 0),
    "not text": (b"\xff\xfe\x00kind", "error [LTN0110] not text in UTF-8", 1),
    "half-written": (b'{"apiVersion": "v1", "kind": "Service", "metadata"', "error [LTN0101] not YAML", 1),
}


@pytest.mark.parametrize("what", TOGETHER)
def test_what_is_wrong_together_names_its_place(what: str, tmp_path: Path) -> None:
    text, place, words, code = TOGETHER[what]
    for path in BOOKING.glob("*.yaml"):
        if path.name != "image-map.yaml":
            (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "bad.yaml").write_text(text)
    done = subprocess.run([sys.executable, "-m", "lateen", "validate", "-f", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert [line for line in done.stdout.splitlines() if place in line and words in line], done.stdout
    assert done.returncode == code


@pytest.mark.parametrize("what", FILES)
def test_files_that_are_none(what: str, tmp_path: Path) -> None:
    content, words, code = FILES[what]
    (tmp_path / "bad.yaml").write_bytes(content)
    done = subprocess.run([sys.executable, "-m", "lateen", "validate", "-f", str(tmp_path / "bad.yaml")], capture_output=True, text=True, timeout=60)
    assert words in done.stdout and done.returncode == code


def test_a_file_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").symlink_to("/nowhere/at/all")
    done = subprocess.run([sys.executable, "-m", "lateen", "validate", "-f", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert "bad.yaml: error [LTN0110] cannot be read: no such file or directory" in done.stdout and done.returncode == 1


@pytest.mark.parametrize("what", BAD)
def test_validate_names_the_place(what: str, tmp_path: Path) -> None:
    text, expected = BAD[what]
    (tmp_path / "bad.yaml").write_text(text)
    done = subprocess.run([sys.executable, "-m", "lateen", "validate", "-f", str(tmp_path / "bad.yaml")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert expected in done.stdout + done.stderr


def test_bad_edits_disturb_nothing(mesh: Mesh) -> None:
    folder = copied(mesh)
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    good = (folder / "mesh.yaml").read_text()
    for what, (text, expected) in BAD.items():
        (folder / "bad.yaml").write_text(text)
        until(lambda expected=expected: mesh.said(expected), 60, f"{what}: {expected}")
        assert mesh.curl("http://booking:8080/book")[0] == 200, what
    (folder / "bad.yaml").unlink()
    (folder / "mesh.yaml").write_text("")  # half-written
    (folder / "mesh.yaml").write_text(good[: len(good) // 2] + "\n  - [")
    until(lambda: mesh.said("mesh.yaml:"), 60, "the half-written file is reported")
    for _ in range(5):
        assert '"v2"' in mesh.curl("http://payment:8080/version", "-H", "x-user: tester")[1]
    (folder / "mesh.yaml").write_text(good)
    assert mesh.curl("http://booking:8080/book")[0] == 200


def test_a_command_that_does_not_exist_and_one_that_dies_at_once(mesh: Mesh) -> None:
    folder = copied(mesh)
    (folder / "ghost.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: ghost, namespace: booking}\nspec:\n  containers: [{name: ghost, image: nobody/ghost:1, command: [no-such-program]}]\n"
    )
    (folder / "mayfly.yaml").write_text(
        'apiVersion: v1\nkind: Pod\nmetadata: {name: mayfly, namespace: booking}\nspec:\n  containers: [{name: c, image: x, command: [sh, -c, "echo no database; exit 3"]}]\n'
    )
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")), wait=False)
    until(lambda: mesh.said("no-such-program"), 60, "the missing command is named")
    until(lambda: mesh.said("Pod booking/mayfly: CrashLoopBackOff: it ended with 3; its last words: no database"), 60, "the dying process is told")
    until(lambda: mesh.curl("http://booking:8080/book")[0] == 200, 60, "the others run")


def test_paths_that_are_not_there() -> None:
    done = subprocess.run([sys.executable, "-m", "lateen", "up", "nowhere.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no such file" in done.stderr


def test_an_edit_is_judged_beside_what_runs(mesh: Mesh, tmp_path: Path) -> None:
    """One file alone names services that only the mesh has; `status` tells what is wrong with what is in force."""
    folder = copied(mesh)
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    edit = tmp_path / "edit.yaml"
    route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ledger, namespace: booking}\nspec:\n  hosts: [ledger]\n  tcp: [{route: [{destination: {host: %s}}]}]\n"
    edit.write_text(route % "ledger")
    assert "not among these files" in mesh.lateen("validate", "-f", str(edit)).stdout
    beside = mesh.lateen("validate", "--name", mesh.name, "-f", str(edit))
    assert (beside.returncode, beside.stdout) == (0, "")
    edit.write_text(route % "nobody")
    assert mesh.lateen("validate", "--name", mesh.name, "-f", str(edit)).returncode == 1
    (folder / "edit.yaml").write_text(route % "nobody")
    until(lambda: "no service has this host: `nobody`" in mesh.lateen("status").stdout, 60, "status names the missing host")


def test_a_demo_whose_port_is_taken_says_what_to_type_and_runs(mesh: Mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = [sys.executable, str(ROOT / "tools" / "demo.py"), "--once", "--name", mesh.name, "--publish", f"80={port}"]
        done = subprocess.run(argv, env=mesh.environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert f"no ingress came up: port {port} is taken by pid" in done.stdout and "./run demo --publish 80=PORT" in done.stdout
    assert "try, in another terminal" in done.stdout and "stopped; nothing is left" in done.stderr
    assert mesh.remains() == []
