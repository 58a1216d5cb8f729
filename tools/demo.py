"""`./run demo`: the booking sample as a mesh on this machine, a little traffic, and what to try. Ctrl-C stops it and leaves nothing."""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READY_TIMEOUT_S = 120
REQUESTS = 20
STOP_TIMEOUT_S = 90


def status(name: str) -> dict:
    """`lateen status -o json`; empty while the mesh does not answer."""
    done = subprocess.run([sys.executable, "-m", "lateen", "status", "--name", name, "-o", "json"], capture_output=True, text=True, timeout=60)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {}


def traffic(url: str) -> tuple[Counter, str]:
    """Answers by payment version, and one of them whole."""
    seen: Counter = Counter()
    last = ""
    for _ in range(REQUESTS):
        try:
            with urllib.request.urlopen(f"{url}/book?item=room", timeout=20) as answer:
                last = answer.read().decode().strip()
                seen[json.loads(last)["paid"]["version"]] += 1
        except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
            seen[f"failed: {error}"] += 1
    return seen, last


def main() -> int:
    """0: stopped as asked. 1: the mesh did not come up or a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the traffic, as the tests do")
    parser.add_argument("--name", default="demo", help="name of the mesh")
    parser.add_argument("--publish", action="append", default=[], metavar="PORT=HOSTPORT", help="as `lateen up` has it: where the ingress is published")
    options = parser.parse_args()
    published = [part for pair in options.publish for part in ("--publish", pair)]
    up = subprocess.Popen(
        [sys.executable, "-m", "lateen", "up", str(ROOT / "samples" / "booking"), "--name", options.name, *published],
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
    )
    ready = threading.Event()

    def follow() -> None:
        for line in up.stdout:
            print(line, end="", flush=True)
            if line.startswith(("ready in", "not ready: ")):
                ready.set()
        ready.set()

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    code = 0
    try:
        ready.wait(READY_TIMEOUT_S)
        if up.poll() is not None:
            return up.returncode or 1
        code = show(options.name)
        if not options.once:
            up.wait()
    except KeyboardInterrupt:
        pass
    finally:
        if up.poll() is None:
            os.kill(up.pid, signal.SIGINT)
        try:
            up.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            up.kill()
            subprocess.run([sys.executable, "-m", "lateen", "down", "--name", options.name], timeout=60)
    reader.join(5)
    return code


def show(name: str) -> int:
    """Sends the traffic and says what to try. 1: a request failed, or there is no ingress to send it through."""
    offered = status(name).get("ingress", [])
    url = next((item["url"] for item in offered if item.get("url") and not item.get("problem")), "")
    if not url:
        problem = next((item["problem"] for item in offered if item.get("problem")), f"`./lateen status --name {name}` says why")
        print(f"\nno ingress came up: {problem}; for another port type  ./run demo --publish 80=PORT")
    failed = not url or not sent(url)
    flag = "" if name == "default" else f" --name {name}"
    print("try, in another terminal at the repository's root:")
    if url:
        print(f"  curl -s '{url}/book?item=flight' -H 'x-user: tester'      # testers are charged by v2")
    print(f"  ./lateen exec deploy/client -n booking{flag} -- curl -s http://payment:8080/version")
    print(f"  ./lateen proxy-status{flag}")
    print("  …or edit samples/booking/mesh.yaml (say, weight: 50) and see here how fast it is live")
    print("\nCtrl-C stops everything and leaves nothing.", flush=True)
    return 1 if failed else 0


def sent(url: str) -> bool:
    """Sends the traffic and says what came of it. Whether every request was answered."""
    began = time.monotonic()
    seen, last = traffic(url)
    print(
        f"\nsent {REQUESTS} bookings through {url} in {time.monotonic() - began:.1f} s; charged by "
        + ", ".join(f"{version} ×{count}" for version, count in sorted(seen.items()))
    )
    print(f"  {last}\n")
    return not any(version.startswith("failed") for version in seen)


if __name__ == "__main__":
    sys.exit(main())
