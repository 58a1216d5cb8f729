"""The application of the behaviour tests: HTTP on 8000, lines over TCP on 9000 and 9100, gRPC on 9090, HTTPS on 8443. Every answer says VERSION and pod."""

import http.server
import json
import os
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc

VERSION = os.environ.get("VERSION", "")
POD = os.environ.get("POD", socket.gethostname())
seen: Counter[str] = Counter()
lock = threading.Lock()
broken = threading.Event()


def count(key):
    with lock:
        seen[key] += 1
        return seen[key]


class Echo(http.server.BaseHTTPRequestHandler):
    """/sleep/S, /flaky/KEY/N (503 for the first N), /sick (500 from v2), /break (500 for all) and /mend, /seen (what was asked for how often); all else is echoed."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        times, status = count(self.path), 200
        parts = self.path.strip("/").split("/")
        if parts[0] == "sleep":
            time.sleep(float(parts[1]))
        if parts[0] == "flaky" and times <= int(parts[2]):
            status = 503
        if parts[0] in ("break", "mend"):
            broken.set() if parts[0] == "break" else broken.clear()
        elif broken.is_set() or (parts[0] == "sick" and VERSION == "v2"):
            status = 500
        said = {"version": VERSION, "pod": POD, "path": self.path, "times": times, "headers": {name.lower(): value for name, value in self.headers.items()}}
        if parts[0] == "seen":
            said = dict(seen)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-inside", "secret")
        self.end_headers()
        self.wfile.write(body)

    do_OPTIONS = do_GET

    def log_message(self, *_):
        pass


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(f"{VERSION} {line.decode().strip()}\n".encode())


class Wrapped(socketserver.StreamRequestHandler):
    """Lines, after what a proxy says first: each is answered with `connect=TARGET` of a CONNECT request, or `proxy=SOURCE` of a PROXY header."""

    def handle(self):
        first = self.rfile.readline().decode().split()
        known = "nothing"
        if first and first[0] == "CONNECT":
            known = f"connect={first[1]}"
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        elif first and first[0] == "PROXY":
            known = f"proxy={first[2]}"
        for line in self.rfile:
            self.wfile.write(f"{known} {line.decode().strip()}\n".encode())


class Many(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


class AtPath(socketserver.ThreadingUnixStreamServer):
    """Listens at a path of the file system that any user may connect to."""

    daemon_threads = True

    def server_activate(self):
        os.chmod(self.server_address, 0o777)
        super().server_activate()

    def get_request(self):
        return self.socket.accept()[0], ("unix", 0)


def flaky(request, context):
    """UNAVAILABLE for the first N of `KEY N`."""
    key, times = request.decode().split()
    asked = count(f"grpc {key}")
    if asked <= int(times):
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
    return str(asked).encode()


def chat(requests, _context):
    for request in requests:
        yield f"{VERSION} {request.decode()}".encode()


def again(requests, context):
    """A stream: UNAVAILABLE for the first N of `KEY N`, then for each request how often it was asked."""
    asked = ""
    for request in requests:
        asked = asked or flaky(request, context)
        yield asked


def secure():
    folder = tempfile.mkdtemp()
    key = ["-keyout", f"{folder}/key", "-out", f"{folder}/crt"]
    subject = ["-subj", f"/CN={VERSION}"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject, *key], check=True, capture_output=True
    )
    server = Many(("0.0.0.0", 8443), Echo, bind_and_activate=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/crt", f"{folder}/key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def main():
    rpc = grpc.server(ThreadPoolExecutor(8))
    methods = {
        "Flaky": grpc.unary_unary_rpc_method_handler(flaky),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Again": grpc.stream_stream_rpc_method_handler(again),
    }
    rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Echo", methods),))
    rpc.add_insecure_port("0.0.0.0:9090")
    rpc.start()
    for server in (secure(), Many(("0.0.0.0", 9000), Lines), Many(("0.0.0.0", 9100), Wrapped), Many(("0.0.0.0", 8000), Echo)):
        threading.Thread(target=server.serve_forever).start()
    if "UNIX" in os.environ:
        threading.Thread(target=AtPath(os.environ["UNIX"], Echo).serve_forever).start()
    rpc.wait_for_termination()


main()
