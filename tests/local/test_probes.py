"""Probes against real servers on loopback."""

import http.server
import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from lateen.local import probes
from lateen.local.podspec import Container, GrpcAction, HttpGet, HttpHeader, Port, TcpSocket

CONTAINER = Container(name="app")


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.headers["x-status"] or 200) if self.path == "/well" else 404)
        self.end_headers()

    def log_message(self, *_): ...


@pytest.fixture
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_http(web):
    port = web.server_address[1]
    named = Container(name="app", ports=(Port(container_port=port, name="web"),))

    def ask(path="well", status="200", target=port):
        return probes.http(named, HttpGet(port=target, path=path, http_headers=(HttpHeader(name="x-status", value=status),)), "127.0.0.1", 30.0)

    assert ask() is None and ask("/well", "302") is None and ask(target="web") is None
    assert ask("/well", "400") == f"port {port} answered with status 400"
    assert ask("/", "200") == f"port {port} answered with status 404"
    assert ask(target="no") == "no port of this name: no"


def test_nobody_and_nonsense_and_silence():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert probes.http(CONTAINER, HttpGet(port=port), "127.0.0.1", 0.2) == f"no answer from port {port}: it did not answer in time"
        assert probes.grpc(GrpcAction(port=port), "127.0.0.1", 0.2) == f"no answer from port {port}: it did not answer in time"
        assert probes.tcp(CONTAINER, TcpSocket(port=port), "127.0.0.1", 0.2) is None
        assert probes.listens(Container(name="a", ports=(Port(container_port=port),)), os.getpid()) is None
    assert probes.tcp(CONTAINER, TcpSocket(port=port), "127.0.0.1", 0.2) == f"port {port}: Connection refused"
    assert probes.http(CONTAINER, HttpGet(port=port), "127.0.0.1", 0.2) == f"no answer from port {port}: Connection refused"
    assert probes.listens(Container(name="a", ports=(Port(container_port=port),)), os.getpid()) == f"nothing listens on port {port} yet"


def test_https_with_a_certificate_nobody_knows(web, tmp_path):
    from lateen.base.spiffe import SpiffeId
    from lateen.identity.ca import issue, new_authority
    from lateen.identity.subject import WorkloadAttributes

    issued, key = issue(new_authority("cluster.local", 1.7e9), SpiffeId("cluster.local", "a", "b"), WorkloadAttributes(), 3600, 1.7e9)
    (tmp_path / "cert").write_bytes(issued.chain)
    (tmp_path / "key").write_bytes(key.reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    web.socket = context.wrap_socket(web.socket, server_side=True)
    action = HttpGet(port=web.server_address[1], path="/well", scheme="HTTPS", http_headers=(HttpHeader(name="x-status", value="204"),))
    assert probes.http(CONTAINER, action, "127.0.0.1", 30.0) is None


def test_grpc_health():
    asked = []

    def check(request, context):
        service = request[2:].decode()
        asked.append(service)
        if service == "unknown":
            context.abort(grpc.StatusCode.NOT_FOUND, "x" * 300)
        return b"\x08\x02" if service == "down" else b"\x08\x01"

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(check) if details.method == "/grpc.health.v1.Health/Check" else None

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert probes.grpc(GrpcAction(port=port), "127.0.0.1", 30.0) is None
        assert probes.grpc(GrpcAction(port=port, service="named"), "127.0.0.1", 30.0) is None
        assert probes.grpc(GrpcAction(port=port, service="down"), "127.0.0.1", 30.0) == f"port {port} says it is not serving"
        assert "does not know the service: unknown" in probes.grpc(GrpcAction(port=port, service="unknown"), "127.0.0.1", 30.0)
        assert asked == ["", "named", "down", "unknown"]
    finally:
        server.stop(0)
