"""payment: charges an amount over HTTP and says which version did it."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "v1")
PORT = int(os.environ.get("PORT", "8080"))


class Handler(BaseHTTPRequestHandler):
    """POST /charge {"amount": n}; GET /version."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body leave in one packet: the other side need not wait to acknowledge the first

    def do_GET(self) -> None:
        self.answer(200, {"service": "payment", "version": VERSION})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            amount = int(json.loads(body)["amount"])
        except (ValueError, KeyError, TypeError):
            self.answer(400, {"error": 'wanted {"amount": n}'})
            return
        self.answer(200, {"version": VERSION, "charged": amount, "fee": 0 if VERSION == "v1" else 1})

    def answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("x-version", VERSION)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        print(self.address_string(), format % args, flush=True)


class Server(ThreadingHTTPServer):
    """Takes bursts of connections."""

    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    print(f"payment {VERSION} listens on {PORT}", flush=True)
    Server(("", PORT), Handler).serve_forever()
