"""What the node's live tests share: a control that speaks delta discovery, an Envoy in a directory, a server to reach."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest

from lateen.node.admin import Admin
from lateen.node.bootstrap import BootstrapOptions, bootstrap
from lateen.node.pod import PodIdentity
from lateen.wire.binary import envoy_path
from lateen.wire.delta import DELTA_METHOD, decode_request, encode_response, resource_fragment
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.core.v3 import config_source_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.wire.pb.envoy.extensions.filters.http.router.v3 import router_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

PREFIX = "type.googleapis.com/envoy.config."
CLUSTER = f"{PREFIX}cluster.v3.Cluster"
ENDPOINTS = f"{PREFIX}endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{PREFIX}listener.v3.Listener"
ROUTES = f"{PREFIX}route.v3.RouteConfiguration"
WAIT_S = 60.0


@dataclass
class _Subscription:
    is_wildcard: bool
    names: set = field(default_factory=set)
    held: dict = field(default_factory=dict)


class ScriptedControl:
    """A control plane of few words: what `publish` says is what every stream gets, as differences."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.resources: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.first_requests = []
        self.errors = []
        self.streams = set()
        self.is_mute = False
        self._server = None
        self._nonce = 0

    async def start(self) -> None:
        control = self

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                return grpc.stream_stream_rpc_method_handler(control._handle, None, None) if details.method == DELTA_METHOD else None

        self.path.unlink(missing_ok=True)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((Handler(),))
        self._server.add_insecure_port(f"unix:{self.path}")
        await self._server.start()

    async def die(self) -> None:
        await self._server.stop(0)
        self.streams.clear()

    def publish(self, type_url: str, **resources) -> None:
        """Sets or (None) removes resources by name; `name=(version, message)`."""
        mine = self.resources.setdefault(type_url, {})
        for name, value in resources.items():
            if value is None:
                mine.pop(name, None)
            else:
                mine[name] = (value[0], value[1].SerializeToString(deterministic=True))
        for wake in list(self.streams):
            wake.set()

    async def _handle(self, _, context) -> None:
        types: dict[str, _Subscription] = {}
        wake = asyncio.Event()
        self.streams.add(wake)
        reader = asyncio.create_task(self._read(context, types, wake))
        try:
            while not reader.done():
                await wake.wait()
                wake.clear()
                if self.is_mute:
                    continue
                for type_url, subscription in list(types.items()):
                    await self._answer(context, type_url, subscription)
        finally:
            reader.cancel()
            self.streams.discard(wake)

    async def _read(self, context, types, wake) -> None:
        while (raw := await context.read()) is not grpc.aio.EOF:
            request = decode_request(raw)
            if request.error:
                self.errors.append(request.error)
            if request.type_url not in types:
                self.first_requests.append(request)
                types[request.type_url] = _Subscription(not request.subscribe, held=dict(request.initial_versions))
            subscription = types[request.type_url]
            subscription.names |= set(request.subscribe)
            subscription.names -= set(request.unsubscribe)
            wake.set()
        wake.set()

    async def _answer(self, context, type_url, subscription) -> None:
        mine = self.resources.get(type_url, {})
        wanted = {name: value for name, value in mine.items() if subscription.is_wildcard or name in subscription.names}
        changed = {name: value for name, value in wanted.items() if subscription.held.get(name) != value[0]}
        gone = [name for name in subscription.held if name not in wanted]
        if not changed and not gone:
            return
        self._nonce += 1
        fragments = [resource_fragment(name, version, type_url, body) for name, (version, body) in changed.items()]
        subscription.held = {name: version for name, (version, _) in wanted.items()}
        await context.write(encode_response(type_url, str(self._nonce), fragments, gone))


def cluster(name: str, connect_timeout_s: int = 1):
    message = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    message.connect_timeout.seconds = connect_timeout_s
    message.eds_cluster_config.eds_config.ads.SetInParent()
    message.eds_cluster_config.eds_config.resource_api_version = config_source_pb2.V3
    return message


def endpoints(name: str, port: int):
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    address = message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return message


def routes(name: str, target: str):
    message = route_pb2.RouteConfiguration(name=name)
    host = message.virtual_hosts.add(name="all", domains=["*"])
    route = host.routes.add()
    route.match.prefix = "/"
    route.route.cluster = target
    return message


def listener(name: str, port: int, route_name: str):
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix=name)
    manager.rds.route_config_name = route_name
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = config_source_pb2.V3
    router = manager.http_filters.add(name="envoy.filters.http.router")
    router.typed_config.Pack(router_pb2.Router())
    message = listener_pb2.Listener(name=name)
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    message.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager").typed_config.Pack(manager)
    return message


def pod(name: str = "web-0", **more) -> PodIdentity:
    return PodIdentity("default", name, "web", ("127.0.0.1",), "web", {"app": "web"}, **more)


class EnvoyInDirectory:
    """A real Envoy with the node's bootstrap, without its fixed ports, in the network of the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.process = None
        self.admin = Admin(directory / "admin.sock")

    def start(self) -> None:
        options = BootstrapOptions(uses_node_dns=False, has_mark=os.geteuid() == 0)
        config = bootstrap(pod(), options)
        config["static_resources"]["listeners"] = []
        (self.directory / "envoy.json").write_text(json.dumps(config))
        argv = [envoy_path(), "-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart", "-l", "warning", "--log-path", "envoy.log"]
        self.process = subprocess.Popen(argv, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    async def live(self) -> None:
        await until(self.admin.is_ready)


async def until(condition, wait_s: float = WAIT_S) -> None:
    """Waits for an awaitable condition."""
    async with asyncio.timeout(wait_s):
        while not await condition():
            await asyncio.sleep(0.02)


async def http_get(port: int, path: str = "/", host: str = "127.0.0.1") -> tuple[int, str]:
    """One request on a new connection: status (0: no answer) and body."""
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body.decode()


@contextlib.asynccontextmanager
async def answering(text: str) -> AsyncIterator[int]:
    """A server that answers every request with `text`; gives its port."""

    async def handle(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def kit():
    """The helpers of this file, for test modules (which import no other test module)."""
    import sys

    return sys.modules[__name__]


@pytest.fixture
async def control(tmp_path):
    scripted = ScriptedControl(tmp_path / "control.sock")
    yield scripted
    if scripted._server:
        await scripted.die()


@pytest.fixture
def envoy(tmp_path):
    one = EnvoyInDirectory(tmp_path / "proxy")
    yield one
    one.kill()
