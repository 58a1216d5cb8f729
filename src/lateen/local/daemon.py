"""`lateen node` on one machine: keeps the pods that control wants, and the mesh beside each of them. Called by the command line.

SIGTERM ends every pod, with its grace, and removes what was made; SIGKILL leaves all of it running, and the next node of the name goes on with it.
"""

import asyncio
import json
import os
import pwd
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import structlog

from lateen.base.errors import LateenError
from lateen.base.paths import MeshPaths
from lateen.local.cleanup import remove_all
from lateen.local.control_link import ControlLink, Running
from lateen.local.edge import Edge
from lateen.local.fleet import Fleet, FleetSettings
from lateen.local.images import NO_IMAGES, image_map
from lateen.local.isolation.namespaces import NamespaceIsolation
from lateen.local.mesh_side import MeshSides, sidecar_options
from lateen.local.podspec import Json
from lateen.local.publishing import published
from lateen.local.runner import PodRunner
from lateen.local.users import User
from lateen.node import log
from lateen.node.dns import DnsServer
from lateen.node.known import KnownGood
from lateen.node.relay import Relay
from lateen.node.signer import ControlSigner

_EDGE_RETRY_S: Final = 2.0
"""A taken port is looked at again after this."""
_RESTART_TIMEOUT_S: Final = 280.0
_KINDS: Final = {
    "deploy": "Deployment",
    "deployment": "Deployment",
    "deployments": "Deployment",
    "sts": "StatefulSet",
    "statefulset": "StatefulSet",
    "pod": "Pod",
}
_log = structlog.get_logger("local.daemon")


@dataclass(frozen=True)
class NodeOptions:
    """What `lateen node` was told. `publish`: port of a gateway → port of this machine, where not 8000 more."""

    paths: MeshPaths
    publish: dict[int, int] = field(default_factory=dict)
    image_map: Path | None = None
    invoking_uid: int = 0
    invoking_gid: int = 0
    concurrency: int = 2
    trust_domain: str = "cluster.local"
    domain: str = "cluster.local"


def run(options: NodeOptions) -> int:
    """Be the node until told to stop. The exit code. LateenError: it could not begin."""
    log.configure()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    asyncio.run(_Node(options).run())
    return 0


class _Node:
    """The daemon's parts, wired."""

    def __init__(self, options: NodeOptions) -> None:
        self._options = options
        self._caller = User(options.invoking_uid, options.invoking_gid, home=_home(options.invoking_uid))
        paths = options.paths
        paths.pods.mkdir(parents=True, exist_ok=True)
        paths.pods.chmod(0o711)
        self._isolation = NamespaceIsolation(paths)
        self._isolation.open()
        self._edge = Edge(paths, self._isolation)
        self._stopping = asyncio.Event()
        self._look_at_edge = asyncio.Event()
        self._names: asyncio.Queue[Json] = asyncio.Queue()
        """Tables of names not yet taken in; only the last of them counts."""

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        paths, loop = self._options.paths, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        async with AsyncExitStack() as stack:
            known = KnownGood(paths.run / "known")
            stack.callback(known.close)
            relay = await stack.enter_async_context(Relay(paths.control_socket, known))
            signer = await stack.enter_async_context(ControlSigner(paths.control_socket))
            options = self._options
            dns = DnsServer(paths.run / "dns.json", domain=self._options.domain)
            stack.push_async_callback(dns.close)
            sides = MeshSides(
                self._isolation,
                relay,
                known,
                signer,
                dns,
                options.trust_domain,
                sidecar_options(options.trust_domain, options.domain, options.concurrency),
                self._caller,
            )
            fleet = Fleet(self._settings(sides))
            fleet.set_names(dns.names.addresses)

            def running_here() -> Running:
                return Running(_by_name(fleet.pod_objects()), [each.shown() for each in self._edge.published], fleet.problems)

            link = ControlLink(paths.control_socket, socket.gethostname(), running_here, lambda message: self._on_message(fleet, message))
            fleet.changed = lambda runner: self._on_pod(link, runner)
            server = await self._served(fleet)
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(known.run()),
                    tasks.create_task(link.run()),
                    tasks.create_task(self._edge.run()),
                    tasks.create_task(self._publish(fleet, link)),
                    tasks.create_task(self._name(sides)),
                ]
                running = tasks.create_task(fleet.run())
                await self._stopping.wait()
                fleet.close()
                await running
                await self._edge.stop()
                await server.stop(0)
                for task in background:
                    task.cancel()
        await asyncio.to_thread(remove_all, paths)

    def _settings(self, sides: MeshSides) -> FleetSettings:
        options = self._options
        return FleetSettings(
            paths=options.paths,
            isolation=self._isolation,
            images=image_map(options.image_map) if options.image_map else NO_IMAGES,
            caller=self._caller,
            mesh_side=sides.make,
            node_name=socket.gethostname(),
            path=os.environ.get("PATH", os.defpath),
            host_address=self._isolation.subnets.gateway_ipv4,
        )

    def _on_message(self, fleet: Fleet, message: dict[str, Any]) -> None:
        objects = [item for item in message.get("objects", ()) if item.get("kind") != "DnsTable"]
        for item in message.get("objects", ()):
            if item.get("kind") == "DnsTable":
                fleet.set_names(item["spec"]["entries"])
                self._names.put_nowait(item["spec"])
        fleet.apply(objects, message.get("removed", ()), bool(message.get("full")))
        self._look_at_edge.set()

    def _on_pod(self, link: ControlLink, runner: PodRunner) -> None:
        meta = runner.machine.pod.metadata
        link.touch(f"{meta.namespace}/{meta.name}")
        if runner.machine.pod.is_gateway:
            self._look_at_edge.set()

    async def _name(self, sides: MeshSides) -> None:
        """Give every pod the mesh's names as they change."""
        while True:
            table = await self._names.get()
            while not self._names.empty():
                table = self._names.get_nowait()
            await sides.set_names(table)

    async def _publish(self, fleet: Fleet, link: ControlLink) -> None:
        """Offer gateways' ports as gateways come and go; ports that are taken are tried again."""
        await fleet.adopted.wait()
        while True:
            wanted = published(fleet.services().values(), (runner.machine for runner in fleet.runners.values()), self._options.publish)
            before = self._edge.published
            try:
                await asyncio.to_thread(self._edge.offer, wanted)
            except OSError as error:
                _log.error("gateways' ports are not offered", error=str(error))
            if self._edge.published != before:
                link.say()
                for each in self._edge.published:
                    _log.info("gateway port", **each.shown())
            try:
                async with asyncio.timeout(_EDGE_RETRY_S if any(each.problem for each in self._edge.published) else None):
                    await self._look_at_edge.wait()
            except TimeoutError:
                pass
            self._look_at_edge.clear()

    async def _served(self, fleet: Fleet) -> grpc.aio.Server:
        """Answers the command line on the node's socket."""
        path = self._options.paths.node_socket
        path.unlink(missing_ok=True)  # a local name: no wait

        async def state(_: Json) -> Json:
            return {"pods": fleet.rows(), "ingress": [each.shown() for each in self._edge.published], "problems": fleet.problems}

        async def restart(request: Json) -> Json:
            return {"restarted": await _restarted(fleet, request)}

        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Methods({"State": state, "Restart": restart}),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        path.chmod(0o600)  # likewise
        return server


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC ships no types
    """JSON methods under `/lateen.v1.Local/`."""

    def __init__(self, methods: dict[str, Callable[[Json], Awaitable[Json]]]) -> None:
        self._methods = {f"/lateen.v1.Local/{name}": method for name, method in methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> object:
        """Source: grpc.GenericRpcHandler."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None

        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return json.dumps(await method(json.loads(request or b"{}"))).encode()
            except LateenError as error:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
                raise

        return grpc.unary_unary_rpc_method_handler(answer)


async def _restarted(fleet: Fleet, request: Json) -> list[str]:
    """Replace a workload's pods; returns when the new ones take traffic: their names. LateenError if they do not in time."""
    kind, _, name = str(request.get("workload", "")).rpartition("/")
    namespace = request.get("namespace")
    wanted = _KINDS.get(kind.lower(), kind or "Deployment")
    keys = [key for key in fleet.wanted.objects if key.split("/")[0] == wanted and key.split("/")[2] == name and namespace in (None, key.split("/")[1])]
    if len(keys) > 1:
        raise LateenError(f"`{name}` is in several namespaces ({', '.join(key.split('/')[1] for key in keys)}): name one with -n")
    if not keys:
        return []
    key = keys[0]
    before = {pod for pod, runner in fleet.runners.items() if runner.machine.pod.workload == key}
    uids = {runner.machine.pod.metadata.uid for runner in fleet.runners.values()}
    fleet.restart(key.split("/")[1], wanted, name)
    async with asyncio.timeout(_RESTART_TIMEOUT_S):
        while True:
            await asyncio.sleep(0.05)
            now = {pod: runner for pod, runner in fleet.runners.items() if runner.machine.pod.workload == key}
            fresh = [runner for runner in now.values() if runner.machine.pod.metadata.uid not in uids]
            if len(fresh) == len(now) and len(fresh) >= len(before) and all(runner.machine.is_ready for runner in fresh):
                return sorted(f"{runner.machine.pod.metadata.namespace}/{runner.machine.pod.metadata.name}" for runner in fresh)


def _by_name(pods: list[Json]) -> dict[str, Json]:
    return {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod for pod in pods}


def _home(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"
