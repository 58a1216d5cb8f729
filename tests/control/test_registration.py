"""Workloads outside the mesh's namespaces, with only a certificate and control's TCP port: they join a WorkloadGroup, are told of, are well or not, and leave."""

import asyncio

import grpc.aio
import pytest

from lateen.wire.delta import DELTA_METHOD, DeltaRequest, decode_response, encode_request
from tests.control.harness import CDS, EDS, Control, Watcher, pod, service

WEB = "outbound|80||web.shop.svc.cluster.local"
VM = "10.9.0.1"
HEALTH = "type.googleapis.com/istio.v1.HealthInformation"
GROUP = """---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: vms, namespace: shop}}
spec: {{metadata: {{labels: {{app: web}}}}, template: {{serviceAccount: {account}}}{probe}}}
"""
pytestmark = pytest.mark.live


def group(account: str = "vm", probe: str = "") -> str:
    return GROUP.format(account=account, probe=probe)


@pytest.fixture
def control():
    made = Control(base=service("web", "10.96.0.10") + pod("web-1", "10.1.0.1"), group=group())
    made.start()
    yield made
    made.kill()


def machine(account: str = "vm") -> Watcher:
    return Watcher(name="vm-1", ip=VM, account=account, AUTO_REGISTER_GROUP="vms", LABELS={"host": "one"})


def channel(control: Control, account: str) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(f"127.0.0.1:{control.port}", control.credentials(account))


async def test_a_workload_joins_and_leaves(control):
    client, vm = Watcher(), machine()
    async with channel(control, "shop/web") as one, channel(control, "shop/vm") as other:
        following = asyncio.create_task(client.follow(one))
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1"}, "the pod alone")
        joining = asyncio.create_task(vm.follow(other))
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1", VM}, "the machine is told of")
        await vm.until(lambda: "inbound|8080||" in vm.held(CDS), "the machine serves its service's port")
        found = [one for one in control.call("Objects", {"kind": "WorkloadEntry"})["objects"] if one["kind"] == "WorkloadEntry"]
        assert [one["metadata"]["name"] for one in found] == [f"vms-{VM}"]
        joining.cancel()
        await asyncio.sleep(1)
        assert client.endpoints(WEB) == {"10.1.0.1", VM}, "a grace for those who restart"
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1"}, "it has left", 60)
        following.cancel()


async def test_only_the_groups_account_joins_and_an_edit_of_the_group_counts_at_once(control):
    client, vm = Watcher(), machine()
    control.write("group", group("other"))
    async with channel(control, "shop/web") as one, channel(control, "shop/vm") as other:
        tasks = [asyncio.create_task(client.follow(one)), asyncio.create_task(vm.follow(other))]
        await client.until(lambda: client.endpoints(WEB) and "is for service account other, not vm" in control.log(), "a refusal")
        assert client.endpoints(WEB) == {"10.1.0.1"}
        control.write("group", group())
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1", VM}, "the group takes it now")
        (control.folder / "group.yaml").unlink()
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1"}, "without a group no member")
        for task in tasks:
            task.cancel()


async def test_a_checked_workload_takes_traffic_only_while_it_says_it_is_well(control):
    control.write("group", group(probe=", probe: {tcpSocket: {port: 8080}}"))
    client = Watcher()
    async with channel(control, "shop/web") as one, channel(control, "shop/vm") as other:
        following = asyncio.create_task(client.follow(one))
        await client.until(lambda: client.endpoints(WEB), "the pod")
        call = other.stream_stream(DELTA_METHOD)()
        await call.write(encode_request(DeltaRequest(CDS, node=machine().client.node)))
        assert decode_response(await call.read()).type_url == CDS
        await asyncio.sleep(0.5)
        assert client.endpoints(WEB) == {"10.1.0.1"}
        await call.write(encode_request(DeltaRequest(HEALTH)))
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1", VM}, "well")
        await call.write(encode_request(DeltaRequest(HEALTH, error="connection refused")))
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1"}, "not well")
        await call.write(encode_request(DeltaRequest(HEALTH)))
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1", VM}, "well again")
        call.cancel()
        following.cancel()


async def test_registrations_outlive_control(control):
    client, vm = Watcher(), machine()
    async with channel(control, "shop/web") as one, channel(control, "shop/vm") as other:
        tasks = [asyncio.create_task(client.follow(one)), asyncio.create_task(vm.follow(other))]
        await client.until(lambda: client.endpoints(WEB) == {"10.1.0.1", VM}, "the machine")
        control.kill()
        await asyncio.gather(*tasks, return_exceptions=True)
    control.start()
    client.sent.clear()
    async with channel(control, "shop/web") as one:
        following = asyncio.create_task(client.follow(one))
        await client.until(lambda: client.sent, "an answer")
        await asyncio.sleep(0.5)
        assert client.endpoints(WEB) == {"10.1.0.1", VM}
        assert not [names for url, names, _ in client.sent if url == EDS and names], "nothing has changed"
        following.cancel()


async def test_a_join_costs_one_entry_and_one_row(tmp_path):
    """However many are there: what pilot is told and what is written is the one that came."""
    from types import SimpleNamespace

    from lateen.control.pilot import Pilot
    from lateen.control.registrar import Registrar
    from lateen.control.registrations import Registrations
    from lateen.mesh.view import Proxy, ProxyType
    from lateen.sources.registration import NODE_GROUP

    def connection(number: int) -> SimpleNamespace:
        said = ((NODE_GROUP, "vms"),)
        proxy = Proxy(
            ProxyType.SIDECAR, f"vm-{number}.shop", "shop", "vm", (("host", str(number)),), (f"10.9.{number // 256}.{number % 256}",), "d", metadata=said
        )
        return SimpleNamespace(introduction=SimpleNamespace(proxy=proxy))

    from lateen.config.decode import decode
    from lateen.control.events import Events

    pilot, told = Pilot(Events()), []
    registrar = Registrar(pilot, tmp_path / "registered.db")
    pilot.submit("files", decode(group(), "t").objects)
    await pilot._turn()
    submit = pilot.submit
    pilot.submit = lambda layer, upserts, removed=(), **more: (told.append((len(tuple(upserts)), len(tuple(removed)), more)), submit(layer, upserts, removed))
    for number in range(300):
        registrar.connected(connection(number), True)
    assert told == [(1, 0, {})] * 300
    assert len(pilot.overlay.layer("registered")) == 300
    assert len(list(Registrations(tmp_path / "registered.db").kept())) == 300
    told.clear()
    assert registrar.left("shop", "other", "vms-10.9.0.7") is False, "another account cannot send it away"
    assert registrar.left("shop", "vm", "vms-10.9.0.7") is True
    assert told == [(0, 1, {})]
    assert len(list(Registrations(tmp_path / "registered.db").kept())) == 299
    registrar.reported(connection(8), "it does not answer")
    assert dict(Registrations(tmp_path / "registered.db").kept())[next(one for one in registrar._health if one.address == "10.9.0.8")] is False


def test_a_damaged_record_of_registrations_is_put_aside(tmp_path):
    from lateen.control.registrations import Registrations
    from lateen.sources.registration import Registrant

    (tmp_path / "r.db").write_bytes(b"no database" * 1000)
    kept = Registrations(tmp_path / "r.db")
    assert list(kept.kept()) == []
    kept.keep(Registrant("shop", "vms", "10.9.0.1", labels=(("a", "b"),)), True)
    assert list(Registrations(tmp_path / "r.db").kept()) == [(Registrant("shop", "vms", "10.9.0.1", labels=(("a", "b"),)), True)]
