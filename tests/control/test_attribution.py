"""A refusal planted where bytes are made: a real Envoy refuses, a scratch Envoy reproduces it, the object is quarantined, its last good form stays."""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from harness import RDS, Watcher, bootstrap
from test_hitless import GATEWAY, SERVICES, route, rule, slices

from lateen.base.names import ObjectRef
from lateen.base.spiffe import SpiffeId
from lateen.config.decode import decode
from lateen.control.attribution import Attribution
from lateen.control.events import Events
from lateen.control.pilot import FILES, Pilot
from lateen.identity.ca import issue, new_authority
from lateen.identity.subject import WorkloadAttributes
from lateen.incremental import Db, query
from lateen.insight.scratch import Scratch
from lateen.mesh.view import View
from lateen.node.certificates import Bundle, write_bundle
from lateen.serve.door import SERVER_OPTIONS
from lateen.wire.binary import envoy_path
from lateen.wire.delta import DeltaResponse
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.xds.check import problem
from lateen.xds.resource import Resource, ResourceType
from lateen.xds.resources import resource
from tests.ports import free_port

pytestmark = pytest.mark.live
RULE, ROUTE = ObjectRef("DestinationRule", "shop", "web"), ObjectRef("VirtualService", "shop", "web")


@query
def planted(db: Db, view: View, type_: ResourceType, name: str) -> Resource | None:
    """What the mesh emits, but: a connect timeout of 4.242 s becomes one that Envoy refuses, and a weight of 42 a regex that it refuses; of 4.343 s, one
    that is found out before it is sent, and of 4.444 s one that doesn't name what it comes from, too."""
    found = resource(db, view, type_, name)
    if found is not None and type_ is ResourceType.CLUSTER:
        cluster = cluster_pb2.Cluster.FromString(found.body)
        milliseconds = cluster.connect_timeout.ToMilliseconds()
        if milliseconds in (4242, 4343, 4444):
            cluster.connect_timeout.FromSeconds(-1)
            origins = found.origins - {RULE} if milliseconds == 4444 else found.origins
            return Resource(type_, name, cluster.SerializeToString(), origins, "" if milliseconds == 4242 else problem(cluster))
    if found is not None and type_ is ResourceType.ROUTE:
        table = route_pb2.RouteConfiguration.FromString(found.body)
        for host in table.virtual_hosts:
            for one in host.routes:
                if any(target.weight.value == 42 for target in one.route.weighted_clusters.clusters):
                    one.match.safe_regex.regex = "a("
        return Resource(type_, name, table.SerializeToString(), found.origins)
    return found


async def ended(task: asyncio.Task[None]) -> None:
    """Cancelled, and waited for: it may have an Envoy of its own to end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Rig:
    """Pilot with a door on a unix socket, and a gateway's Envoy behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.events, self.seen = folder, Events(), []
        self.pilot = Pilot(self.events, resources=planted)
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> "Rig":
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((self.pilot.door.handler(is_local=True),))
        server.add_insecure_port(f"unix:{self.folder}/control.sock")
        await server.start()
        self.stack.push_async_callback(server.stop, 0)
        attribution = Attribution(self.pilot, Scratch(envoy_path()))
        for work in (self.pilot.run(), self.pilot.door.tick(), attribution.run(), self.listen()):
            self.stack.push_async_callback(ended, asyncio.create_task(work))
        self.write(SERVICES, GATEWAY.replace("PORT", str(free_port())), slices(("v1", 9), ("v2", 9)), rule(1000, "v1", "v2"), route(v1=50, v2=50))
        issued, key = issue(new_authority("cluster.local", time.time()), SpiffeId("cluster.local", "shop", "edge"), WorkloadAttributes(), 3600, time.time())
        write_bundle(self.folder / "certs", Bundle(issued.chain, key, issued.root))
        (self.folder / "envoy.json").write_text(json.dumps(bootstrap(self.folder / "control.sock", self.folder)))
        log = (self.folder / "envoy.log").open("w")
        argv = [str(envoy_path()), "-c", str(self.folder / "envoy.json"), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]
        envoy = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self.folder)
        self.stack.callback(envoy.wait, 10)
        self.stack.callback(envoy.kill)
        await self.until(
            lambda: self.connection() and self.connection().session.is_settled and len(self.connection().session.subscriptions) >= 4, "Envoy has everything"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def listen(self) -> None:
        async for event in self.events.follow():
            self.seen.append(event)

    def write(self, *texts: str) -> None:
        self.pilot.submit(FILES, [item for text in texts for item in decode(text, "t").objects])

    def connection(self):
        return next(iter(self.pilot.door.connections.values()), None)

    async def until(self, condition, what: str) -> None:
        try:
            async with asyncio.timeout(90):
                while not condition():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: {self.seen} {(self.folder / 'envoy.log').read_text()[-2000:]}") from None


async def test_envoy_names_the_cluster(tmp_path):
    async with Rig(tmp_path) as rig:
        rig.write(rule(4242, "v1", "v2"))
        await rig.until(lambda: RULE in rig.pilot.facts.quarantined, "the rule is quarantined")
        await rig.until(
            lambda: (
                rig.connection().session.is_settled and not rig.connection().session.subscriptions[next(iter(rig.connection().session.subscriptions))].rejected
            ),
            "good again",
        )
        assert rig.pilot.overlay.in_force[RULE].spec.traffic_policy.connection_pool.tcp.connect_timeout == 1.0
        assert set(rig.pilot.facts.quarantined) == {RULE}
        (finding,) = (finding for finding in rig.pilot.findings if finding.code == "LTN0602")
        assert finding.object == RULE
        assert "onnect" in finding.message or "uration" in finding.message
        rig.write(rule(2000, "v1", "v2"))
        await rig.until(lambda: not rig.pilot.facts.quarantined, "let go")
        await rig.until(lambda: rig.pilot.overlay.in_force[RULE].spec.traffic_policy.connection_pool.tcp.connect_timeout == 2.0, "the new form")


async def test_what_is_found_out_is_never_sent(tmp_path):
    async with Rig(tmp_path) as rig:
        rig.write(rule(4343, "v1", "v2"), route(v1=60, v2=40))
        await rig.until(lambda: RULE in rig.pilot.facts.quarantined, "the rule is quarantined")
        await rig.until(lambda: rig.pilot.catalog.withheld == (), "its last good form is published")
        await rig.until(lambda: rig.connection().session.is_settled, "settled")
        assert set(rig.pilot.facts.quarantined) == {RULE}
        assert [one.weight for one in rig.pilot.overlay.in_force[ROUTE].spec.http[0].route] == [60, 40]
        (finding,) = (finding for finding in rig.pilot.findings if finding.object == RULE)
        assert finding.code == "LTN0602"
        assert "connect_timeout" in finding.message
        assert not any(event["event"] == "rejected" for event in rig.seen)


async def test_what_is_to_blame_is_found_where_a_resource_does_not_name_it(tmp_path):
    async with Rig(tmp_path) as rig:
        rig.write(rule(4444, "v1", "v2"))
        await rig.until(lambda: RULE in rig.pilot.facts.quarantined, "the rule is quarantined, not the service")
        await rig.until(lambda: rig.pilot.catalog.withheld == (), "its last good form is published")
        assert set(rig.pilot.facts.quarantined) == {RULE}


async def test_several_changes_at_once_and_only_one_is_to_blame(tmp_path):
    async with Rig(tmp_path) as rig:
        rig.write(rule(3000, "v1", "v2"), route(v1=58, v2=42))
        await rig.until(lambda: ROUTE in rig.pilot.facts.quarantined, "the route is quarantined")
        await rig.until(lambda: rig.connection().session.is_settled, "settled")
        await rig.until(lambda: any(event["event"] == "rejected" for event in rig.seen), "the refusal is told")
        (refusal,) = (event for event in rig.seen if event["event"] == "rejected")
        assert refusal["resources"] and not any(name in refusal["message"] for name in refusal["resources"])  # Envoy names none
        assert set(rig.pilot.facts.quarantined) == {ROUTE}
        assert rig.pilot.overlay.in_force[RULE].spec.traffic_policy.connection_pool.tcp.connect_timeout == 3.0
        assert [one.weight for one in rig.pilot.overlay.in_force[ROUTE].spec.http[0].route] == [50, 50]


async def test_a_lie_marks_its_proxy_only(tmp_path):
    async with Rig(tmp_path) as rig:
        liar = Watcher("edge-9", namespace="shop", account="edge")
        liar.client.refuse = lambda response: "I don't like it" if response.type_url == RDS and isinstance(response, DeltaResponse) else None
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/control.sock") as channel:
            task = asyncio.create_task(liar.follow(channel))
            await rig.until(lambda: any(event["event"] == "rejected" for event in rig.seen), "a refusal")
            await asyncio.sleep(1.5)
            assert rig.pilot.facts.quarantined == {}
            assert rig.connection().session.is_settled
            task.cancel()
