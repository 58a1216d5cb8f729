"""A load from inside a pod: `load.py URL COUNT [--threads N] [--header K:V]`. A new connection and a new name lookup for each request; prints one JSON object.

With --keep each thread goes on over its connection until the other side closes it. Failed requests are told one by one, with their `x-request-id`.
Standard library only: it runs in a pod, with whatever Python the test names. Stops by itself; a file named by --until ends it early once COUNT is 0 (run until told).
"""

import argparse
import http.client
import json
import socket
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from pathlib import Path

LONGEST_S = 300
TOLD = 50


class Caller:
    """One thread's requests. `keeps`: over one connection as long as it lasts."""

    def __init__(self, url: urllib.parse.SplitResult, headers: dict[str, str], keeps: bool) -> None:
        self.url, self.headers, self.keeps = url, headers if keeps else {"connection": "close", **headers}, keeps
        self.connection: http.client.HTTPConnection | None = None

    def one(self, request_id: str) -> tuple[str, str]:
        """(status or error, body)."""
        try:
            connection = self.connection or self.connected()
            connection.request("GET", self.url.path + (f"?{self.url.query}" if self.url.query else ""), headers={"x-request-id": request_id, **self.headers})
            answer = connection.getresponse()
            status, body = str(answer.status), answer.read().decode(errors="replace")
            if not self.keeps or answer.will_close:
                self.close()
            return status, body
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return f"{type(error).__name__}: {error}", ""

    def connected(self) -> http.client.HTTPConnection:
        family, kind, number, _, address = socket.getaddrinfo(self.url.hostname, self.url.port or 80, type=socket.SOCK_STREAM)[0]
        self.connection = connection = http.client.HTTPConnection(self.url.hostname, self.url.port or 80, timeout=15)
        connection.sock = socket.socket(family, kind, number)
        connection.sock.settimeout(15)
        connection.sock.connect(address)
        return connection

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--until", type=Path)
    parser.add_argument("--progress", type=Path)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two requests of a thread")
    parser.add_argument("--longest", type=float, default=LONGEST_S)
    options = parser.parse_args()
    url = urllib.parse.urlsplit(options.url)
    headers = dict(item.split(":", 1) for item in options.header)
    statuses: Counter[str] = Counter()
    bodies: Counter[str] = Counter()
    lock = threading.Lock()
    left = options.count
    deadline = time.monotonic() + options.longest
    failures: list[dict[str, object]] = []

    def work() -> None:
        nonlocal left
        caller = Caller(url, headers, options.keep)
        while time.monotonic() < deadline:
            with lock:
                if options.until is None and left <= 0:
                    return
                left -= 1
            if options.until is not None and options.until.exists():
                return
            time.sleep(options.pause)
            request_id = str(uuid.uuid4())
            status, body = caller.one(request_id)
            with lock:
                if status != "200" and len(failures) < TOLD:
                    failures.append({"id": request_id, "at": time.time(), "status": status, "body": body[:500]})
                statuses[status] += 1
                bodies[body[:200]] += 1
                done = sum(statuses.values())
            if options.progress and done % 50 == 0:
                options.progress.write_text(str(done))

    threads = [threading.Thread(target=work) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = {status: count for status, count in statuses.items() if status != "200"}
    print(json.dumps({"ok": statuses["200"], "failed": failed, "bodies": dict(bodies.most_common(20)), "failures": failures}))


if __name__ == "__main__":
    main()
