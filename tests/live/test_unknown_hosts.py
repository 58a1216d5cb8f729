"""Requests to hosts that nobody knows, where the mesh looks them up and speaks TLS to them; and what that mode does to services that are known."""

import json
import sys
from pathlib import Path

from tests.live.harness import BEHAVIOUR, Mesh

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: SPACE, labels: {app: NAME, sidecar.istio.io/inject: "false"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: shop/app
    env: [{name: VERSION, value: NAME}, {name: POD, value: NAME}]
    ports: [{containerPort: 8443}, {containerPort: 9000}]
    readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: SPACE}
spec: {selector: {app: NAME}, ports: [{name: https, port: 8443}, {name: tcp, port: 9000}]}
---
"""
MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: shop}}]
    outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: SIMPLE, insecureSkipVerify: true}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: client, image: "curlimages/curl:8.10.1", command: [sleep, infinity]}]}
---
"""


def test_unknown_hosts_are_looked_up_and_spoken_to_with_tls(mesh: Mesh, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    written = MESH + "".join(POD.replace("NAME", name).replace("SPACE", space) for name, space in (("known", "shop"), ("foreign", "attic")))
    (folder / "mesh.yaml").write_text(written)
    mesh.start(folder, options=("--image-map", str(BEHAVIOUR / "image-map.yaml")))
    status, body = mesh.curl("http://foreign.attic:8443/", target="client", namespace="shop")
    assert (status, json.loads(body)["version"]) == (200, "foreign")  # only TLS is spoken at that port
    assert mesh.curl("-k", "https://foreign.attic:8443/", target="client", namespace="shop")[0] == 200  # what is no request goes on as it is
    for host, name in (("known", "known"), ("foreign.attic", "foreign")):  # bytes that are no request, of a known service and of none
        done = mesh.exec("client", sys.executable, str(BEHAVIOUR / "client.py"), "lines", host, "9000", "2", namespace="shop")
        assert done.stdout and json.loads(done.stdout) == [name, name], done.stderr
