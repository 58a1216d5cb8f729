"""Automatic scope: a proxy begins with no cluster of a service, fetches one with the first request to it, and keeps it whatever dies."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import BEHAVIOUR, BOOKING, ROOT, Load, Mesh, copied, need_namespaces, rewrite, until

CLIENT = ("deploy/client", "-n", "booking")
EXTRA = """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: booking}
spec: {selector: {app: payment}, ports: [{name: http, port: 8080}]}
---
"""
DANGLING = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: early, namespace: booking}
spec:
  hosts: [early]
  http: [{route: [{destination: {host: late.booking.svc.cluster.local, port: {number: 8080}}}]}]
"""
COPIES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: copied, namespace: booking}
spec:
  hosts: [copied]
  http: [{route: [{destination: {host: copied}}], mirror: {host: mirror}}]
"""

ECHO = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo-VERSION, namespace: booking}
spec:
  replicas: 1
  selector: {matchLabels: {app: echo, version: VERSION}}
  template:
    metadata: {labels: {app: echo, version: VERSION}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: shop/app
        env: [{name: VERSION, value: VERSION}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        ports: [{containerPort: 8000}, {containerPort: 9000}, {containerPort: 9090}, {containerPort: 8443}]
        readinessProbe: {tcpSocket: {port: 8000}, periodSeconds: 1}
---
"""
MANY = """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: booking}
spec:
  selector: {app: echo}
  ports: [{name: http, port: 8000}, {name: tcp-lines, port: 9000}, {name: grpc, port: 9090}, {name: tls, port: 8443}]
---
"""
SPLIT = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: split, namespace: booking}
spec: {host: split, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: booking}
spec:
  hosts: [split]
  http:
  - route:
    - {destination: {host: split, subset: v1, port: {number: 8000}}, weight: 50}
    - {destination: {host: split, subset: v2, port: {number: 8000}}, weight: 50}
    retries: {attempts: 3, retryOn: 5xx}
---
"""
NARROW = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: booking}
spec: {workloadSelector: {labels: {app: client}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ["./q0.booking.svc.cluster.local"]}]}
"""
QUESTIONS = tuple(f"q{number}" for number in range(8))


@pytest.fixture(scope="module")
def scoped() -> Iterator[tuple[Mesh, Path]]:
    """The booking sample and a few services more, in automatic scope; and the folder of its YAML."""
    need_namespaces()
    mesh = Mesh("scope")
    try:
        folder = copied(mesh)
        names = ("early", "copied", "mirror", "unused", "other", "edited")
        (folder / "extra.yaml").write_text("".join(EXTRA.replace("NAME", name) for name in names) + DANGLING + "---" + COPIES)
        (folder / "echo.yaml").write_text("".join(ECHO.replace("VERSION", version) for version in ("v1", "v2")))
        (folder / "many.yaml").write_text("".join(MANY.replace("NAME", name) for name in (*QUESTIONS, "split", "dark")) + SPLIT)
        images = (BOOKING / "image-map.yaml").read_text().replace("../..", str(ROOT)).replace("apps/", f"{BOOKING}/apps/")
        mine = f'  - {{match: "shop/app", command: ["{ROOT}/.venv/bin/python", "{BEHAVIOUR}/app.py"]}}\n'
        (mesh.home / "image-map.yaml").write_text(images + mine)
        yield mesh.start(folder, options=("--image-map", str(mesh.home / "image-map.yaml"), "--scope", "automatic")), folder
    finally:
        mesh.close()


def hosts(mesh: Mesh, pod: str = "deploy/client") -> set[str]:
    """Of the services whose clusters a pod's Envoy has."""
    found = mesh.lateen("proxy-config", "cluster", pod, "-n", "booking")
    assert found.returncode == 0, found.stderr
    return {line.split()[0].partition(".booking.")[0] for line in found.stdout.splitlines() if ".booking.svc" in line}


def is_replaced(mesh: Mesh, envoy: int) -> bool:
    """Whether the client has another Envoy than the one of that pid."""
    return not any(envoy in pids for pids in mesh.pod_pids().values())


def lines_answered(mesh: Mesh) -> bool:
    """Whether the TCP service says something to a line."""
    done = mesh.exec("deploy/client", sys.executable, str(BEHAVIOUR / "client.py"), "lines", "ledger", "7000", "1")
    return done.stdout.strip() == '["ok"]'


def test_first_requests_fetch_their_clusters_and_later_ones_have_them(scoped: tuple[Mesh, Path]) -> None:
    mesh, _ = scoped
    assert hosts(mesh) == {"mirror"}  # a copy is dropped where its cluster is not there, so that one can't come on demand
    assert mesh.curl("http://payment:8080/version")[0] == 200
    assert mesh.curl("http://booking:8080/book")[0] == 200
    status, answer = mesh.curl("-d", '{"amount": 7}', "http://edited:8080/charge")
    assert status == 200 and '"charged": 7' in answer  # the body has waited for the cluster too
    assert lines_answered(mesh) and lines_answered(mesh)
    assert hosts(mesh) == {"mirror", "payment", "booking", "ledger", "edited"}
    until(lambda: any(one["workload"] == "client" for one in mesh.json("status")["scope"]["learned"]), 60, "what the client has learned is told")
    assert {"namespace", "service_account", "workload", "clusters"} == set(mesh.json("status")["scope"]["learned"][0])


def learned(mesh: Mesh) -> set[str]:
    """Of the services that the client's workload has learned, as `status` says."""
    found = mesh.json("status")["scope"]
    assert found["mode"] == "automatic"
    return {name.split("|")[3].partition(".")[0] for one in found["learned"] if one["workload"] == "client" for name in one["clusters"]}


def test_no_first_request_fails_however_many_come_at_once(scoped: tuple[Mesh, Path]) -> None:
    mesh, _ = scoped
    assert not hosts(mesh) & set(QUESTIONS)
    script = (sys.executable, str(Path(__file__).parent / "first_requests.py"), *QUESTIONS, "--", "3")
    done = mesh.exec("deploy/client", *script, timeout_s=200)
    assert done.stdout, done.stderr
    assert json.loads(done.stdout) == {"requests": len(QUESTIONS) * 12, "failed": []}
    assert set(QUESTIONS) <= hosts(mesh)
    assert "PassthroughCluster" not in mesh.lateen("logs", "--access", *CLIENT).stdout


def test_no_first_request_to_weighted_subsets_fails(scoped: tuple[Mesh, Path]) -> None:
    mesh, _ = scoped
    result = Load(mesh, "http://split:8000/", 100, options=("--threads", "8")).flawless()
    assert result["ok"] == 100
    clusters = mesh.lateen("proxy-config", "cluster", *CLIENT).stdout
    rows = [line.split() for line in clusters.splitlines() if line.startswith("split.")]
    assert {(row[1], row[2], row[-1]) for row in rows} == {("8000", "v1", "yes"), ("8000", "v2", "yes")}


def test_the_next_pod_of_the_workload_starts_with_what_was_learned_and_the_commands_say_so(scoped: tuple[Mesh, Path]) -> None:
    mesh, _ = scoped
    assert mesh.curl("http://q0:8000/")[0] == 200
    before = next(pod for pod in mesh.pod_pids() if "client" in pod)
    assert learned(mesh) >= {"q0"}
    assert "booking/client " in mesh.lateen("status").stdout
    assert mesh.said("booking/client has learned outbound|8000||q0.booking.svc.cluster.local")
    assert mesh.lateen("restart", *CLIENT, timeout_s=300).returncode == 0
    until(lambda: (pods := [pod for pod in mesh.pod_pids() if "client" in pod]) and before not in pods, 60, "another pod")
    until(lambda: learned(mesh) | {"mirror"} == hosts(mesh), 60, "it has what the workload learned, unasked")

    def proxies() -> list[dict]:
        return [one for one in mesh.json("proxy-status")["proxies"] if one["name"].startswith("client-")]

    (proxy,) = until(lambda: len(found := proxies()) == 1 and found, 60, "the old one has hung up")
    assert 0 < proxy["clusters"]["learned"] < proxy["clusters"]["held"]


def test_endpoints_of_what_was_learned_are_followed(scoped: tuple[Mesh, Path]) -> None:
    mesh, _ = scoped
    assert mesh.curl("http://q0:8000/")[0] == 200
    load = Load(mesh, "http://q0:8000/", options=("--threads", "2", "--pause", "0.01"))
    until(lambda: load.done() >= 50, 60, "the load runs")
    for version in ("v1", "v2"):
        assert mesh.lateen("restart", f"deploy/echo-{version}", "-n", "booking", timeout_s=300).returncode == 0
    reached = load.done()
    until(lambda: load.done() >= reached + 50, 60, "requests to the new pods")
    load.flawless()


def test_a_cluster_that_is_not_there_fails_at_once_and_works_when_it_is(scoped: tuple[Mesh, Path]) -> None:
    mesh, folder = scoped
    for _ in range(3):
        status, _ = mesh.curl("http://early:8080/version")
        assert status == 503
    (folder / "late.yaml").write_text(EXTRA.replace("NAME", "late"))
    until(lambda: mesh.curl("http://early:8080/version")[0] == 200, 60, "the service that came late answers")


def test_edits_reach_fetched_clusters(scoped: tuple[Mesh, Path]) -> None:
    mesh, folder = scoped
    assert mesh.curl("http://edited:8080/version")[0] == 200
    rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: edited, namespace: booking}\nspec: {host: edited, trafficPolicy: {}}\n"
    text = rule.replace("{}", "{connectionPool: {tcp: {maxConnections: 7}}}")
    (folder / "rule.yaml").write_text(text)
    until(
        lambda: '"max_connections": 7' in mesh.lateen("proxy-config", "cluster", *CLIENT, "-o", "json").stdout.replace("maxConnections", "max_connections"), 60
    )
    assert mesh.curl("http://edited:8080/version")[0] == 200


def test_without_control_fetched_clusters_serve_a_new_envoy_and_others_fail_instead_of_leaking(scoped: tuple[Mesh, Path]) -> None:
    mesh, _ = scoped
    assert mesh.curl("http://payment:8080/version")[0] == 200
    up, control = mesh.pid("up"), mesh.pid("control")
    before = next(pids[-1] for pod, pids in mesh.pod_pids().items() if "client" in pod)
    os.kill(up, signal.SIGSTOP)  # so that it can't bring control back
    try:
        os.kill(control, signal.SIGKILL)
        os.kill(before, signal.SIGKILL)
        until(lambda: is_replaced(mesh, before), 60, "a new Envoy")
        until(lambda: mesh.curl("http://payment:8080/version")[0] == 200, 60, "what was fetched serves")
        assert lines_answered(mesh)
        for _ in range(2):
            assert mesh.curl("http://unused:8080/version")[0] == 503
        mesh.exec("deploy/client", "sh", "-c", "(echo hi; sleep 2) | curl -s --max-time 3 telnet://dark:9000")
        assert mesh.curl("--resolve", "payment-v9:8080:127.0.0.2", "http://other:8080/version")[0] == 503
    finally:
        os.kill(up, signal.SIGCONT)
    until(lambda: mesh.pid("control") != control and mesh.is_ready(), 60, "control is back")
    until(lambda: mesh.curl("http://unused:8080/version")[0] == 200, 60, "what failed without control")
    log = mesh.lateen("logs", "--access", *CLIENT).stdout
    assert "payment" in log and "PassthroughCluster" not in log
    assert {"payment", "unused", "ledger"} <= hosts(mesh)


def test_no_request_fails_while_weights_move_and_control_dies(scoped: tuple[Mesh, Path]) -> None:
    """Weights move all traffic to a subset that was not fetched; a first request comes while control is away and returns."""
    mesh, folder = scoped
    load = Load(mesh, "http://payment:8080/version")
    until(lambda: load.done() >= 50, 60, "the load runs")
    text = (folder / "mesh.yaml").read_text()
    for first, second in ((0, 100), (100, 0), (50, 50)):
        (folder / "mesh.yaml").write_text(text.replace("weight: 90", f"weight: {first}").replace("weight: 10\n", f"weight: {second}\n"))
        reached = load.done()
        until(lambda reached=reached: load.done() >= reached + 100, 60, "requests after the edit")
    control = mesh.pid("control")
    os.kill(control, signal.SIGKILL)
    assert mesh.curl("http://copied:8080/version")[0] == 200
    until(lambda: mesh.pid("control") != control and mesh.is_ready(), 60, "control is back")
    reached = load.done()
    until(lambda: load.done() >= reached + 100, 60, "requests after it")
    result = load.result()
    assert result["failed"] == {} and result["ok"] > 400
    (folder / "mesh.yaml").write_text(text)


def test_an_envoy_that_starts_anew_has_what_was_fetched_before(scoped: tuple[Mesh, Path]) -> None:
    mesh, _ = scoped
    assert mesh.curl("http://payment:8080/version")[0] == 200
    held = hosts(mesh)
    before = next(pids[-1] for pod, pids in mesh.pod_pids().items() if "client" in pod)
    os.kill(before, signal.SIGKILL)
    until(lambda: is_replaced(mesh, before), 60, "a new Envoy")
    until(lambda: mesh.lateen("proxy-config", "cluster", *CLIENT).returncode == 0 and hosts(mesh) == held, 60, "the clusters it had, unasked")


def test_a_sidecar_and_a_removal_narrow_what_is_held_and_what_comes_back_answers(scoped: tuple[Mesh, Path]) -> None:
    mesh, folder = scoped
    for name in ("q0", "q1", "q7"):
        assert mesh.curl(f"http://{name}:8000/")[0] == 200
    (folder / "narrow.yaml").write_text(NARROW)
    until(lambda: mesh.curl("http://q1:8000/")[0] != 200, 60, "the Sidecar hides it")
    assert mesh.curl("http://q0:8000/")[0] == 200
    assert mesh.curl("http://nobody.example:8000/", "--resolve", "nobody.example:8000:192.0.2.1")[0] == 502  # REGISTRY_ONLY, as the Sidecar says
    (folder / "narrow.yaml").unlink()
    until(lambda: mesh.curl("http://q1:8000/")[0] == 200, 60, "it is there again")
    rewrite(folder / "many.yaml", "name: q7,", "name: q7b,")
    until(lambda: mesh.curl("http://q7:8000/")[0] != 200, 60, "it is no more")
    rewrite(folder / "many.yaml", "name: q7b,", "name: q7,")
    until(lambda: mesh.curl("http://q7:8000/")[0] == 200, 60, "it answers again")
