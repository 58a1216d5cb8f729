"""gRPC takes what it is sent: configurations of the behaviour data set, as a client without a proxy gets them, given to a real grpcio that dials every service.

A case's names are made its own by a number, so that one client process sees them all; endpoints are put where nobody answers.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from zlib import crc32

import grpc
import pytest

from lateen.mesh.projection import view_of
from lateen.mesh.services import all_services
from lateen.mesh.view import ProxyType
from lateen.wire.delta import STATE_OF_THE_WORLD_METHOD
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2
from lateen.wire.world import WHOLE, encode_response
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource
from tests.cases.evidence import Case
from tests.control.proxyless import app

BEHAVIOUR = Path(os.environ.get("LATEEN_CONFORMANCE", Path(__file__).resolve().parents[3] / "shared" / "conformance")) / "behaviour"
SETS = ("probes", "random", "istio_tests", "samples", "gatewayapi")
SHARE = int(os.environ.get("LATEEN_PROXYLESS_SHARE", "24"))
"""One case of so many."""
MOST_TARGETS = 3
pytestmark = [pytest.mark.live, pytest.mark.skipif(not BEHAVIOUR.is_dir() and os.environ.get("CI") != "true", reason=f"no behaviour data set: {BEHAVIOUR}")]


class Named(Case):
    """A case whose resources bear its number."""

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__(folder)
        self.folder, self.prefix = folder, f"c{number}."
        (proxy,) = self.proxies
        metadata = tuple(sorted({**dict(proxy.metadata), "GENERATOR": "grpc"}.items()))
        self.view = view_of(self.db, replace(proxy, type=ProxyType.SIDECAR, metadata=metadata))

    def targets(self) -> list[str]:
        names = [f"{one.hostname}:{port.number}" for one in all_services(self.db) for port in one.ports]
        return [self.prefix + name for name in dict.fromkeys(names) if resource(self.db, self.view, ResourceType.LISTENER, name)][:MOST_TARGETS]

    def get(self, type_: ResourceType, name: str) -> bytes | None:
        found = resource(self.db, self.view, type_, name.removeprefix(self.prefix))
        return None if found is None else getattr(self, f"_{type_.name.lower()}")(found.body).SerializeToString()

    def _listener(self, body: bytes) -> listener_pb2.Listener:
        message = listener_pb2.Listener.FromString(body)
        manager = hcm.HttpConnectionManager.FromString(message.api_listener.api_listener.value)
        message.name, manager.rds.route_config_name = self.prefix + message.name, self.prefix + manager.rds.route_config_name
        message.api_listener.api_listener.value = manager.SerializeToString()
        return message

    def _route(self, body: bytes) -> route_pb2.RouteConfiguration:
        message = route_pb2.RouteConfiguration.FromString(body)
        message.name = self.prefix + message.name
        for host in message.virtual_hosts:
            for route in host.routes:
                if route.route.cluster:
                    route.route.cluster = self.prefix + route.route.cluster
                for one in route.route.weighted_clusters.clusters if route.HasField("route") else ():
                    one.name = self.prefix + one.name
        return message

    def _cluster(self, body: bytes) -> cluster_pb2.Cluster:
        message = cluster_pb2.Cluster.FromString(body)
        message.name = self.prefix + message.name
        if message.type == cluster_pb2.Cluster.EDS:
            message.eds_cluster_config.service_name = message.name
        return message

    def _endpoint(self, body: bytes) -> endpoint_pb2.ClusterLoadAssignment:
        message = endpoint_pb2.ClusterLoadAssignment.FromString(body)
        message.cluster_name = self.prefix + message.cluster_name
        hosts = [one for place in message.endpoints for one in place.lb_endpoints]
        for number, one in enumerate(hosts):
            one.endpoint.address.socket_address.address, one.endpoint.address.socket_address.port_value = f"127.9.{number // 200}.{number % 200 + 1}", 1
        return message


@dataclass
class Control(grpc.GenericRpcHandler):
    """Answers each request with all it names; `refused`: what the client says of what it does not take; `taken`: names it acknowledged, by type."""

    cases: dict[str, Named]
    refused: list[str] = field(default_factory=list)
    sent: dict[ResourceType, set[str]] = field(default_factory=lambda: {type_: set() for type_ in ResourceType})

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.stream_stream_rpc_method_handler(self.stream) if details.method == STATE_OF_THE_WORLD_METHOD else None

    def stream(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        asked: dict[str, set[str]] = {}
        count = 0
        for raw in requests:
            request = discovery_pb2.DiscoveryRequest.FromString(raw)
            if request.HasField("error_detail"):
                self.refused.append(request.error_detail.message)
            names = set(request.resource_names)
            fresh, asked[request.type_url] = names - asked.get(request.type_url, set()), names
            if not fresh:
                continue
            type_ = ResourceType(request.type_url)
            bodies = [body for name in sorted(names if request.type_url in WHOLE else fresh) if (body := self.cases[name.split(".")[0]].get(type_, name))]
            self.sent[type_] |= fresh
            count += 1
            yield encode_response(request.type_url, str(count), bodies)


def folders() -> list[Path]:
    found = [path.parent for name in SETS for path in (BEHAVIOUR / name).glob("*/in.yaml")]
    return sorted(path for path in found if crc32(path.name.encode()) % SHARE == 0)


def test_no_resource_is_refused() -> None:
    cases = {}
    for number, folder in enumerate(folders()):
        if (folder / "proxy.json").exists():
            case = Named(folder, number)
            cases[case.prefix.rstrip(".")] = case
    control = Control(cases)
    server = grpc.server(ThreadPoolExecutor(500), handlers=(control,))  # a client has a stream for each target
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    bootstrap = {
        "xds_servers": [{"server_uri": f"127.0.0.1:{port}", "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
        "node": {"id": "test"},
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": {"ca_certificate_file": __file__, "refresh_interval": "600s"}}},
    }
    environment = os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap), "GRPC_VERBOSITY": "NONE"}
    targets = [f"xds:///{target}" for case in cases.values() for target in case.targets()]
    asked = "\n".join(json.dumps({"target": target, "timeout": 0.3}) for target in targets)
    try:
        done = subprocess.run([sys.executable, app.__file__, "client"], input=asked, env=environment, capture_output=True, text=True, timeout=200)
    finally:
        server.stop(0)
        print("\n".join(dict.fromkeys(control.refused)))
    assert len(done.stdout.splitlines()) == len(targets) > 10, done.stderr
    assert control.refused == [], "\n".join(dict.fromkeys(control.refused))
    for type_ in (ResourceType.LISTENER, ResourceType.ROUTE, ResourceType.CLUSTER, ResourceType.ENDPOINT):
        assert control.sent[type_], type_
    print(f"{len(cases)} cases, {len(targets)} targets, " + ", ".join(f"{len(names)} {type_.name}" for type_, names in control.sent.items()))
