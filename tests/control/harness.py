"""A control process under folders of its own, and clients of it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

import grpc
import grpc.aio

from lateen.wire.client import DeltaClient, node, run
from lateen.wire.delta import DeltaResponse
from tests.ports import free_port

CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"
RDS = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}, security.istio.io/tlsMode: istio}}}}
spec: {{serviceAccountName: {app}, containers: [{{name: a, image: x, ports: [{{containerPort: 8080}}]}}]}}
status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}], conditions: [{{type: Ready, status: "{ready}"}}]}}
"""
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{clusterIP: {ip}, selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""


def pod(name: str, ip: str, *, app: str = "web", namespace: str = "shop", ready: bool = True) -> str:
    return POD.format(name=name, app=app, namespace=namespace, ip=ip, ready=ready)


def service(name: str, ip: str, namespace: str = "shop") -> str:
    return SERVICE.format(name=name, namespace=namespace, ip=ip)


class Control:
    """`lateen control` over one folder."""

    def __init__(self, **files: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="lateen-c-"))
        weakref.finalize(self, shutil.rmtree, self.home, ignore_errors=True)
        self.folder = self.home / "files"
        self.folder.mkdir()
        for name, text in files.items():
            self.write(name, text)
        self.port = free_port()
        self.environment = os.environ | {"LATEEN_RUN": str(self.home / "run"), "LATEEN_STATE": str(self.home / "state")}
        self.socket = self.home / "run" / "t" / "control.sock"
        self.process: subprocess.Popen | None = None

    def write(self, name: str, text: str) -> None:
        temporary = self.folder / f".{name}.tmp"
        temporary.write_text(text)
        temporary.rename(self.folder / f"{name}.yaml")

    def start(self, *options: str) -> "Control":
        argv = [sys.executable, "-m", "lateen", "control", str(self.folder), "--name", "t", "--listen", f"127.0.0.1:{self.port}", *options]
        self.process = subprocess.Popen(argv, env=self.environment, stdout=subprocess.DEVNULL, stderr=(self.home / "log").open("ab"))
        for _ in range(2400):
            if self.process.poll() is not None:
                raise AssertionError((self.home / "log").read_text())
            if self.socket.exists():
                try:
                    self.call("Status")
                    return self
                except grpc.RpcError:
                    pass
            time.sleep(0.05)
        raise AssertionError("control does not answer")

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def call(self, method: str, request: dict | None = None, service: str = "Control") -> dict:
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            return json.loads(channel.unary_unary(f"/lateen.v1.{service}/{method}")(json.dumps(request or {}).encode(), timeout=60))

    def log(self) -> str:
        return (self.home / "log").read_text()

    def credentials(self, account: str) -> grpc.ChannelCredentials:
        out = self.home / account.replace("/", "-")
        subprocess.run(
            [sys.executable, "-m", "lateen", "ca", "issue", account, "--out", str(out), "--name", "t"],
            env=self.environment,
            check=True,
            capture_output=True,
            timeout=60,
        )
        return grpc.ssl_channel_credentials(*((out / name).read_bytes() for name in ("root-cert.pem", "key.pem", "cert-chain.pem")))


class Watcher:
    """A client that follows clusters' endpoints and listeners' routes as Envoy does, and notes what it was sent."""

    def __init__(self, name: str = "web-1", ip: str = "10.1.0.1", namespace: str = "shop", account: str = "web", **metadata: object) -> None:
        meta = {"NAMESPACE": namespace, "SERVICE_ACCOUNT": account, "LABELS": {"app": "web"}, "INSTANCE_IPS": ip, **metadata}
        self.client = DeltaClient(node(f"sidecar~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local", meta))
        self.sent: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
        self.news = asyncio.Event()

    async def follow(self, channel: grpc.aio.Channel) -> None:
        await run(channel, self.client, self._on)

    async def _on(self, response: DeltaResponse) -> list[bytes]:
        self.sent.append((response.type_url, tuple(one.name for one in response.resources), response.removed))
        self.news.set()
        if response.type_url == CDS:
            return self.client.ask(EDS, {name for name in self.held(CDS) if name.startswith("outbound|")})
        if response.type_url == LDS:
            return self.client.ask(RDS, self.routes())
        return []

    def routes(self) -> set[str]:
        from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
        from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm

        names = set()
        for _, body in self.client.held.get(LDS, {}).values():
            listener = listener_pb2.Listener.FromString(body)
            for chain in (*listener.filter_chains, listener.default_filter_chain):
                for one in chain.filters:
                    if one.typed_config.type_url.endswith("HttpConnectionManager"):
                        manager = hcm.HttpConnectionManager.FromString(one.typed_config.value)
                        if manager.HasField("rds"):
                            names.add(manager.rds.route_config_name)
        return names

    def held(self, url: str) -> set[str]:
        return set(self.client.held.get(url, {}))

    def endpoints(self, cluster: str) -> set[str]:
        from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2

        held = self.client.held.get(EDS, {}).get(cluster)
        if held is None:
            return set()
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(held[1])
        return {one.endpoint.address.socket_address.address for place in assignment.endpoints for one in place.lb_endpoints if one.health_status != 3}

    async def until(self, condition, what: str, timeout_s: float = 60) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.news.clear()
                try:
                    await asyncio.wait_for(self.news.wait(), 0.2)
                except TimeoutError:
                    pass


def bootstrap(socket: Path, folder: Path) -> dict:
    """A gateway's Envoy, fed over a unix socket."""
    return {
        "node": {
            "id": "router~127.0.0.1~edge-1.shop~shop.svc.cluster.local",
            "cluster": "edge",
            "metadata": {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "edge", "LABELS": {"istio": "edge"}},
        },
        "admin": {"address": {"pipe": {"path": str(folder / "admin")}}},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(socket)}}}}]}]},
                }
            ]
        },
    }
