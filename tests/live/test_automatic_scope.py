"""Automatic scope: a proxy begins with no cluster of a service, fetches one with the first request to it, and keeps it whatever dies."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import BEHAVIOUR, BOOKING, Load, Mesh, copied, need_namespaces, until

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


@pytest.fixture(scope="module")
def scoped() -> Iterator[tuple[Mesh, Path]]:
    """The booking sample and a few services more, in automatic scope; and the folder of its YAML."""
    need_namespaces()
    mesh = Mesh("scope")
    try:
        folder = copied(mesh)
        names = ("early", "copied", "mirror", "unused", "other", "edited")
        (folder / "extra.yaml").write_text("".join(EXTRA.replace("NAME", name) for name in names) + DANGLING + "---" + COPIES)
        yield mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml"), "--scope", "automatic")), folder
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
