"""Processes outside the mesh's namespaces, brought in by `lateen agent`: two serve, a third calls them. Real Envoys on loopback, and no right of root's."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.control.harness import Control
from tests.live.harness import until
from tests.ports import free_port
from tests.servers import JsonServer

pytestmark = pytest.mark.live
MESH = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: istio-system}}
spec: {{mtls: {{mode: STRICT}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: callers, namespace: shop}}
spec: {{metadata: {{labels: {{app: caller}}}}, template: {{serviceAccount: caller}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: machines, namespace: shop}}
spec:
  hosts: [machines.example]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {{labels: {{app: machine}}}}
  ports: [{{number: 8000, name: http, protocol: HTTP}}]
"""
GROUP = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: {name}, namespace: shop}}
spec:
  metadata: {{labels: {{app: machine}}}}
  template: {{serviceAccount: vm, ports: {{http: {port}}}}}
  probe: {{periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 20, httpGet: {{path: {path}, port: {port}}}}}
"""
ADDRESSES = {"north": "127.9.3.1", "south": "127.9.3.2", "callers": "127.9.3.3", "west": "127.9.3.4"}


class Application(JsonServer):
    """Answers with its name and what the proxy said of the caller; `is_well` decides the answer to `/well`."""

    def __init__(self, name: str) -> None:
        self.is_well = True
        super().__init__(
            lambda path, headers: (200 if self.is_well or path != "/well" else 503, {"name": name, "peer": headers.get("x-forwarded-client-cert", "")})
        )


class Agent:
    """One `lateen agent`."""

    def __init__(self, control: Control, group: str, account: str, *options: str, life: str = "24h") -> None:
        self.control, self.group, self.address = control, group, ADDRESSES[group]
        self.certificates = control.home / f"certificates-{group}"
        issue = ["ca", "issue", account, "--out", str(self.certificates), "--ttl", life, "--name", "t"]
        subprocess.run([sys.executable, "-m", "lateen", *issue], env=control.environment, check=True, capture_output=True, timeout=60)
        self.first = (self.certificates / "cert-chain.pem").read_bytes()
        self.home = control.home / f"agent-{group}"
        self.home.mkdir()
        arguments = ["--control", f"127.0.0.1:{control.port}", "--certificates", str(self.certificates), "--group", f"shop/{group}", "--address", self.address]
        environment = os.environ | {"LATEEN_RUN": str(self.home / "run")}
        with (self.home / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lateen", "agent", *arguments, *options], env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def said(self) -> str:
        return (self.home / "out").read_text(errors="replace")

    def envoys(self) -> list[int]:
        """Processes in its folder."""
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            try:
                if str((each / "cwd").readlink()).startswith(str(self.home)):
                    found.append(int(each.name))
            except OSError:
                continue
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)


class Rig:
    """Control, two applications with their agents, and a caller's."""

    def __init__(self) -> None:
        self.apps = {name: Application(name) for name in ("north", "south")}
        self.control = Control(mesh=MESH.format(), **{name: self.group(name) for name in self.apps}).start()
        self.proxy = free_port()
        self.agents = {name: Agent(self.control, name, "shop/vm") for name in self.apps}
        self.agents["callers"] = Agent(self.control, "callers", "shop/caller", "--http-proxy", str(self.proxy), life="40s")

    def group(self, name: str, path: str = "/well") -> str:
        return GROUP.format(name=name, port=self.apps[name].port, path=path)

    def asked(self) -> dict:
        """What a request through the caller's proxy comes back with; empty: no answer of an application."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy, timeout=20)
        try:
            connection.request("GET", "http://machines.example:8000/")
            answer = connection.getresponse()
            body = answer.read()
            return json.loads(body) if answer.status == 200 else {}
        except (OSError, http.client.HTTPException):
            return {}
        finally:
            connection.close()

    def answering(self) -> set[str]:
        """Who answers forty requests; empty name: nobody did."""
        return {self.asked().get("name", "") for _ in range(40)}

    def entries(self) -> set[str]:
        found = self.control.call("Objects", {"kind": "WorkloadEntry"})["objects"]
        return {one["metadata"]["name"].partition("-")[0] for one in found if one["kind"] == "WorkloadEntry"}

    def until(self, names: set[str]) -> None:
        until(lambda: self.answering() == names, 90, f"{names or 'nobody'} answer\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join([self.control.log(), *(f"--- {name}\n{agent.said()[-3000:]}" for name, agent in self.agents.items())])

    def close(self) -> None:
        for agent in self.agents.values():
            agent.close()
        self.control.kill()
        for app in self.apps.values():
            app.server.shutdown()


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    made = Rig()
    try:
        yield made
    finally:
        made.close()


def test_processes_outside_serve_and_call_over_mesh_tls(rig):
    rig.until({"north", "south"})
    peer = rig.asked()["peer"]
    assert "By=spiffe://cluster.local/ns/shop/sa/vm" in peer
    assert "URI=spiffe://cluster.local/ns/shop/sa/caller" in peer
    plain = http.client.HTTPConnection(ADDRESSES["north"], rig.apps["north"].port, timeout=20)
    with pytest.raises((OSError, http.client.HTTPException)):
        plain.request("GET", "/")
        plain.getresponse()
    plain.close()


def test_one_that_is_not_well_is_asked_by_nobody_until_it_is(rig):
    rig.until({"north", "south"})
    rig.apps["north"].is_well = False
    rig.until({"south"})
    assert "answered with status 503" in rig.agents["north"].said()
    rig.apps["north"].is_well = True
    rig.until({"north", "south"})


def test_a_restart_of_control_is_survived_and_health_goes_on_being_told(rig):
    rig.until({"north", "south"})
    rig.control.kill()
    assert rig.answering() == {"north", "south"}
    rig.apps["south"].is_well = False
    until(lambda: "answered with status 503" in rig.agents["south"].said(), 60, "the agent has seen it")
    rig.control.start()
    rig.until({"north"})
    rig.apps["south"].is_well = True
    rig.until({"north", "south"})


def test_an_edit_of_the_groups_probe_counts(rig):
    rig.until({"north", "south"})
    rig.apps["north"].is_well = False
    rig.until({"south"})
    rig.control.write("north", rig.group("north", "/"))
    rig.until({"north", "south"})
    rig.apps["north"].is_well = True
    rig.control.write("north", rig.group("north"))


def test_one_whose_proxy_cannot_open_its_port_is_not_well_and_says_why(rig):
    """The process has the port at the proxy's address too: what Envoy refuses nobody may be sent to."""
    rig.apps["west"] = Application("west")
    with socket.create_server((ADDRESSES["west"], rig.apps["west"].port)):
        rig.control.write("west", rig.group("west"))
        rig.agents["west"] = Agent(rig.control, "west", "shop/vm")
        west = rig.agents["west"]
        until(lambda: "let the process listen at 127.0.0.1 alone" in west.said(), 60, "its advice")  # a slow Envoy is not well before it is refused anything
        until(lambda: "its proxy does not serve" in west.said(), 60, "its words")
        rig.until({"north", "south"})
    rig.agents["west"].close()
    (rig.control.folder / "west.yaml").unlink()
    until(lambda: "west" not in rig.entries(), 60, "it is gone")


def test_a_certificate_is_renewed_kept_for_the_next_start_and_used(rig):
    """The caller's first one lives 40 s; what control gives lives a day."""
    caller = rig.agents["callers"]
    until(lambda: "the certificate is renewed" in caller.said(), 90, "a renewal")
    chain = (caller.certificates / "cert-chain.pem").read_bytes()
    assert chain != caller.first
    renewed = x509.load_pem_x509_certificates(chain)[0]
    assert renewed.not_valid_after_utc - renewed.not_valid_before_utc > timedelta(hours=20)
    rig.apps["north"].is_well = False  # its connections end, and the next ones are begun with what is there now
    rig.until({"south"})
    rig.apps["north"].is_well = True
    rig.until({"north", "south"})
    until(lambda: f"Hash={renewed.fingerprint(hashes.SHA256()).hex()};" in rig.asked().get("peer", ""), 60, "the one who is called sees the new one")
    assert "callers" in rig.entries()


def test_who_is_stopped_leaves_at_once_and_who_is_killed_after_the_grace(rig):
    rig.until({"north", "south"})
    assert rig.entries() == {"north", "south", "callers"}
    north, south = rig.agents["north"], rig.agents["south"]
    assert len(north.envoys()) == 1, "its Envoy"
    south.process.kill()
    south.process.wait(30)
    north.process.send_signal(signal.SIGINT)
    assert north.process.wait(60) == 0, north.said()
    assert not (north.home / "run" / "agents").exists() or not list((north.home / "run" / "agents").iterdir())
    until(lambda: "north" not in rig.entries(), 60, "it is left out")
    assert not north.envoys()
    until(lambda: not south.envoys(), 60, "its Envoy ends with it")
    until(lambda: rig.entries() == {"callers"}, 60, "the grace is over")
    rig.until({""})
