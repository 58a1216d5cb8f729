"""gRPC clients without a proxy: an unmodified grpcio dials `xds:///…` with a certificate of `lateen ca issue`, and does what the objects say."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.harness import Control
from tests.live.harness import until
from tests.ports import free_port

pytestmark = pytest.mark.live
APP = Path(__file__).parent / "proxyless" / "app.py"
ECHO = "xds:///echo.shop.svc.cluster.local:7070"
SERVICES = """
apiVersion: v1
kind: Service
metadata: {{name: echo, namespace: shop}}
spec: {{clusterIP: 10.96.0.20, selector: {{app: echo}}, ports: [{{name: grpc, port: 7070, targetPort: {port}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: vault, namespace: shop}}
spec: {{clusterIP: None, selector: {{app: vault}}, ports: [{{name: grpc, port: 7070, targetPort: {port}}}]}}
"""
POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: {app}, version: {version}}}}}
spec: {{serviceAccountName: {app}, containers: [{{name: a, image: x, ports: [{{containerPort: {port}}}]}}]}}
status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}], conditions: [{{type: Ready, status: "True"}}]}}
"""
ROUTES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: shop}
spec:
  host: echo
  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 3}}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: shop}
spec:
  hosts: [echo]
  http:
  - match: [{headers: {kind: {exact: slow}}}]
    fault: {delay: {fixedDelay: 0.7s, percentage: {value: 100}}}
    route: [{destination: {host: echo, subset: v1}}]
  - match: [{headers: {kind: {exact: bad}}}]
    fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 40}}}
    route: [{destination: {host: echo, subset: v1}}]
  - match: [{headers: {kind: {exact: short}}}]
    timeout: 0.3s
    route: [{destination: {host: echo, subset: v1}}]
  - match: [{headers: {kind: {exact: again}}}]
    retries: {attempts: 3, retryOn: unavailable, backoff: 10ms}
    route: [{destination: {host: echo, subset: v1}}]
  - match: [{uri: {exact: /echo.Echo/Other}, method: {exact: POST}}]
    route: [{destination: {host: echo, subset: v2}}]
  - match: [{uri: {prefix: /echo.Echo/}, method: {exact: GET}}]
    route: [{destination: {host: echo, subset: v2}}]
  - route: [{destination: {host: echo, subset: v1}, weight: 80}, {destination: {host: echo, subset: v2}, weight: 20}]
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: vault, namespace: shop}
spec: {selector: {matchLabels: {app: vault}}, mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: vault, namespace: shop}
spec: {host: vault, trafficPolicy: {tls: {mode: ISTIO_MUTUAL%s}}}
"""


class Application:
    """A process of `app.py` with a certificate for `account`, which it says to be unless `--account` says another."""

    def __init__(self, control: Control, account: str, address: str, *arguments: str) -> None:
        folder = control.home / f"shop-{account}"
        if not folder.exists():
            control.credentials(f"shop/{account}")
        files = {"certificate_file": "cert-chain.pem", "private_key_file": "key.pem", "ca_certificate_file": "root-cert.pem"}
        config = {name: str(folder / file) for name, file in files.items()}
        server = {"server_uri": f"127.0.0.1:{control.port}", "channel_creds": [{"type": "tls", "config": config}], "server_features": ["xds_v3"]}
        said = arguments[arguments.index("--account") + 1] if "--account" in arguments else account
        metadata = {"GENERATOR": "grpc", "NAMESPACE": "shop", "SERVICE_ACCOUNT": said, "INSTANCE_IPS": address, "LABELS": {"app": account}}
        bootstrap = {
            "xds_servers": [server],
            "node": {"id": f"sidecar~{address}~{account}.shop~shop.svc.cluster.local", "metadata": metadata},
            "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": {**config, "refresh_interval": "1s"}}},
            "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
        }
        environment = os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)}
        command = [sys.executable, str(APP), *arguments]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, target: str = ECHO, **asked: object) -> dict:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"target": target, **asked}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for end in (self.process.stdin, self.process.stdout):
            if end is not None:
                end.close()


class Place:
    """A control process, two versions of a server, a client, and a server that is configured by xDS itself."""

    def __init__(self) -> None:
        self.port = free_port()
        self.pods = {"echo-1": ("echo", "v1", "127.8.0.1"), "echo-2": ("echo", "v2", "127.8.0.2"), "vault-1": ("vault", "v1", "127.8.0.3")}
        self.control = Control(services=SERVICES.format(port=self.port), pods=self.written()).start()
        self.running: list[Application] = []
        for version, address in (("v1", "127.8.0.1"), ("v2", "127.8.0.2"), ("v3", "127.8.0.4")):
            self.run("echo", address, "server", "--name", version, "--listen", f"{address}:{self.port}")
        self.client = self.run("web", "127.0.0.1", "client")

    def written(self) -> str:
        return "".join(POD.format(name=name, app=app, version=version, ip=ip, port=self.port) for name, (app, version, ip) in self.pods.items())

    def run(self, account: str, address: str, *arguments: str) -> Application:
        made = Application(self.control, account, address, *arguments)
        self.running.append(made)
        if arguments[0] == "server":
            assert made.process.stdout is not None and made.process.stdout.readline() == "serving\n"
        return made

    def stop(self) -> None:
        for one in self.running:
            one.stop()
        self.control.kill()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.stop()


def test_endpoints_are_taken_in_turn_and_followed(place: Place) -> None:
    for target in (ECHO, "xds:///echo:7070", "xds:///echo.shop:7070"):
        found = place.client.ask(target, calls=20, wait=True)
        assert found["codes"] == {}, target
        until(lambda target=target: set(place.client.ask(target, calls=20)["names"]) == {"v1", "v2"}, 60, f"both endpoints of {target} are called")
    place.pods["echo-3"] = ("echo", "v3", "127.8.0.4")
    place.control.write("pods", place.written())
    until(lambda: "v3" in place.client.ask(calls=9)["names"], 60, "the new endpoint is not called")
    del place.pods["echo-3"]
    place.control.write("pods", place.written())
    until(lambda: "v3" not in place.client.ask(calls=9)["names"], 60, "the old endpoint is still called")


def test_routes_are_what_a_virtual_service_says(place: Place) -> None:
    ask = place.client.ask
    place.control.write("routes", ROUTES)
    until(lambda: ask(method="/echo.Echo/Other", calls=6)["names"] == {"v2": 6}, 60, "the routes do not come")
    split = ask(calls=1500)
    assert split["codes"] == {} and abs(split["names"]["v1"] / 1500 - 0.8) < 0.08, split
    delayed = ask(metadata={"kind": "slow"})
    assert delayed["names"] == {"v1": 1} and delayed["last"]["seconds"] >= 0.7
    aborted = ask(calls=400, metadata={"kind": "bad"})
    assert set(aborted["names"]) == {"v1"} and set(aborted["codes"]) == {"RESOURCE_EXHAUSTED"}
    assert abs(aborted["codes"]["RESOURCE_EXHAUSTED"] / 400 - 0.4) < 0.17, aborted
    assert ask(metadata={"kind": "short", "hold": "5"}, timeout=20)["codes"] == {"DEADLINE_EXCEEDED": 1}
    again = ask(metadata={"kind": "again", "fail-until": "3"})
    assert again["names"] == {"v1": 1} and again["last"]["attempts"] == "3"
    assert ask(metadata={"kind": "again", "fail-until": "4"})["codes"] == {"UNAVAILABLE": 1}
    broken = ask(calls=12, parallel=12, metadata={"kind": "again", "hold": "4"})
    assert broken["names"] == {"v1": 3} and broken["codes"] == {"UNAVAILABLE": 9}
    assert "refuses" not in place.control.log()


@pytest.mark.parametrize(
    "routes",
    [
        "[{match: [{method: {exact: GET}}], route: [{destination: {host: echo}}]}]",  # none that a call could take
        "[{redirect: {uri: /elsewhere}}]",
        "[{directResponse: {status: 200}}]",
    ],
)
def test_routes_that_lead_nowhere_fail_calls_and_are_taken(place: Place, routes: str) -> None:
    place.control.write("routes", ROUTES.split("  http:")[0].replace("hosts: [echo]", f"hosts: [echo]\n  http: {routes}"))
    until(lambda: place.client.ask(calls=3)["codes"] == {"UNAVAILABLE": 3}, 60, "calls fail")
    assert "refuses" not in place.control.log()
    place.control.write("routes", ROUTES)
    until(lambda: place.client.ask(calls=3)["codes"] == {}, 60, "calls go through again")


def test_mutual_tls_between_clients_and_servers_without_a_proxy(place: Place) -> None:
    place.control.write("strict", STRICT % "")
    place.run("vault", "127.8.0.3", "server", "--name", "vault", "--listen", f"127.8.0.3:{place.port}", "--xds")
    plain, mutual = place.client, place.run("web", "127.0.0.1", "client", "--xds")
    vault = "xds:///vault.shop.svc.cluster.local:7070"
    until(lambda: mutual.ask(vault)["names"] == {"vault": 1}, 60, "no call over mutual TLS")
    assert mutual.ask(vault)["last"]["peer"] == ["spiffe://cluster.local/ns/shop/sa/web"]
    assert plain.ask(vault, timeout=5)["names"] == {}  # the server refuses what comes in the clear
    place.control.write("strict", STRICT % ", subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/other']")
    until(lambda: mutual.ask(vault, timeout=2)["names"] == {}, 60, "a server of another identity is called")
    assert mutual.ask(calls=4)["codes"] == {}  # what is not mutual stays in the clear


def test_who_says_to_be_another_gets_nothing(place: Place) -> None:
    impostor = place.run("web", "127.0.0.1", "client", "--account", "vault")
    assert impostor.ask(timeout=3)["names"] == {}
    until(lambda: "the certificate is for ns/shop/sa/web, the node says ns/shop/sa/vault" in place.control.log(), 60, "the refusal is told")


def test_a_client_goes_on_without_control_and_comes_back(place: Place) -> None:
    assert place.client.ask(calls=5)["codes"] == {}
    place.control.kill()
    assert place.client.ask(calls=50)["codes"] == {}
    place.control.start()
    place.pods["echo-2"] = ("echo", "v1", "127.8.0.2")
    place.control.write("routes", ROUTES.split("---")[0])
    place.control.write("pods", place.written())
    del place.pods["echo-1"]
    place.control.write("pods", place.written())
    until(lambda: place.client.ask(calls=4)["names"] == {"v2": 4}, 60, "nothing is followed after control's return")
