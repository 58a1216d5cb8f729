"""A load from inside a pod: `load.py URL COUNT [--threads N] [--header K:V]`. A new connection and a new name lookup for each request; prints one JSON object.

Standard library only: it runs in a pod, with whatever Python the test names. Stops by itself; a file named by --until ends it early once COUNT is 0 (run until told).
"""

import argparse
import http.client
import json
import socket
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path

LONGEST_S = 300


def one(url: urllib.parse.SplitResult, headers: dict[str, str]) -> tuple[str, str]:
    """(status or error, body)."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(url.hostname, url.port or 80, type=socket.SOCK_STREAM)[0]
        connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=15)
        connection.sock = socket.socket(family, kind, number)
        connection.sock.settimeout(15)
        connection.sock.connect(address)
        try:
            connection.request("GET", url.path + (f"?{url.query}" if url.query else ""), headers={"connection": "close", **headers})
            answer = connection.getresponse()
            return str(answer.status), answer.read().decode(errors="replace")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}", ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--until", type=Path)
    parser.add_argument("--progress", type=Path)
    options = parser.parse_args()
    url = urllib.parse.urlsplit(options.url)
    headers = dict(item.split(":", 1) for item in options.header)
    statuses: Counter[str] = Counter()
    bodies: Counter[str] = Counter()
    lock = threading.Lock()
    left = options.count
    deadline = time.monotonic() + LONGEST_S

    def work() -> None:
        nonlocal left
        while time.monotonic() < deadline:
            with lock:
                if options.until is None and left <= 0:
                    return
                left -= 1
            if options.until is not None and options.until.exists():
                return
            status, body = one(url, headers)
            with lock:
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
    print(json.dumps({"ok": statuses["200"], "failed": failed, "bodies": dict(bodies.most_common(20))}))


if __name__ == "__main__":
    main()
