"""Certificates rotate under load: no request fails, the Envoy stays, the serial number changes."""

import json

from tests.live.harness import BOOKING, Load, Mesh, copied, until

SHORT_LIVES = """apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig:
      proxyMetadata:
        SECRET_TTL: 24s
"""


def serials(mesh: Mesh, pod: str) -> set[str]:
    """Of the certificates that a pod's Envoy holds now."""
    done = mesh.lateen("proxy-config", "secret", pod, "-n", "booking")
    assert done.returncode == 0, done.stderr
    return {line.split()[-2] for line in done.stdout.splitlines() if "Cert Chain" in line}


def test_three_rotations_fail_nothing(mesh: Mesh) -> None:
    folder = copied(mesh)
    (folder / "short-lives.yaml").write_text(SHORT_LIVES)
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    pids = mesh.pod_pids()
    load = Load(mesh, "http://payment:8080/version", options=("--threads", "2"))
    seen = [serials(mesh, "deploy/payment-v1")]
    for rotation in range(3):
        until(lambda: serials(mesh, "deploy/payment-v1") - seen[-1], 60, f"rotation {rotation + 1}: a new serial number after {seen}")
        seen.append(serials(mesh, "deploy/payment-v1"))
    result = load.result()
    assert result["failed"] == {}
    assert result["ok"] > 100
    assert mesh.pod_pids() == pids, json.dumps([pids, mesh.pod_pids()])
