"""Traffic through the booking sample: weights, headers, strictness, names."""

import json
import subprocess

from tests.live.harness import BOOKING, Load, Mesh, copied, rewrite


def test_weights_hold(mesh: Mesh) -> None:
    folder = copied(mesh)
    rewrite(folder / "mesh.yaml", "weight: 90", "weight: 80")
    rewrite(folder / "mesh.yaml", "weight: 10", "weight: 20")
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    result = Load(mesh, "http://payment:8080/version", 4000, options=("--threads", "8")).result()
    assert result["failed"] == {}
    share = 100 * sum(count for body, count in result["bodies"].items() if json.loads(body)["version"] == "v2") / 4000
    assert 15 <= share <= 25  # standard deviation 0.6


def test_a_header_chooses(booking: Mesh) -> None:
    for _ in range(10):
        status, body = booking.curl("http://payment:8080/version", "-H", "x-user: tester")
        assert (status, json.loads(body)["version"]) == (200, "v2")


def test_plaintext_is_refused_under_strict(booking: Mesh) -> None:
    """From this machine straight to the pod: no mesh certificate, no answer."""
    pod = next(item for item in booking.json("ps")["pods"] if item["name"].startswith("payment-v1"))
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", f"http://{pod['ip']}:8080/version"], capture_output=True, text=True
    )
    assert done.stdout == "000" and done.returncode != 0


def test_names_from_short_to_full(booking: Mesh) -> None:
    for host in ("payment", "payment.booking", "payment.booking.svc", "payment.booking.svc.cluster.local"):
        assert booking.curl(f"http://{host}:8080/version")[0] == 200, host
    assert booking.curl("http://nobody:8080/")[0] == 0
