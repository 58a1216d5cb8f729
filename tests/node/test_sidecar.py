"""An Envoy's life: start, crash, adoption, drain, stop; and its output stays bounded."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from lateen.node.bootstrap import BootstrapOptions, bootstrap
from lateen.node.known import KnownGood
from lateen.node.pod import Locality, ProxyType
from lateen.node.process import identify, watch
from lateen.node.relay import Relay
from lateen.node.settings import ProxySettings
from lateen.node.sidecar import Sidecar, SidecarOptions, bound

CONNECTED = "import socket, sys\nwith socket.create_connection(('127.0.0.1', 15006)):\n print('connected', flush=True)\n sys.stdin.read()"
OPTIONS = SidecarOptions(BootstrapOptions(uses_node_dns=False, has_mark=os.geteuid() == 0))


@pytest.fixture
def network():
    """A network of the test's own: the bootstrap's ports are fixed."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("needs root")
        pytest.skip("needs root: a network namespace of its own")
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up 2>/dev/null; echo up; exec sleep 300"], stdout=subprocess.PIPE)
    holder.stdout.readline()
    yield f"/proc/{holder.pid}/ns/net"
    holder.kill()
    holder.wait()


@pytest.fixture
def spawn(network):
    children = []

    async def start(argv, *, env, cwd, output, log):
        with output.open("ab") as out, log.open("ab") as err:
            command = ["nsenter", f"--net={network}", *argv]
            process = subprocess.Popen(command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        children.append(process.pid)
        return process.pid

    start.children = children
    yield start
    for pid in children:
        if process := watch(pid):
            process.signal(signal.SIGKILL)
            process.close()


@pytest.fixture
async def relay(control, tmp_path, envoy, kit):
    known = KnownGood(tmp_path / "state")
    writer = asyncio.create_task(known.run())
    await control.start()
    control.publish(kit.CLUSTER, c=("1", kit.cluster("c")))
    control.publish(kit.ENDPOINTS, c=("1", kit.endpoints("c", 9)))
    control.publish(kit.LISTENER, l=("1", kit.listener("l", 8080, "r")))
    control.publish(kit.ROUTES, r=("1", kit.routes("r", "c")))
    async with Relay(control.path, known) as one:
        await one.serve("default/web-0", envoy.directory / "ads.sock")
        yield one
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    known.close()


async def test_a_crash_is_mended_and_a_stop_is_final(kit, relay, envoy, spawn):
    sidecar = Sidecar(kit.pod(), envoy.directory, spawn, OPTIONS)
    await sidecar.start()
    await asyncio.wait_for(sidecar.wait_ready(), 15)
    first = sidecar.state()
    assert first["phase"] == "live" and first["ready"] and first["restarts"] == 0
    os.kill(first["pid"], signal.SIGKILL)

    async def is_back():
        state = sidecar.state()
        return state["ready"] and state["pid"] != first["pid"]

    await kit.until(is_back)
    second = sidecar.state()
    assert second["restarts"] == 1 and second["lastExit"] == "signal 9"
    await sidecar.stop(1.0)
    assert identify(second["pid"]) is None
    assert sidecar.state()["phase"] == "stopped"


async def test_the_next_node_adopts_with_the_same_pid(kit, relay, envoy, spawn):
    sidecar = Sidecar(kit.pod(), envoy.directory, spawn, OPTIONS)
    await sidecar.start()
    await asyncio.wait_for(sidecar.wait_ready(), 15)
    state = json.loads(json.dumps(sidecar.state()))
    await sidecar.release()
    successor = Sidecar(kit.pod(), envoy.directory, spawn, OPTIONS)
    assert await successor.adopt(state)
    await asyncio.wait_for(successor.wait_ready(), 15)
    assert successor.state()["pid"] == state["pid"] and len(spawn.children) == 1
    await successor.drain()
    await successor.stop(5.0)
    assert identify(state["pid"]) is None
    third = Sidecar(kit.pod(), envoy.directory, spawn, OPTIONS)
    assert not await third.adopt(state)
    await asyncio.wait_for(third.wait_ready(), 15)
    await third.stop()


async def test_it_is_stopped_when_its_last_connection_has_ended(kit, control, relay, envoy, spawn, network):
    control.publish(kit.LISTENER, l=("2", kit.listener("l", 15006, "r")))
    sidecar = Sidecar(kit.pod(), envoy.directory, spawn, OPTIONS)
    await sidecar.start()
    await asyncio.wait_for(sidecar.wait_ready(), 15)
    argv = ["nsenter", f"--net={network}", sys.executable, "-c", CONNECTED]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"connected\n"
        stopping = asyncio.create_task(sidecar.stop(100.0))
        await asyncio.wait({stopping}, timeout=1.0)
        assert not stopping.done()
        client.stdin.close()
        await asyncio.wait_for(stopping, 50)


async def test_metrics_are_offered_compressed(kit, relay, envoy, spawn, network):
    sidecar = Sidecar(kit.pod(), envoy.directory, spawn, OPTIONS)
    await sidecar.start()
    await asyncio.wait_for(sidecar.wait_ready(), 15)

    def coding(accepted):
        argv = ["nsenter", f"--net={network}", "curl", "-s", "-o", "/dev/null", "-D", "-", "-H", f"accept-encoding: {accepted}"]
        head = subprocess.run([*argv, "http://127.0.0.1:15090/stats/prometheus"], capture_output=True, text=True, timeout=20).stdout.lower()
        assert head.startswith("http/1.1 200"), head
        return next((line.partition(": ")[2] for line in head.splitlines() if line.startswith("content-encoding: ")), "")

    found = {accepted: await asyncio.to_thread(coding, accepted) for accepted in ("identity", "gzip", "br", "zstd")}
    assert found == {"identity": "", "gzip": "gzip", "br": "br", "zstd": "zstd"}
    plain = bootstrap(kit.pod(), BootstrapOptions(settings=ProxySettings(compresses_stats=False)))
    assert "compressor" in json.dumps(bootstrap(kit.pod(), BootstrapOptions())) and "compressor" not in json.dumps(plain)
    await sidecar.stop(1.0)


HOLD_AND_TRY = """
import socket, sys, time
held = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as other:
        other.settimeout(0.5)
        try:
            if other.recv(1) == b"":
                print("refused")
                break
        except TimeoutError:
            pass
        except ConnectionResetError:
            print("refused")
            break
held.settimeout(0.5)
try:
    print("held lost", held.recv(1))
except TimeoutError:
    print("held")
"""


@pytest.mark.parametrize("kind, name", [(ProxyType.SIDECAR, "virtualInbound"), (ProxyType.ROUTER, "0.0.0.0_8081")])
async def test_a_listener_takes_no_more_connections_than_it_may(kit, control, relay, envoy, spawn, network, kind, name):
    control.publish(kit.LISTENER, l=("2", kit.listener(name, 8081, "r")))
    options = SidecarOptions(replace(OPTIONS.bootstrap, settings=ProxySettings(most_listener_connections=1)))
    sidecar = Sidecar(kit.pod(proxy_type=kind), envoy.directory, spawn, options)
    await sidecar.start()
    await asyncio.wait_for(sidecar.wait_ready(), 15)
    argv = ["nsenter", f"--net={network}", sys.executable, "-c", HOLD_AND_TRY, "8081"]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["refused", "held"], done
    await sidecar.stop(1.0)


async def test_an_envoy_that_cannot_start_says_why_and_is_tried_again(kit, envoy, spawn):
    async def spoiled(argv, **where):
        (where["cwd"] / "envoy.json").write_text('{"node": 5}')
        return await spawn(argv, **where)

    sidecar = Sidecar(kit.pod(), envoy.directory, spoiled, OPTIONS)
    await sidecar.start()

    async def has_tried_twice():
        return sidecar.state()["restarts"] >= 2 and "code 1" in sidecar.state()["problem"]

    await kit.until(has_tried_twice)
    assert not sidecar.ready()
    await sidecar.stop()


def test_output_is_bounded(tmp_path):
    file = tmp_path / "access.log"
    with file.open("ab") as writer:
        writer.write(b"x" * 1000)
        writer.flush()
        bound(file, 1000)
        assert file.stat().st_size == 1000
        writer.write(b"y")
        writer.flush()
        bound(file, 1000)
        writer.write(b"z")
        writer.flush()
    assert file.read_bytes() == b"z" and len((tmp_path / "access.log.1").read_bytes()) == 1001
    bound(tmp_path / "absent", 1000)


def test_the_bootstrap_says_who_the_proxy_is(kit):
    pod = kit.pod(
        "reviews-v1-0", locality=Locality("eu", "eu-a"), proxy_type=ProxyType.ROUTER, owner="kubernetes://apis/apps/v1/namespaces/default/deployments/web"
    )
    config = bootstrap(pod, BootstrapOptions(settings=ProxySettings(runtime={"a.b": 1})))
    node = config["node"]
    assert node["id"] == "router~127.0.0.1~reviews-v1-0.default~default.svc.cluster.local"
    assert node["locality"] == {"region": "eu", "zone": "eu-a"}
    assert node["metadata"]["NAMESPACE"] == "default" and node["metadata"]["LABELS"] == {"app": "web"} and node["cluster"] == "web.default"
    listeners = [each["address"]["socket_address"] for each in config["static_resources"]["listeners"]]
    own = [{"address": "0.0.0.0", "port_value": 15021}, {"address": "0.0.0.0", "port_value": 15090}]
    assert listeners == own
    opened = bootstrap(pod, BootstrapOptions(settings=ProxySettings(admin_port=15000)))["static_resources"]["listeners"]
    assert [each["address"]["socket_address"] for each in opened] == [*own, {"address": "127.0.0.1", "port_value": 15000}]
    assert config["cluster_manager"]["upstream_bind_config"]["socket_options"][0]["int_value"] == 1337
    others = bootstrap(kit.pod("other", proxy_type=ProxyType.ROUTER), BootstrapOptions(settings=ProxySettings(runtime={"a.b": 1})))
    assert {key: value for key, value in config.items() if key != "node"} == {key: value for key, value in others.items() if key != "node"}
