"""booking: takes an order over HTTP, reserves it (gRPC, inventory), charges it (HTTP, payment) and writes it down (TCP, ledger)."""

import json
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc

INVENTORY = os.environ.get("INVENTORY", "inventory:9090")
PAYMENT = os.environ.get("PAYMENT", "http://payment:8080")
LEDGER = os.environ.get("LEDGER", "ledger:7000")
PORT = int(os.environ.get("PORT", "8080"))
TIMEOUT_S = 10
FORWARDED = ("x-request-id", "traceparent", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-user")
"""Headers a service passes on, so that a request can be followed and routed by user."""

channel = grpc.insecure_channel(INVENTORY)
reserve = channel.unary_unary("/booking.Inventory/Reserve", request_serializer=lambda item: json.dumps(item).encode(), response_deserializer=json.loads)


def charge(amount: int, headers: dict[str, str]) -> dict[str, object]:
    """The payment service's answer."""
    body = json.dumps({"amount": amount}).encode()
    request = urllib.request.Request(f"{PAYMENT}/charge", data=body, headers={"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def write_down(line: str) -> str:
    """The ledger's answer to one line."""
    host, _, port = LEDGER.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        connection.sendall(line.encode() + b"\n")
        return connection.makefile().readline().strip()


class Handler(BaseHTTPRequestHandler):
    """GET /book?item=NAME makes an order; GET / says what this is."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body leave in one packet: the other side need not wait to acknowledge the first

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/healthz":
            self.answer(200, {"ok": True})
        elif url.path == "/book":
            self.book(urllib.parse.parse_qs(url.query).get("item", ["room"])[0])
        elif url.path == "/":
            self.answer(200, {"service": "booking", "try": "/book?item=room"})
        else:
            self.answer(404, {"error": f"no such page: {url.path}"})

    def book(self, item: str) -> None:
        headers = {name: value for name in FORWARDED if (value := self.headers.get(name))}
        try:
            reserved = reserve({"item": item}, timeout=TIMEOUT_S, metadata=tuple(headers.items()))
            paid = charge(reserved["price"], headers)
            entry = write_down(json.dumps({"item": item, "amount": reserved["price"]}))
        except (OSError, grpc.RpcError, ValueError, KeyError) as error:
            reason = error.details() if isinstance(error, grpc.RpcError) else str(error)
            self.answer(502, {"error": f"{type(error).__name__}: {reason}"})
            return
        self.answer(200, {"item": item, "reserved": reserved, "paid": paid, "ledger": entry})

    def answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        print(self.address_string(), format % args, flush=True)


class Server(ThreadingHTTPServer):
    """Takes bursts of connections."""

    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    print(f"booking listens on {PORT}", flush=True)
    Server(("", PORT), Handler).serve_forever()
