"""Protocols between two pods under STRICT: declared and detected ones, a server that speaks first, WebSocket, large requests, HTTP/1.0."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import Mesh, need_namespaces, until

FOLDER = Path(__file__).parent / "protocols"


@pytest.fixture(scope="module")
def talk() -> Iterator[Mesh]:
    """A server that speaks everything and a client; no gateway."""
    need_namespaces()
    made = Mesh("talk")
    try:
        yield made.start(FOLDER / "mesh.yaml", options=("--image-map", str(FOLDER / "image-map.yaml")))
    finally:
        made.close()


def said(mesh: Mesh, what: str, port: int, target: str = "deploy/client") -> dict:
    done = mesh.exec(target, sys.executable, str(FOLDER / "client.py"), what, "server", str(port), namespace="talk")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def server_log(mesh: Mesh) -> str:
    return next((mesh.run / "pods").glob("talk.server-*/access.log")).read_text()


def test_requests_on_an_undeclared_port_are_seen_as_requests_at_both_ends(talk: Mesh) -> None:
    status, body = talk.curl("http://server:7000/detected", namespace="talk")
    assert status == 200
    identity = json.loads(body)["headers"].get("X-Forwarded-Client-Cert", json.loads(body)["headers"].get("x-forwarded-client-cert", ""))
    assert "spiffe://cluster.local/ns/talk/sa/client" in identity, body
    until(lambda: "GET /detected" in server_log(talk), 60, "the server's proxy logs the request")


def test_a_server_that_speaks_first_is_heard_on_an_undeclared_port(talk: Mesh) -> None:
    heard = said(talk, "banner", 7001)
    assert (heard["banner"], heard["answer"]) == ("220 hello\r\n", "250 EHLO x\r\n")


def test_a_server_that_speaks_first_is_heard_on_a_port_declared_as_tcp(talk: Mesh) -> None:
    assert said(talk, "banner", 7002)["banner"] == "220 hello\r\n"


@pytest.mark.parametrize("port", [7001, 7002])
def test_who_has_no_certificate_reaches_no_application(talk: Mesh, port: int) -> None:
    """Neither a byte of a server that speaks first comes back, nor is it connected to at all."""

    def banners() -> int:
        return json.loads(talk.curl("http://server:7000/", namespace="talk")[1])["banners"]

    before = banners()
    assert said(talk, "nobody", port, "deploy/stranger").keys() == {"refused"}
    assert banners() == before
    said(talk, "banner", port)
    assert banners() == before + 1


def test_a_client_that_hesitates_on_a_declared_port_is_still_in_the_mesh(talk: Mesh) -> None:
    assert said(talk, "slow", 8000) == {"status": "HTTP/1.1 200 OK"}


def test_websocket_through_both_proxies(talk: Mesh) -> None:
    assert said(talk, "websocket", 8001) == {"status": "HTTP/1.1 101 Switching Protocols", "echoed": "over and over"}


def test_large_headers_and_bodies(talk: Mesh) -> None:
    status, body = talk.curl("http://server:8000/", "-H", "x-large: " + "x" * 40_000, namespace="talk")
    assert (status, len(json.loads(body)["headers"].get("X-Large") or json.loads(body)["headers"]["x-large"])) == (200, 40_000)
    script = "head -c 20000000 /dev/zero | curl -s --max-time 20 --data-binary @- http://server:8000/"
    done = talk.exec("deploy/client", "sh", "-c", script, namespace="talk")
    assert json.loads(done.stdout) == {"size": 20_000_000}


def test_http_1_0_is_refused_unless_asked_for(talk: Mesh) -> None:
    status, _ = talk.curl("--http1.0", "http://server:8000/", namespace="talk")
    assert status == 426


def test_requests_between_sidecars_are_http_2(talk: Mesh) -> None:
    assert talk.curl("http://server:8000/which", namespace="talk")[0] == 200
    line = until(lambda: next((one for one in server_log(talk).splitlines() if "/which" in one), None), 60, "the request is logged")
    assert "HTTP/2" in line, line


@pytest.mark.parametrize("port", [7000, 8000])
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_both_address_families(talk: Mesh, family: str, port: int) -> None:
    status, body = talk.curl(family, f"http://server:{port}/family", namespace="talk")
    assert status == 200
    assert "spiffe://cluster.local/ns/talk/sa/client" in body


def test_a_proxy_is_started_as_its_configurations_say(talk: Mesh) -> None:
    """Threads by the ProxyConfig, the rest by the pod's annotation."""
    status, body = talk.curl("http://localhost:15900/server_info", namespace="talk")
    assert status == 200
    found = json.loads(body)
    assert found["command_line_options"]["concurrency"] == 3
    assert found["node"]["metadata"]["TEAM"] == "blue"
    assert '"final_value": "7"' in talk.curl("http://localhost:15900/runtime", namespace="talk")[1]


def test_an_application_starts_when_its_proxy_is_ready(talk: Mesh) -> None:
    """The client found its proxy ready when it began; the server did not ask for that, and is served all the same."""
    assert talk.exec("deploy/client", "cat", "/tmp/at-start", namespace="talk").stdout.strip() == "200"
    assert talk.curl("http://server:8000/", namespace="talk")[0] == 200


def test_headers_about_hops_are_as_the_client_pods_configuration_says(talk: Mesh) -> None:
    """No number of the attempt; and the host from before the rewrite."""
    headers = {key.lower(): value for key, value in json.loads(talk.curl("http://server:8000/rewritten", namespace="talk")[1])["headers"].items()}
    assert headers["host"] == "other.example" and "server" in headers["x-forwarded-host"], headers
    assert "x-envoy-attempt-count" not in headers
