"""A real Envoy under load while clusters, subsets, weights and endpoints change: no request fails, in either order of the two saves an edit takes."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from harness import Control, bootstrap

from lateen.base.secrets import Secret
from lateen.node.certificates import Bundle, write_bundle
from lateen.wire.binary import envoy_path
from tests.ports import free_port

pytestmark = pytest.mark.live

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {selector: {istio: edge}, servers: [{port: {number: PORT, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""


class Upstream:
    """An HTTP server on loopback that answers with its name."""

    def __init__(self, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Load:
    """Requests one after the other, for as long as it is not stopped."""

    def __init__(self, port: int) -> None:
        self.port, self.answers, self.running = port, Counter(), True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while self.running:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                for _ in range(20):
                    connection.request("GET", "/", headers={"host": "web.shop"})
                    answer = connection.getresponse()
                    body = answer.read().decode()
                    self.answers[body if answer.status == 200 else f"failed: {answer.status} {body}"] += 1
                    time.sleep(0.002)
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                self.answers[f"failed: {error!r}"] += 1

    def stop(self) -> Counter:
        self.running = False
        self.thread.join(60)
        return self.answers


def slices(*versions: tuple[str, int]) -> str:
    text = ""
    for version, port in versions:
        text += f"""---
apiVersion: v1
kind: Pod
metadata: {{name: web-{version}, namespace: shop, labels: {{app: web, version: {version[:2]}}}}}
spec: {{containers: [{{name: a, image: x}}]}}
status: {{phase: Running, podIP: 127.0.0.1, podIPs: [{{ip: 127.0.0.1}}], conditions: [{{type: Ready, status: "True"}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-{version}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: web-{version}, namespace: shop}}}}]
"""
    return text


def route(**weights: int) -> str:
    targets = ", ".join(f"{{destination: {{host: web, subset: {subset}}}, weight: {weight}}}" for subset, weight in weights.items())
    return f"{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: web, namespace: shop}}, spec: {{hosts: ['*'], gateways: [edge], http: [{{route: [{targets}], retries: {{attempts: 0}}}}]}}}}"


def rule(timeout_ms: int, *subsets: str) -> str:
    listed = ", ".join(f"{{name: {subset}, labels: {{version: {subset[:2]}}}}}" for subset in subsets)
    return f"{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: web, namespace: shop}}, spec: {{host: web, trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {timeout_ms}ms}}}}}}, subsets: [{listed}]}}}}"


@pytest.fixture
def mesh(tmp_path):
    upstreams = {name: Upstream(name) for name in ("v1", "v2")}
    port = free_port()
    control = Control(
        services=SERVICES,
        gateway=GATEWAY.replace("PORT", str(port)),
        slices=slices(*((name, one.port) for name, one in upstreams.items())),
        rule=rule(1000, "v1", "v2"),
        route=route(v1=50, v2=50),
    )
    control.start()
    (tmp_path / "envoy.json").write_text(json.dumps(bootstrap(control.socket, tmp_path)))
    control.credentials("shop/edge")
    files = (control.home / "shop-edge" / name for name in ("cert-chain.pem", "key.pem", "root-cert.pem"))
    chain, key, root = (file.read_bytes() for file in files)
    write_bundle(tmp_path / "certs", Bundle(chain, Secret(key), root))
    log = (tmp_path / "envoy.log").open("w")
    envoy = subprocess.Popen(
        [str(envoy_path()), "-c", str(tmp_path / "envoy.json"), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"],
        stdout=log,
        stderr=log,
        cwd=tmp_path,
    )
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                connection.request("GET", "/", headers={"host": "web.shop"})
                if connection.getresponse().status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        else:
            raise AssertionError((tmp_path / "envoy.log").read_text() + control.log())
        yield control, port, upstreams
    finally:
        envoy.kill()
        envoy.wait(10)
        control.kill()


def live(control: Control, count: int) -> None:
    """Until `count` changes are in the ledger, the last one on all proxies."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        changes = control.call("Ledger")["changes"]
        if len(changes) >= count and changes[-1]["final"]:
            assert changes[-1]["refused"] == 0
            return
        time.sleep(0.01)
    raise AssertionError(f"{control.call('Ledger')} {control.call('Findings')}")


def test_nothing_fails_while_everything_changes(mesh):
    control, port, upstreams = mesh
    both = tuple((name, one.port) for name, one in upstreams.items())
    load = Load(port)
    time.sleep(0.3)
    count = 0
    more = ("v1b", upstreams["v1"].port)
    for turn in range(10):
        for name, text in (
            ("rule", rule(1001 + turn, "v1", "v2")),  # the clusters change, their endpoints don't
            ("route", route(v1=20 + turn, v2=80 - turn)),
            ("slices", slices(*both, more)),
            ("slices", slices(*both)),
        ):
            control.write(name, text)
            count += 1
            live(control, count)
    answers = load.stop()
    assert set(answers) == {"v1", "v2"}, answers
    assert answers.total() > 200


@pytest.mark.parametrize("route_first", [True, False])
def test_an_edit_in_two_saves_in_either_order(mesh, route_first):
    """Subsets are renamed: the route and the rule come one after the other, 100 ms apart."""
    control, port, _ = mesh
    load = Load(port)
    for turn in range(6):
        names = (f"v1-{turn}", f"v2-{turn}")
        saves = [("route", route(**dict.fromkeys(names, 50))), ("rule", rule(1000, *names))]
        for name, text in saves if route_first else reversed(saves):
            control.write(name, text)
            time.sleep(0.1)
        time.sleep(0.3)
    answers = load.stop()
    assert set(answers) == {"v1", "v2"}, answers
