"""Five hundred edits under load: weights, subsets, endpoints and timeouts change, in any order of documents and of saves. No request notices; each edit is told."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from tests.live.harness import BOOKING, Load, Mesh, copied, rewrite, until

EDITS = 500
SCALED_EVERY = 60
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: charge, namespace: booking}
spec: {selector: {app: payment}, ports: [{name: http, port: 8080}]}
"""
ENTRY = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: listed, namespace: booking}}
spec:
  hosts: [listed.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  endpoints: [{}]
"""
FRESH = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: fresh, namespace: booking}
spec: {host: fresh.example, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 40s}}}}
"""
WARM_S = 40
FRESH_ENTRY = ENTRY.replace("listed", "fresh")
MEMBER = "{{address: {}, serviceAccount: payment, labels: {{security.istio.io/tlsMode: istio}}}}"


def route(host: str, weights: dict[str, int]) -> str:
    """A VirtualService without retries: a request that fails is seen."""
    targets = ", ".join(f"{{destination: {{host: {host}, subset: {subset}}}, weight: {weight}}}" for subset, weight in weights.items())
    return f"""---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}, namespace: booking}}
spec: {{hosts: [{host}], http: [{{route: [{targets}], retries: {{attempts: 0}}}}]}}
"""


def rule(host: str, subsets: Iterator[str] | dict[str, int], timeout_ms: int = 1000) -> str:
    """A DestinationRule with these subsets, of the version their names begin with."""
    listed = ", ".join(f"{{name: {subset}, labels: {{version: {subset[:2]}}}}}" for subset in subsets)
    return f"""---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: booking}}
spec: {{host: {host}, trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {timeout_ms}ms}}}}}}, subsets: [{listed}]}}
"""


class Editor:
    """Saves files as an editor does, and waits until `up` has told of as many objects as were changed."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self.mesh, self.folder, self.count = mesh, folder, 0

    def told(self) -> int:
        """Of how many changed objects `up` has said that they are live everywhere."""
        found = (re.search(r" booking/\S+?(?: and (\d+) more)?: live on (\d+)/\2 proxies in \d+ ms", line) for line in list(self.mesh.lines))
        return sum(1 + int(one[1] or 0) for one in found if one)

    def save(self, objects: int, *files: tuple[str, str]) -> None:
        """One edit, of one or several files saved one after the other."""
        before = self.told()
        for name, text in files:
            temporary = self.folder / f"{name}.new"
            temporary.write_text(text)
            temporary.replace(self.folder / f"{name}.yaml")
        self.count += 1
        until(lambda: self.told() >= before + objects, 60, f"edit {self.count} of {[name for name, _ in files]} is told; last lines: {self.mesh.lines[-5:]}")


def both(host: str, weights: dict[str, int], route_first: bool, timeout_ms: int = 1000) -> str:
    """Route and rule in one file, in either order."""
    texts = [route(host, weights), rule(host, weights, timeout_ms)]
    return "".join(texts if route_first else reversed(texts))


def one_round(editor: Editor, turn: int, members: list[str]) -> None:
    """Ten edits. `payment`'s route and rule are in one file, `charge`'s in two."""
    first, share, timeout_ms = turn % 2 == 0, 20 + turn % 60, 1000 + turn
    old, new = {"v1": share, "v2": 100 - share}, {f"v1-{turn}": share, f"v2-{turn}": 100 - share}
    for step in range(3):  # weights alone, and the documents of the file change places
        editor.save(1, ("both", both("payment", {"v1": share + step, "v2": 100 - share - step}, first, timeout_ms - 1)))
    editor.save(2, ("both", both("payment", old | {f"v1-{turn}": 0} if turn % 3 else old | new, first, timeout_ms)))  # subsets come with their route
    editor.save(2, ("both", both("payment", {"v1": 10, "v2": 90}, not first, timeout_ms)))  # and go with it
    saves = [("route", route("charge", new)), ("rule", rule("charge", new))]
    editor.save(2, *(saves if first else reversed(saves)))  # every subset is another one now, in two saves
    saves = [("route", route("charge", old)), ("rule", rule("charge", old))]
    editor.save(2, *(reversed(saves) if first else saves))
    editor.save(1, ("rule", rule("charge", old, timeout_ms + 1)))  # only a timeout: clusters change, their endpoints don't
    editor.save(1, ("entry", ENTRY.format(", ".join(members[turn % 2 : turn % 2 + 1]))))
    editor.save(1, ("entry", ENTRY.format(", ".join(members))))


def grows(mesh: Mesh, editor: Editor, members: list[str], old_since: float) -> None:
    """A second endpoint beside one that is warm: few requests at first, in the end half of them."""

    def share() -> float:
        script = "for i in $(seq 60); do curl -s --max-time 10 http://fresh.example:8080/version; done"
        done = mesh.exec("deploy/client", "sh", "-c", script)
        assert done.stdout.count("version") == 60, done.stdout
        return done.stdout.count('"v2"') / 60

    until(lambda: time.monotonic() > old_since + WARM_S + 5, WARM_S + 60, "the first endpoint is warm")
    assert share() == 0
    editor.save(1, ("fresh", FRESH_ENTRY.format(", ".join(members)) + FRESH))
    assert share() <= 0.36, "a tenth of the weight at first; a third of the requests after half of the time"
    until(lambda: share() >= 0.45, WARM_S + 60, "an equal share")


def test_five_hundred_edits_are_told_and_not_noticed(mesh: Mesh) -> None:
    folder = copied(mesh)
    text = (folder / "mesh.yaml").read_text()
    at = text.index("# Nine of ten charges")
    (folder / "mesh.yaml").write_text(text[:at])
    start = {"v1": 50, "v2": 50}
    (folder / "both.yaml").write_text(both("payment", start, True))
    (folder / "route.yaml").write_text(route("charge", start))
    (folder / "rule.yaml").write_text(rule("charge", start))
    (folder / "service.yaml").write_text(SERVICE)
    mesh.start(folder, options=("--image-map", str(BOOKING / "image-map.yaml")))
    members = [MEMBER.format(item["ip"]) for item in sorted(mesh.json("ps")["pods"], key=lambda item: item["name"]) if item["name"].startswith("payment")]
    assert len(members) == 2
    editor = Editor(mesh, folder)
    editor.save(1, ("entry", ENTRY.format(", ".join(members))))
    editor.save(2, ("fresh", FRESH_ENTRY.format(members[0]) + FRESH))
    until(lambda: mesh.curl("http://fresh.example:8080/version")[0] == 200, 60, "the entry is live")
    old_since = time.monotonic()
    loads = [Load(mesh, f"http://{host}:8080/version", options=("--threads", "1", "--pause", "0.005")) for host in ("payment", "charge", "listed.example")]
    for load in loads:
        until(lambda load=load: load.done() >= 50, 60, "the load runs")
    replicas = 1
    for turn in range(EDITS // 10):
        if turn % (SCALED_EVERY // 10) == 0:
            rewrite(folder / "payment.yaml", f"replicas: {replicas}\n", f"replicas: {3 - replicas}\n")
            replicas = 3 - replicas
        one_round(editor, turn, members)
    assert editor.count > EDITS
    for load in loads:
        result = load.flawless()
        assert result["ok"] > 200
        assert len(result["bodies"]) == 2, "both versions answered"
    grows(mesh, editor, members, old_since)
