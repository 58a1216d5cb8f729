"""The node as a process, beside a control of few words: real Envoys, real pods, killed and taken over."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest

from lateen.base.paths import MeshPaths
from lateen.base.spiffe import SpiffeId
from lateen.identity.ca import new_authority, sign
from lateen.identity.subject import WorkloadAttributes
from lateen.local import processes
from lateen.local.cleanup import remove_all
from lateen.local.isolation.seam import ProcessRef
from lateen.wire.delta import DELTA_METHOD, decode_request, encode_response
from tests.ports import free_port

pytestmark = [pytest.mark.live]
if os.geteuid() != 0 and os.environ.get("CI") != "true":
    pytest.skip("needs root: pods are namespaces", allow_module_level=True)

SERVER = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'here')
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('', 8080), Answer).serve_forever()
"""


def deployment(name, replicas=1, namespace="default", **spec):
    container = {"name": "app", "command": ["/usr/bin/python3", "-c", SERVER], "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 2, **spec}}
    return {"kind": "Deployment", "metadata": {"name": name, "namespace": namespace}, "spec": {"replicas": replicas, "template": template}}


class Control:
    """Says what is wanted, signs everything, has no configuration for anyone."""

    def __init__(self, paths, objects):
        self.paths, self.objects = paths, objects
        self.pods, self.ingress, self.watchers = {}, [], set()
        self.authority = new_authority("cluster.local", time.time())
        self.server = None

    async def start(self):
        methods = {
            "/lateen.v1.Node/Watch": grpc.unary_stream_rpc_method_handler(self.watch),
            "/lateen.v1.Node/Report": grpc.unary_unary_rpc_method_handler(self.report),
            "/lateen.v1.Certificates/Sign": grpc.unary_unary_rpc_method_handler(self.sign),
            DELTA_METHOD: grpc.stream_stream_rpc_method_handler(self.discover),
        }

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                return methods.get(details.method)

        self.paths.run.mkdir(parents=True, exist_ok=True)
        self.paths.control_socket.unlink(missing_ok=True)
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((Handler(),))
        self.server.add_insecure_port(f"unix:{self.paths.control_socket}")
        await self.server.start()

    async def die(self):
        await self.server.stop(0)

    def want(self, *objects):
        self.objects = list(objects)
        for wake in self.watchers:
            wake.set()

    async def watch(self, request, context):
        wake = asyncio.Event()
        self.watchers.add(wake)
        try:
            while True:
                yield json.dumps({"revision": 1, "full": True, "objects": self.objects, "removed": []}).encode()
                await wake.wait()
                wake.clear()
        finally:
            self.watchers.discard(wake)

    async def report(self, request, context):
        message = json.loads(request)
        if message["full"]:
            self.pods = {}
        for pod in message["pods"]:
            self.pods[f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"] = pod
        for name in message["removed"]:
            self.pods.pop(name, None)
        self.ingress = message.get("ingress", self.ingress)
        return b'{"ok": true}'

    async def sign(self, request, context):
        asked = json.loads(request)
        issued = sign(
            self.authority,
            asked["csr"].encode(),
            SpiffeId("cluster.local", asked["namespace"], asked["serviceAccount"]),
            WorkloadAttributes(**asked["attributes"]),
            3600,
            time.time(),
        )
        return json.dumps({"chain": issued.chain.decode(), "root": issued.root.decode(), "ttl_s": 3600}).encode()

    async def discover(self, _, context):
        answered, nonce = set(), 0
        while (raw := await context.read()) is not grpc.aio.EOF:
            request = decode_request(raw)
            if request.type_url not in answered:
                answered.add(request.type_url)
                nonce += 1
                await context.write(encode_response(request.type_url, str(nonce), (), ()))

    def ready(self):
        return {name for name, pod in self.pods.items() if {"type": "Ready", "status": "True"} in pod["status"]["conditions"]}


def node(paths, *more):
    program = "import sys; from lateen.local.daemon import NodeOptions, run; from lateen.base.paths import MeshPaths; from pathlib import Path\n"
    program += f"sys.exit(run(NodeOptions(MeshPaths('t', Path({str(paths.run)!r}), Path({str(paths.state)!r})), publish={{80: {PORT}}}, invoking_uid=65534, invoking_gid=65534)))"
    log = (paths.run / "node.log").open("ab")
    return subprocess.Popen([sys.executable, "-c", program], stdout=log, stderr=log)


PORT = free_port()


async def until(claim, seconds=90):
    async with asyncio.timeout(seconds):
        while not (found := claim()):
            await asyncio.sleep(0.03)
        return found


def traces(run):
    tag = hashlib.sha256(str(run).encode()).hexdigest()[:6]
    links = [name for name in os.listdir("/sys/class/net") if tag in name]
    left = links + [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(run) in line]
    for pid in processes.all_pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cwd").resolve().is_relative_to(run):
                left.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return left


@pytest.fixture
async def control(tmp_path):
    paths = MeshPaths("t", tmp_path / "run", tmp_path / "state")
    control = Control(paths, [])
    await control.start()
    yield control
    await control.die()
    await asyncio.to_thread(remove_all, paths)
    assert traces(paths.run) == []


def state_of(paths, name):
    return json.loads((paths.pods / name.replace("/", ".") / "state.json").read_text())


def pids(paths, names):
    found = {}
    for name in names:
        state = state_of(paths, name)
        found[name] = ([each["pid"] for each in state["containers"]], state["envoy"]["pid"])
    return found


async def call(paths, method, request):
    async with grpc.aio.insecure_channel(f"unix:{paths.node_socket}") as channel:
        return json.loads(await channel.unary_unary(f"/lateen.v1.Local/{method}")(json.dumps(request).encode(), wait_for_ready=True, timeout=120))


async def test_a_node_lives_dies_is_followed_and_leaves_nothing(control):
    control.want(deployment("web", 2))
    process = node(control.paths)
    try:
        await until(lambda: len(control.ready()) == 2)
        names = control.ready()
        before = pids(control.paths, names)
        pod = control.pods[next(iter(names))]
        assert pod["metadata"]["labels"]["security.istio.io/tlsMode"] == "istio" and pod["status"]["podIP"].startswith("10.")
        assert pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
        process.kill()
        process.wait()
        await control.die()
        process = node(control.paths)
        await asyncio.sleep(1)  # control is away and the node has just come: nothing may change
        assert pids(control.paths, names) == before
        control.pods = {}
        await control.start()
        await until(lambda: control.ready() == names)
        assert pids(control.paths, names) == before
        name = next(iter(names))
        victim = state_of(control.paths, name)["envoy"]
        processes.send(ProcessRef(victim["pid"], victim["start"]), signal.SIGKILL)
        await until(lambda: state_of(control.paths, name)["envoy"]["pid"] not in (0, victim["pid"]) and len(control.ready()) == 2)
        answer = await call(control.paths, "Restart", {"workload": "deploy/web", "namespace": "default"})
        assert len(answer["restarted"]) == 2 and not names & set(answer["restarted"])
        control.want()
        await until(lambda: not control.pods)
        control.want(deployment("web", 1))
        await until(lambda: len(control.ready()) == 1)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 90) == 0
        assert traces(control.paths.run) == [] and not control.paths.pods.exists()
    finally:
        process.kill()
        process.wait()


async def test_what_a_killed_node_leaves_is_removed_without_it(control):
    control.want(deployment("web", 2))
    process = node(control.paths)
    await until(lambda: len(control.ready()) == 2)
    process.kill()
    process.wait()
    assert traces(control.paths.run)
    await asyncio.to_thread(remove_all, control.paths)
    assert traces(control.paths.run) == []


async def test_a_gateway_is_offered_here_and_a_taken_port_names_its_owner(control):
    gateway = deployment("istio-ingressgateway", namespace="istio-system")
    template = gateway["spec"]["template"]
    template["metadata"] |= {"annotations": {"inject.istio.io/templates": "gateway"}, "labels": {"istio": "ingressgateway"}}
    template["spec"]["containers"] = [{"name": "istio-proxy", "image": "auto"}]
    ports = [{"port": 80, "targetPort": 15021}]  # the one port that a proxy without configuration has
    service = {
        "kind": "Service",
        "metadata": {"name": "istio-ingressgateway", "namespace": "istio-system"},
        "spec": {"selector": {"istio": "ingressgateway"}, "ports": ports},
    }
    blocker = subprocess.Popen([sys.executable, "-c", f"import socket,time; s=socket.create_server(('127.0.0.1',{PORT})); time.sleep(600)"])
    control.want(gateway, service)
    process = node(control.paths)
    try:
        await until(lambda: len(control.ready()) == 1)
        state = await call(control.paths, "State", {})
        assert (
            f"port {PORT} is taken by pid {blocker.pid} (" in state["ingress"][0]["problem"] and f"--publish 80={PORT + 1000}" in state["ingress"][0]["problem"]
        )
        blocker.kill()
        blocker.wait()

        def answers():
            run = subprocess.run(
                ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10", f"http://127.0.0.1:{PORT}/healthz/ready"], capture_output=True, text=True
            )
            return run.stdout == "200"

        await until(answers)
        process.kill()
        process.wait()
        assert answers()
        process = node(control.paths)
        await until(lambda: len(control.ready()) == 1)
        assert answers()
        here = {"namespace": "istio-system", "service": "istio-ingressgateway", "port": 80, "host_port": PORT, "url": f"http://127.0.0.1:{PORT}", "problem": ""}
        await until(lambda: control.ingress == [here])
        await call(control.paths, "Restart", {"workload": "deploy/istio-ingressgateway", "namespace": None})
        await until(answers)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 90) == 0
        assert not answers()
    finally:
        blocker.kill()
        process.kill()
        process.wait()
