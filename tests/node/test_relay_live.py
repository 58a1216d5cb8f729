"""The relay between a real Envoy and a control that comes and goes."""

import asyncio
import os

import pytest

from lateen.node.known import KnownGood
from lateen.node.relay import Relay, Upstream
from tests.ports import free_port

pytestmark = pytest.mark.live


@pytest.fixture
async def known(tmp_path):
    record = KnownGood(tmp_path / "state")
    writer = asyncio.create_task(record.run())
    yield record
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    record.close()


@pytest.fixture
async def relay(control, known, envoy):
    async with Relay(control.path, known) as one:
        await one.serve("default/web-0", envoy.directory / "ads.sock")
        yield one


def route_to(kit, control, port, backend_port):
    control.publish(kit.CLUSTER, c=("1", kit.cluster("c")))
    control.publish(kit.ENDPOINTS, c=("1", kit.endpoints("c", backend_port)))
    control.publish(kit.LISTENER, l=("1", kit.listener("l", port, "r")))
    control.publish(kit.ROUTES, r=("1", kit.routes("r", "c")))


async def test_killing_control_fails_nothing(kit, control, relay, envoy):
    port = free_port()
    async with kit.answering("one") as one, kit.answering("two") as two:
        route_to(kit, control, port, one)
        await control.start()
        envoy.start()
        await envoy.live()
        assert await kit.http_get(port) == (200, "one")
        await control.die()
        for _ in range(50):
            assert await kit.http_get(port) == (200, "one")
        control.publish(kit.ENDPOINTS, c=("2", kit.endpoints("c", two)))
        control.publish(kit.CLUSTER, d=("1", kit.cluster("d")))
        control.first_requests.clear()
        await control.start()

        async def answers_two():
            status, body = await kit.http_get(port)
            assert status == 200
            return body == "two"

        await kit.until(answers_two)
        resumed = {request.type_url: request for request in control.first_requests}
        assert resumed[kit.CLUSTER].initial_versions == {"c": "1"}
        assert resumed[kit.ENDPOINTS].initial_versions == {"c": "1"}
        assert b"web-0" in resumed[kit.CLUSTER].node
        assert relay.stream_of("default/web-0").streams == 1
        assert relay.upstream is Upstream.CONNECTED
        assert control.errors == []


async def test_an_envoy_that_starts_without_control_serves_what_it_last_had(kit, control, relay, envoy, known):
    port = free_port()
    async with kit.answering("one") as one, kit.answering("two") as two:
        route_to(kit, control, port, one)
        control.publish(kit.CLUSTER, stale=("1", kit.cluster("stale")))
        control.publish(kit.ENDPOINTS, stale=("1", kit.endpoints("stale", one)))
        await control.start()
        envoy.start()
        await envoy.live()
        await control.die()
        envoy.kill()
        envoy.start()
        await envoy.live()
        assert await kit.http_get(port) == (200, "one")
        control.publish(kit.CLUSTER, stale=None)
        control.publish(kit.ENDPOINTS, c=("2", kit.endpoints("c", two)))
        await control.start()

        async def converged():
            assert (await kit.http_get(port))[0] == 200
            shown = (await envoy.admin.ask("GET", "/clusters")).body.decode()
            return "stale::" not in shown and f"127.0.0.1:{two}::" in shown

        await kit.until(converged)
        assert control.errors == []


async def test_a_hung_control_is_not_waited_for(kit, control, relay, envoy, known):
    port = free_port()
    async with kit.answering("one") as one:
        route_to(kit, control, port, one)
        await control.start()
        envoy.start()
        await envoy.live()
        control.is_mute = True
        envoy.kill()
        envoy.start()
        await envoy.live()
        assert await kit.http_get(port) == (200, "one")


async def test_the_record_outlives_the_node(kit, control, envoy, tmp_path):
    port = free_port()
    socket = envoy.directory / "ads.sock"
    async with kit.answering("one") as one:
        route_to(kit, control, port, one)
        await control.start()
        for is_first in (True, False):
            record = KnownGood(tmp_path / "state")
            writer = asyncio.create_task(record.run())
            async with Relay(control.path, record) as relay:
                await relay.serve("default/web-0", socket)
                if is_first:
                    envoy.start()
                    await envoy.live()
                    await control.die()
                else:
                    assert await kit.http_get(port) == (200, "one")
                    envoy.kill()
                    envoy.start()
                    await envoy.live()
                    assert await kit.http_get(port) == (200, "one")
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            record.close()
    assert (tmp_path / "state" / "known-good.db").stat().st_mode & 0o777 == 0o600


async def test_a_pod_with_a_very_long_path(kit, control, known, tmp_path):
    directory = tmp_path / ("d" * 120)
    one = kit.EnvoyInDirectory(directory)
    port = free_port()
    async with kit.answering("one") as backend, Relay(control.path, known) as relay:
        route_to(kit, control, port, backend)
        await control.start()
        await relay.serve("default/web-0", directory / "ads.sock")
        try:
            one.start()
            await one.live()
            assert await kit.http_get(port) == (200, "one")
        finally:
            one.kill()


async def test_forgetting_leaves_nothing(tmp_path):
    from lateen.wire.relay import Keep, Known

    record = KnownGood(tmp_path)
    writer = asyncio.create_task(record.run())
    for pod in ("a", "b"):
        record.keep(pod, Keep("T", {"x": Known("1", b"shared")}))
    record.keep("a", Keep("T", {"y": Known("1", b"own" * 1000)}))
    await asyncio.sleep(0.3)
    await record.forget("a")
    assert record.known("a", "T") == {}
    assert record.known("b", "T") == {"x": Known("1", b"shared")}
    record.keep("b", Keep("T", {}, ("x",)))
    assert record.known("b", "T") == {}
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    record.close()
    again = KnownGood(tmp_path)
    assert again.known("b", "T") == {}
    again.close()


async def test_a_damaged_record_is_put_aside(tmp_path):
    (tmp_path / "known-good.db").write_bytes(os.urandom(5000))
    record = KnownGood(tmp_path)
    assert record.known("a", "T") == {}
    record.close()
