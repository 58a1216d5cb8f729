"""A pod's status port: readiness, metrics of proxy and application in one page, and jobs that ask their proxy to go."""

import asyncio
import contextlib
import os
import socket
import subprocess

import pytest

from lateen.node.admin import Admin
from lateen.node.netns import inside
from lateen.node.status import Scrape, StatusServer, Subject, is_merged, port_of, scrape_of

PORT = 15020


@pytest.mark.parametrize(
    "annotations, found",
    [
        ({}, None),
        ({"scrape": "true"}, Scrape(80, "/metrics")),
        ({"port": "9102"}, Scrape(9102, "/metrics")),
        ({"scrape": "true", "port": "9102", "path": "stats"}, Scrape(9102, "/stats")),
        ({"scrape": "false", "port": "9102"}, None),
        ({"scrape": "true", "port": "15020"}, None),  # it would ask itself
        ({"scrape": "true", "port": "none"}, None),
        ({"scrape": "true", "port": "70000"}, None),
        ({"scrape": "true", "path": "/a b\r\nx: y"}, None),
    ],
)
def test_where_an_application_tells_its_metrics(annotations, found):
    assert scrape_of({f"prometheus.io/{name}": value for name, value in annotations.items()}, PORT) == found


def test_a_pod_s_own_annotations_win():
    assert [is_merged({"prometheus.istio.io/merge-metrics": said}, True) for said in ("false", "true", "what")] == [False, True, True]
    assert [is_merged({}, said) for said in (True, False)] == [True, False]
    assert [port_of({"status.sidecar.istio.io/port": said}, 15020) for said in ("15120", "0", "x", "99999")] == [15120, 0, 15020, 15020]


@pytest.fixture
def network():
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("needs root")
        pytest.skip("needs root: a network namespace of its own")
    script = "ip link set lo up && ip address add 10.77.0.1/32 dev lo; echo up; exec sleep 300"
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
    holder.stdout.readline()
    yield f"/proc/{holder.pid}/ns/net"
    holder.kill()
    holder.wait()


async def serve(answer, **where):
    """A server of one answer; it notes the heads of requests."""
    heads = []

    async def connected(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(answer)
            await writer.drain()
        writer.close()

    start = asyncio.start_unix_server if "path" in where else asyncio.start_server
    return await start(connected, **where), heads


def page(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


async def ask(network, path, *options, host="127.0.0.1"):
    """(status, body) as curl gets them inside."""
    argv = ["nsenter", f"--net={network}", "curl", "-s", "--max-time", "20", "-w", "\n%{http_code}", *options, f"http://{host}:{PORT}{path}"]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.mark.live
async def test_everything_that_is_asked_there(network, tmp_path):
    ready = []
    envoy, asked = await serve(page("envoy_a 1\n"), path=str(tmp_path / "admin.sock"))
    listening = inside(network, lambda: socket.create_server(("127.0.0.1", 9102)))
    application, scraped = await serve(page("app_b 2"), sock=listening)
    server = StatusServer(Subject("a/b", network, PORT, lambda: bool(ready), Admin(tmp_path / "admin.sock"), Scrape(9102, "/m")))
    await server.start()
    await server.start()
    assert (await ask(network, "/healthz/ready"))[0] == 503
    ready.append(True)
    assert (await ask(network, "/healthz/ready"))[0] == 200
    assert await ask(network, "/stats/prometheus?filter=x") == (200, "envoy_a 1\napp_b 2\n")
    assert asked[-1].startswith("GET /stats/prometheus?filter=x ") and scraped[-1].startswith("GET /m HTTP/1.1\r\n")
    application.close()
    assert await ask(network, "/stats/prometheus") == (200, "envoy_a 1\n")  # an application that is gone takes nothing else along
    envoy.close()
    (tmp_path / "admin.sock").unlink(missing_ok=True)
    assert await ask(network, "/stats/prometheus") == (200, "")
    assert (await ask(network, "/quitquitquit", "-X", "POST"))[0] == 200
    assert (await ask(network, "/quitquitquit"))[0] == 405
    assert (await ask(network, "/quitquitquit", "-X", "POST", host="10.77.0.1"))[0] == 403  # by another address than the loopback
    assert (await ask(network, "/debug"))[0] == 404 and (await ask(network, "/healthz/ready", "-X", "POST"))[0] == 405
    server.close()


@pytest.mark.live
async def test_metrics_that_make_no_sense_are_left_out(network, tmp_path):
    envoy, _ = await serve(page("envoy_a 1\n"), path=str(tmp_path / "admin.sock"))
    for port, answer in ((9103, page("no", "500 Broken")), (9104, b"garbage")):
        listening = inside(network, lambda port=port: socket.create_server(("127.0.0.1", port)))
        application, scraped = await serve(answer, sock=listening)
        server = StatusServer(Subject("a/b", network, PORT, lambda: True, Admin(tmp_path / "admin.sock"), Scrape(port, "/")))
        await server.start()
        assert await ask(network, "/stats/prometheus") == (200, "envoy_a 1\n") and scraped
        server.close()
        application.close()
    envoy.close()
