"""A stand-in for each application of Istio's bookinfo sample: `standin.py NAME VERSION`. Ours, standard library only; same ports, paths and calls, plain JSON."""

import json
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, VERSION = sys.argv[1], sys.argv[2]
CALLS = {
    "productpage": ("http://details:9080/details/0", "http://reviews:9080/reviews/0"),
    "reviews": () if VERSION == "v1" else ("http://ratings:9080/ratings/0",),
}


def fetch(url: str, headers: dict[str, str]) -> object:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return {"status": error.code}
    except OSError as error:
        return {"error": str(error)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {"end-user": self.headers["end-user"]} if self.headers.get("end-user") else {}
        body = {"name": NAME, "version": VERSION, "path": self.path, "from": [fetch(url, headers) for url in CALLS.get(NAME, ())]}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


ThreadingHTTPServer(("", 9080), Handler).serve_forever()
