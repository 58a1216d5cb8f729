"""Thousands of configurations through one Envoy: `python -m tests.fuzz.one_envoy SEED CONFIGURATIONS SECONDS` prints one JSON object of what came of them.

Runs in a network namespace of its own, where every address is local. Each configuration is what a proxy of a golden case would get after an edit, sent as the
difference to what Envoy has; then what is new in it is asked for by real calls, and Envoy's access log says whether they went as the simulator says.
"""

import asyncio
import importlib.util
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import arena
import grpc
from ads import secret_servers
from client import is_malformed, made, spoken
from judge import Logged, capture_ports, disagreement, with_our_log

from lateen.config.decode import ref_of
from lateen.insight.simulate.call import Call, Outcome
from lateen.insight.simulate.emitted import Emitted, Serialized
from lateen.insight.simulate.evaluate import evaluate
from lateen.wire.binary import envoy_path
from lateen.xds.resource import Resource, ResourceType
from tests.cases.evidence import FOLDERS
from tests.fuzz.calls import Asker
from tests.fuzz.configurations import Counts, Edit, Key, Mesh, Pool, Snapshot, required, said, single_edits
from tests.fuzz.delta_ads import DeltaAds, Silent

COURT = Path(__file__).resolve().parents[1] / "conformance" / "real_envoy"
spec = importlib.util.spec_from_file_location("court", COURT / "__main__.py")
assert spec is not None and spec.loader is not None
court = importlib.util.module_from_spec(spec)
spec.loader.exec_module(court)

AGAIN_S = (0.0, 0.2, 1.0, 5.0)
"""A call that goes another way than it should is made again: workers take a change a moment after it is acknowledged."""
LOG_S = 1.5
ENTRY = re.compile(r"\n(?=CALL\t)")
"""Between entries of the log. One may have several lines: a route may be called so."""
CALLS_A_PUSH = 4
MOST_CALLS = 4000
DEADLY = "table_size: no prime"
"""Of a problem that Envoy takes, and then dies of."""
MOST_WRONG = 20
"""Then nothing more is asked: the rest would only cost time."""


@dataclass
class Delta:
    """How a proxy's snapshot differs from its case's."""

    edit: Edit
    changed: dict[tuple[ResourceType, str], Resource]
    gone: list[tuple[ResourceType, str]]


@dataclass
class Run:
    """What came of it all. `accepted`: configurations that every proxy took."""

    ads: DeltaAds
    court: Any
    place: Path
    process: asyncio.subprocess.Process
    asker: Asker
    counts: Counts = field(default_factory=Counts)
    reached: set[Key] = field(default_factory=set)
    elsewhere: set[Key] = field(default_factory=set)
    """Fields that change what runs, and no proxy's resources."""
    accepted: int = 0
    unseen: int = 0
    withheld: Counter[str] = field(default_factory=Counter)
    """What the check found in resources, in general words → how often. They are not sent."""
    untold: list[Any] = field(default_factory=list)
    """Withheld resources that don't say what of them is no good, or that don't name the object that is."""
    problems: Counter[str] = field(default_factory=Counter)
    """The same of resources made bad, sent or not."""
    spoilt: int = 0
    taken: list[Any] = field(default_factory=list)
    """Resources that the check finds bad and Envoy took."""
    beside: int = 0
    """Calls to what else there is, while something was withheld."""
    refused: list[Any] = field(default_factory=list)
    failed: list[Any] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    _calls_beside: list[Call] = field(default_factory=list)
    _read_to: int = 0
    _entries: dict[int, list[Logged]] = field(default_factory=dict)

    async def mesh(self, mesh: Mesh, edits: Any, until: float, most: int) -> None:
        """A case and edits of it, proxy by proxy. After `until` nothing more is generated; what is, is sent."""
        base, whole = mesh.snapshots(), mesh.emitted()
        deltas: list[list[Delta]] = [[] for _ in base]
        accepted: list[Edit] = []
        for edit in edits:
            if len(accepted) >= most or time.monotonic() > until:
                break
            try:
                mesh.apply(edit)
                after = mesh.snapshots()
                if after == base and len(edit.fields) == 1 and mesh.emitted() != whole:
                    self.elsewhere.update(edit.fields)
            except Exception as error:
                if edit.mesh is None:
                    self.failed.append(_told(mesh, edit, f"{type(error).__name__}: {error}"))
                continue
            finally:
                mesh.undo(edit)
            found = [_delta(edit, one, other) for one, other in zip(base, after, strict=True)]
            if not any(one.changed or one.gone for one in found):
                self.unseen += 1
                continue
            accepted.append(edit)
            self.reached.update(edit.fields)
            for one in (one for delta in found for one in delta.changed.values() if one.problem):
                self.withheld[in_general(one.problem)] += 1
                if ": " not in one.problem or not one.origins.issuperset(map(ref_of, edit.objects)):
                    self.untold.append(_told(mesh, edit, f"{one.name}: {one.problem}: {sorted(map(str, one.origins))}"))
            for number, one in enumerate(found):
                if one.changed or one.gone:
                    deltas[number].append(one)
        print(f"{mesh.name}: {len(accepted)} configurations, {len(self.reached)} fields, {time.monotonic():.1f}", file=sys.stderr, flush=True)
        bad: set[int] = set()
        for one, of_proxy in zip(base, deltas, strict=True):
            print(f"   {len(of_proxy)} {time.monotonic():.1f} calls {sum(self.outcomes.values())}", file=sys.stderr, flush=True)
            await self.ads.push({})
            await self._sent(mesh, one, Delta(Edit(), one, []), bad)
            for delta in of_proxy:
                await self._sent(mesh, one, delta, bad)
        print(
            f"{mesh.name}: sent {time.monotonic():.1f} pushes {self.ads.pushes} calls {sum(self.outcomes.values())} refused {len(self.refused)} wrong {len(self.wrong)}",
            file=sys.stderr,
            flush=True,
        )
        self.accepted += sum(id(edit) not in bad for edit in accepted)

    async def _sent(self, mesh: Mesh, base: Snapshot, delta: Delta, bad: set[int]) -> None:
        wanted = {key: one for key, one in base.items() if not one.problem}
        for key in delta.gone:
            wanted.pop(key, None)
        wanted |= {key: one for key, one in delta.changed.items() if not one.problem}
        before = len(self.ads.refused)
        try:
            await self.ads.push(wanted)
        except Silent as error:
            raise Silent(f"{error}: {_told(mesh, delta.edit, [name for _, name in delta.changed])}") from None
        refused = [one for one in self.ads.refused[before:] if "Invalid path: " not in one]  # of a file that an edit names and that nobody has
        if refused:
            bad.add(id(delta.edit))
            self.refused.append(_told(mesh, delta.edit, refused))
        if len(self.ads.refused) > before or not delta.edit.has_log:
            return
        if any(one.problem for one in delta.changed.values()):
            await self._asked_beside(mesh, delta, wanted)
        listeners = frozenset(name for type_, name in delta.changed if type_ is ResourceType.LISTENER)
        tables = frozenset(name for type_, name in delta.changed if type_ is ResourceType.ROUTE)
        if (listeners or tables) and self.asker.left > 0 and len(self.wrong) < MOST_WRONG:
            emitted = Emitted.decoded(Serialized(type_.value, name, one.body) for (type_, name), one in wanted.items())
            calls = self.asker.calls(emitted, listeners, tables, CALLS_A_PUSH if delta.edit.fields or delta.edit.objects else 40)
            await self._asked(mesh, delta, emitted, calls)
            if not delta.edit.fields:
                self._calls_beside = calls

    async def sent(self, mesh: Mesh, base: Snapshot) -> None:
        """A proxy's configuration as it is."""
        await self._sent(mesh, base, Delta(Edit(), base, []), set())

    async def spoiled(self, mesh: Mesh, base: Snapshot, what: str, one: Resource) -> None:
        """One resource made bad: Envoy's verdict has to be the check's."""
        self.spoilt += 1
        if one.problem:
            self.withheld[in_general(one.problem)] += 1
            if DEADLY in one.problem:
                return
        wanted = {key: other for key, other in base.items() if not other.problem}
        before = len(self.ads.refused)
        try:
            await self.ads.push(wanted | {(one.type, one.name): one})
        except Silent as error:
            raise Silent(f"{error}: {mesh.name} {one.name}: {what}") from None
        refused = [one for one in self.ads.refused[before:] if "Invalid path: " not in one]
        if one.problem and not refused:
            self.taken.append({"field": what, "problem": one.problem})
        elif refused and not one.problem:
            self.refused.append({"case": mesh.name, "field": what, "resource": one.name, "what": refused})

    async def _asked_beside(self, mesh: Mesh, delta: Delta, wanted: Snapshot) -> None:
        """While something is withheld, one call to what the proxy had before."""
        if self._calls_beside and len(self.wrong) < MOST_WRONG:
            emitted = Emitted.decoded(Serialized(type_.value, name, one.body) for (type_, name), one in wanted.items())
            await self._asked(mesh, delta, emitted, [self._calls_beside[self.beside % len(self._calls_beside)]])
            self.beside += 1

    async def _asked(self, mesh: Mesh, delta: Delta, emitted: Emitted, calls: list[Call]) -> None:
        left = [spoken(call) for call in calls if not is_malformed(call)]
        self.left_out += len(calls) - len(left)
        wrong: list[tuple[Call, str]] = []
        for pause in AGAIN_S:
            await asyncio.sleep(pause)
            wrong = await self._judged(mesh, emitted, left, is_first=pause == 0.0)
            left = [call for call, _ in wrong]
            if not left:
                return
        self.wrong += [_told(mesh, delta.edit, [str(call), why]) for call, why in wrong]

    async def _judged(self, mesh: Mesh, emitted: Emitted, calls: list[Call], *, is_first: bool) -> list[tuple[Call, str]]:
        arena.capture(*capture_ports(emitted))
        said = [evaluate(emitted, call) for call in calls]
        identity = self.court._identity(mesh.mesh.trust_domain or "cluster.local")
        seen = await asyncio.gather(*(made(call, identity, court._manner(emitted, call, result)) for call, result in zip(calls, said, strict=True)))
        await self._log(
            {one.port for one, result in zip(seen, said, strict=True) if result.tcp_proxy or result.manager or result.outcome is Outcome.NO_FILTER_CHAIN}
        )
        found = []
        for call, result, one in zip(calls, said, seen, strict=True):
            if is_first:
                self.outcomes[result.outcome.value] += 1
            entries = self._entries.pop(one.port, [])
            if result.outcome is not Outcome.UNSUPPORTED and (why := disagreement(emitted, call, result, one, entries)):
                found.append((call, f"{result.outcome.value} {[name for name, _ in result.clusters]}: {why}"))
        return found

    async def _log(self, ports: set[int]) -> None:
        """Reads on in the access log until it names all of `ports`, or has had its time."""
        deadline = time.monotonic() + LOG_S
        while True:
            with (self.place / "out").open("rb") as log:
                log.seek(self._read_to)
                text, end, _ = log.read().rpartition(b"\n")
            self._read_to += len(text) + len(end)
            for line in ENTRY.split(text.decode(errors="replace")):
                if entry := Logged.read(line):
                    self._entries.setdefault(entry[0], []).append(entry[1])
            if ports <= self._entries.keys() or time.monotonic() > deadline:
                return
            await asyncio.sleep(0.01)

    def report(self) -> dict[str, Any]:
        return {
            "generated": self.counts.made,
            "accepted": self.accepted,
            "unseen": self.unseen,
            "refused by validation": self.counts.refused,
            "silent": self.counts.silent[:20],
            "withheld": self.withheld,
            "untold": self.untold,
            "beside": self.beside,
            "problems": self.problems,
            "sent_spoilt": self.spoilt,
            "taken": self.taken,
            "pushes": self.ads.pushes,
            "resources": self.ads.resources,
            "calls": sum(self.outcomes.values()),
            "outcomes": self.outcomes,
            "routes": len(self.asker.routes),
            "chains": len(self.asker.chains),
            "left_out": self.left_out,
            "refused": self.refused,
            "failed": self.failed,
            "wrong": self.wrong,
            "unreached": sorted(" ".join(key) for key in required() - enclosed(self.reached | self.elsewhere)),
        }


def in_general(problem: str) -> str:
    """What is wrong, without where and of what."""
    return re.sub(r"\d+(\.\d+)?", "N", re.sub(r"'.*'|\".*\"", "…", problem.rpartition("]")[2].partition(": ")[2] or problem)).strip()


def enclosed(reached: set[Key]) -> set[Key]:
    """With what encloses them."""
    found = set(reached)
    for kind, path in reached:
        while "." in path:
            path = path.rpartition(".")[0]
            found |= {(kind, path), (kind, path.removesuffix("[]").removesuffix("{}"))}
    return found


def _told(mesh: Mesh, edit: Edit, what: Any) -> dict[str, Any]:
    return {"case": mesh.name, "fields": [" ".join(key) for key in edit.fields], "objects": [str(one)[:3000] for one in edit.objects], "what": what}


def _delta(edit: Edit, before: Snapshot, after: Snapshot) -> Delta:
    changed = {key: one for key, one in after.items() if (old := before.get(key)) is None or old.version != one.version}
    return Delta(edit, changed, [key for key in before if key not in after])


Feed = Callable[[Run, list[Mesh], random.Random, int, float], Awaitable[None]]
"""What is to be sent: so many configurations at most, of these meshes; after the time (monotonic) nothing more is generated."""


async def main(feed: Feed, seed: int, most: int, seconds: float) -> int:
    """Prints what came of it."""
    began = time.monotonic()
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        judge = court.Court(scratch)
        meshes = [Mesh(folder, with_our_log) for folder in FOLDERS]
        place = scratch / "envoy"
        ads = DeltaAds(judge.ads.certificate, judge.ads.key, judge.ads.root, judge.ads.revocations)
        server = grpc.aio.server(options=(("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)))
        server.add_generic_rpc_handlers((ads, judge.ads))  # the latter for secrets from servers of the user's
        server.add_insecure_port(f"unix:{scratch}/ads.sock")
        await server.start()
        sinks = [await asyncio.start_server(arena.sink, host, arena.SINK) for host in ("0.0.0.0", "::1")]
        place.mkdir()
        shutil.copytree(judge.certs, place / "certs")
        boot = court.bootstrap(scratch / "ads.sock", sorted(_secret_servers(meshes)))
        boot["dynamic_resources"]["ads_config"]["api_type"] = "DELTA_GRPC"
        boot["layered_runtime"] = {"layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 32768}}]}
        (place / "boot.json").write_text(json.dumps(boot))
        options = ("--concurrency", "1", "--disable-hot-restart", "-l", "warning", "--file-flush-interval-msec", "20")
        drain = ("--drain-time-s", "1", "--drain-strategy", "immediate", "--parent-shutdown-time-s", "2")
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            process = await asyncio.create_subprocess_exec(str(envoy_path()), "-c", "boot.json", *options, *drain, cwd=place, stdout=out, stderr=err)
            run = Run(ads, judge, place, process, Asker(MOST_CALLS))
            died = ""
            try:
                async with asyncio.timeout(30):
                    await ads.connected.wait()
                await feed(run, meshes, draw, most, began + seconds)
            except (Silent, TimeoutError, asyncio.CancelledError) as error:
                died = f"{type(error).__name__} {error}; exit {process.returncode}: {(place / 'err').read_text(errors='replace')[-3000:]}"
            finally:
                if process.returncode is None:
                    process.terminate()
                    try:
                        await asyncio.wait_for(process.wait(), 5)
                    except TimeoutError:
                        process.kill()
                        await process.wait()
        for sink in sinks:
            sink.close()
        await server.stop(0)
        print(json.dumps(run.report() | {"died": died, "seconds": round(time.monotonic() - began, 1)}), flush=True)
        return 0


def _secret_servers(meshes: list[Mesh]) -> set[str]:
    found: set[str] = set()
    for mesh in meshes:
        for one in mesh.snapshots():
            found |= secret_servers(Emitted.decoded(Serialized(type_.value, name, made.body) for (type_, name), made in one.items()))
    return found


async def _all(run: Run, meshes: list[Mesh], draw: random.Random, most: int, until: float) -> None:
    values = said(one for mesh in meshes for one in mesh.objects)
    for mesh in meshes:
        await run.mesh(mesh, single_edits(mesh, values, run.reached, run.counts), until, most)
    pool = Pool.of_cases()
    while run.accepted < most and time.monotonic() < until:
        mesh = draw.choice([one for one in meshes if len(one.proxies) > 1 and len(one.objects) < 50])
        mesh.look(draw)
        edits = (edit for _ in range(1000) if (edit := pool.mixed(mesh, draw, run.counts)) is not None)
        await run.mesh(mesh, edits, until, 60)


if __name__ == "__main__":
    arena.enter()
    sys.exit(asyncio.run(main(_all, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
