"""A scratch Envoy that is asked whether it would take some resources: `envoy --mode validate`, which opens no port and sends nothing.

Called by `control.attribution`: a proxy's refusal is an untrusted claim until it is reproduced here. Listeners and clusters are asked about as they
are; routes, endpoints and extension configurations are put where a static configuration has them.
"""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError

from lateen.base.errors import LateenError
from lateen.base.names import SDS_DEFAULT_PATH, SDS_ROOT_PATH
from lateen.wire.pb.envoy.config.bootstrap.v3 import bootstrap_pb2
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.core.v3 import config_source_pb2, extension_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.wire.pb.envoy.extensions.filters.http.router.v3 import router_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from lateen.wire.pb.envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from lateen.xds.resource import ResourceType

TIMEOUT_S = 20.0
"""One question takes 0.1–0.3 s on a free core."""
_ADS_CLUSTER = "scratch-ads"
_TYPE_PREFIX = "type.googleapis.com/"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class ScratchFailed(LateenError):
    """The scratch Envoy could not be asked."""


@dataclass(frozen=True)
class Suspect:
    """One resource in question. `body`: the serialized message."""

    type_url: str
    name: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Scratch:
    """Asks one Envoy at a time. `envoy`: the executable."""

    envoy: Path
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def refusal(self, suspects: Sequence[Suspect]) -> str | None:
        """Why Envoy refuses these resources together; None: it takes them. Raises ScratchFailed."""
        try:
            bootstrap = _bootstrap(suspects)
        except DecodeError:
            return "the bytes are not the message that the type says"
        async with self._one:
            with tempfile.TemporaryDirectory(prefix="lateen-scratch-") as folder:
                return await self._ask(Path(folder), bootstrap)

    async def culprits(self, suspects: Sequence[Suspect]) -> dict[Suspect, str]:
        """The resources that Envoy refuses on their own, and why: found by halving. Empty: it takes them all. Raises ScratchFailed."""
        message = await self.refusal(suspects)
        if message is None:
            return {}
        if len(suspects) == 1:
            return {suspects[0]: message}
        half = len(suspects) // 2
        found = {**await self.culprits(suspects[:half]), **await self.culprits(suspects[half:])}
        return found or dict.fromkeys(suspects, message)  # each alone is fine: only together they are not

    async def _ask(self, folder: Path, bootstrap: bytes) -> str | None:
        (folder / "bootstrap.pb").write_bytes(bootstrap)
        for path in (SDS_DEFAULT_PATH, SDS_ROOT_PATH):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps({"resources": []}))
        argv = (str(self.envoy), "--mode", "validate", "-c", "bootstrap.pb", "--use-dynamic-base-id", "-l", "error")
        process = await asyncio.create_subprocess_exec(*argv, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                output, _ = await process.communicate()
        except TimeoutError:
            raise ScratchFailed(f"the scratch Envoy did not answer within {TIMEOUT_S:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return None if process.returncode == 0 else _reason(output.decode(errors="replace"))


def _reason(output: str) -> str:
    """The last line that says what is wrong."""
    lines = [line for line in output.splitlines() if line.strip()]
    said = [line for line in lines if "error initializing configuration" in line or "rror" in line] or lines
    text = said[-1] if said else "no reason given"
    return text.partition("bootstrap.pb': ")[2] or text.rpartition("] ")[2]


def _bootstrap(suspects: Sequence[Suspect]) -> bytes:
    message = bootstrap_pb2.Bootstrap()
    message.node.id, message.node.cluster = "scratch", "scratch"
    ads = message.dynamic_resources.ads_config
    ads.api_type = config_source_pb2.ApiConfigSource.DELTA_GRPC
    ads.transport_api_version = config_source_pb2.V3
    ads.grpc_services.add().envoy_grpc.cluster_name = _ADS_CLUSTER
    server = message.static_resources.clusters.add(name=_ADS_CLUSTER)
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    server.typed_extension_protocol_options[_HTTP_OPTIONS].type_url = _TYPE_PREFIX + _HTTP_OPTIONS
    server.typed_extension_protocol_options[_HTTP_OPTIONS].value = options.SerializeToString()
    server.connect_timeout.FromMilliseconds(250)
    server.load_assignment.cluster_name = _ADS_CLUSTER
    server.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.pipe.path = "/nowhere"
    for number, suspect in enumerate(suspects):
        _add(message, number, suspect)
    return message.SerializeToString()


def _add(message: bootstrap_pb2.Bootstrap, number: int, suspect: Suspect) -> None:
    static = message.static_resources
    match suspect.type_url:
        case ResourceType.CLUSTER.value:
            static.clusters.append(cluster_pb2.Cluster.FromString(suspect.body))
        case ResourceType.LISTENER.value:
            listener = listener_pb2.Listener.FromString(suspect.body)
            if listener.HasField("api_listener"):
                _manager(static.listeners.add(name=f"api-{number}"), hcm_pb2.HttpConnectionManager.FromString(listener.api_listener.api_listener.value))
            else:
                static.listeners.append(listener)
        case ResourceType.ENDPOINT.value:
            assignment = endpoint_pb2.ClusterLoadAssignment.FromString(suspect.body)
            cluster = static.clusters.add(name=f"endpoints-{number}")
            cluster.connect_timeout.FromMilliseconds(250)
            cluster.load_assignment.CopyFrom(assignment)
        case ResourceType.ROUTE.value:
            manager = hcm_pb2.HttpConnectionManager(stat_prefix="scratch")
            manager.route_config.MergeFromString(suspect.body)
            manager.route_config.validate_clusters.value = False  # by RDS a route may name a cluster that is not there
            _router(manager)
            _manager(static.listeners.add(name=f"routes-{number}"), manager)
        case ResourceType.EXTENSION.value:
            manager = hcm_pb2.HttpConnectionManager(stat_prefix="scratch")
            manager.route_config.CopyFrom(route_pb2.RouteConfiguration(name="scratch"))
            extension = extension_pb2.TypedExtensionConfig.FromString(suspect.body)
            manager.http_filters.add(name=extension.name).typed_config.CopyFrom(extension.typed_config)
            _router(manager)
            _manager(static.listeners.add(name=f"extension-{number}"), manager)
        case _:
            pass


def _router(manager: hcm_pb2.HttpConnectionManager) -> None:
    router = manager.http_filters.add(name="envoy.filters.http.router").typed_config
    router.type_url = _TYPE_PREFIX + router_pb2.Router.DESCRIPTOR.full_name
    router.value = b""


def _manager(listener: listener_pb2.Listener, manager: hcm_pb2.HttpConnectionManager) -> None:
    listener.address.socket_address.address, listener.address.socket_address.port_value = "127.0.0.1", 0
    config = listener.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager").typed_config
    config.type_url = _TYPE_PREFIX + hcm_pb2.HttpConnectionManager.DESCRIPTOR.full_name
    config.value = manager.SerializeToString()
