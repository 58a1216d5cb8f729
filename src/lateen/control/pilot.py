"""Pilot: what is written becomes what proxies have. Objects in, one revision at a time; refreshed in slices, published, sent.

The first change goes at once, followers are taken together. Called by the other wiring files through `submit` and `need`.
"""

import asyncio
import contextlib
import gc
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import structlog

from lateen.base.findings import Finding, Severity
from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config import store
from lateen.config.decode import ref_of
from lateen.config.defaults import MESH_CONFIG_MAP, mesh_config_of
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.kubernetes.core import ConfigMap
from lateen.config.kinds.objects import Object
from lateen.config.kinds.values import Duration
from lateen.control import heap
from lateen.control.events import Events
from lateen.control.refusals import Refusals
from lateen.identity.ca import DEFAULT_TTL_S
from lateen.incremental import Db
from lateen.mesh.findings import mesh_findings
from lateen.serve.catalog import Catalog, Resources, Withheld
from lateen.serve.door import Connection, Door, Listeners
from lateen.serve.ledger import Change, Ledger, Report
from lateen.serve.session import Rejected
from lateen.sources.facts import Facts
from lateen.sources.journal import Journal, Record
from lateen.sources.overlay import Overlay
from lateen.xds.resources import resource

FILES, PODS, REGISTERED, MADE_UP = "files", "pods", "registered", "made up"
"""Layers, the first wins: what users wrote, what the node reports, workloads that came by themselves, what is made up for them."""
GAP_S = 0.01
"""Changes that come so soon after a publication are taken together."""
SLICE_S = 0.005
"""Computing gives the loop back after so long."""
WITHHELD = "LTN0603"
MOST_CANDIDATES = 50
"""Objects tried for one resource that Envoy refuses."""


class Pilot:
    """The engine, the catalog, the door and the loop between them."""

    def __init__(self, events: Events, mesh_defaults: MeshConfig = MeshConfig(), resources: Resources = resource) -> None:
        self.db = Db()
        self._mesh_defaults = mesh_defaults
        self.events = events
        self.overlay = Overlay(FILES, PODS, REGISTERED, MADE_UP)
        self.facts = Facts()
        self.ledger = Ledger()
        self.catalog = Catalog(self.db, resources=resources)
        self.door = Door(self.catalog, self.ledger, Listeners(self.need, self._reported, self._rejected, self._connected, self._health))
        self.is_loaded = False
        """What was there at the start is published."""
        self.published = asyncio.Event()
        """Set, and replaced, at each publication."""
        self.on_published: list[Callable[[], None]] = []
        """Told after each publication has been sent."""
        self.journal: Journal | None = None
        """Where facts outlive the process; None: nowhere."""
        self._kept: tuple[Record, ...] = ()
        self._refusals = Refusals(events)
        self.on_rejected: list[Callable[[Connection, Rejected], None]] = []
        self.on_withheld: list[Callable[[Withheld], None]] = []
        """Told of each resource that is not sent, for what Envoy would refuse in it."""
        self.on_connected: list[Callable[[Connection, bool], None]] = []
        self.on_health: list[Callable[[Connection, str | None], None]] = []
        """Told what a workload's agent reports; None: it is well."""
        self._history: OrderedDict[ObjectRef, Object | None] = OrderedDict()
        """Objects by their last change, the latest last: what was in force before it."""
        self._wake = asyncio.Event()
        self._changes: dict[ObjectRef, Change] = {}
        self._log = structlog.get_logger("control.pilot")
        self.db.hold(mesh_findings)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the objects in force have wrong together, as published."""
        return (*self.facts.findings, *self._withheld_findings(), *(mesh_findings.published(self.db) or ()))

    def _withheld_findings(self) -> tuple[Finding, ...]:
        """What is not sent, once for all views, at the latest change of what it comes from."""
        found: dict[tuple[str, str, str], Finding] = {}
        for one in (item.resource for item in self.catalog.withheld):
            origins = self.candidates(one.origins) or tuple(sorted(one.origins)) or (None,)
            message = f"{one.type.name.lower()} {one.name} is not sent, what proxies had before stays: Envoy would refuse {one.problem}"
            found.setdefault((one.type.name, one.name, one.problem), Finding(WITHHELD, Severity.ERROR, message, origins[0], hint="change what it names"))
        return tuple(found.values())

    def submit(self, layer: str, upserts: Iterable[Object], removed: Iterable[ObjectRef] = (), *, is_full: bool = False) -> None:
        """Objects of a layer have changed. `is_full`: `upserts` are all there are."""
        upserts = tuple(upserts)
        if layer == FILES:
            now = time.monotonic()
            for ref in (*(ref_of(item) for item in upserts), *removed):
                self._changes.setdefault(ref, Change(ref, 0, now))
        if is_full:
            self.overlay.replace(layer, upserts)
        else:
            self.overlay.change(layer, upserts, removed)
        self.need()

    def before(self, ref: ObjectRef) -> Object | None:
        """What was in force before an object's last change; None: nothing."""
        return self._history.get(ref)

    def candidates(self, origins: Iterable[ObjectRef]) -> tuple[ObjectRef, ...]:
        """Objects to blame for a resource of these origins, the latest change first; pods and the like are not the user's configuration."""
        known = frozenset(origins)
        found = [ref for ref in reversed(self._history) if (not known or ref in known) and ref in self.overlay.layer(FILES)]
        return tuple(found[:MOST_CANDIDATES])

    def quarantine(self, ref: ObjectRef, reason: str) -> None:
        """Envoy refuses what comes of an object: its earlier form is in force until another one is written."""
        self.facts.quarantine(self.overlay, ref, self.before(ref), reason)
        self.need()

    def need(self) -> None:
        """Something is to be computed."""
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            expiry = self.facts.next_expiry
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if expiry is None else max(0.0, expiry - time.monotonic())):
                    await self._wake.wait()
            self._wake.clear()
            await self._turn()
            await asyncio.sleep(GAP_S)

    async def _turn(self) -> None:
        changes = self._apply()
        while not self._refreshed():  # noqa: ASYNC110  gives the loop back between slices; nothing is waited for
            await asyncio.sleep(0)
        published = self.catalog.publish()
        for (source, args), error in published.failed:
            self._log.error("a query failed; its last good result stays", query=source.name, args=[str(arg)[:200] for arg in args], error=repr(error))
        for withheld in published.withheld:
            self._log.error("a resource is not sent", resource=withheld.resource.name, problem=withheld.resource.problem)
            for told in self.on_withheld:
                told(withheld)
        await self.door.published(published, changes if self.is_loaded else ())
        if not self.is_loaded:
            self.is_loaded = True
            gc.collect()
            gc.freeze()  # what was built at the start stays: no collection walks it again
            heap.give_back()
        self.published.set()
        self.published = asyncio.Event()
        for listener in self.on_published:
            listener()

    def _refreshed(self) -> bool:
        until = time.monotonic() + SLICE_S
        return self.catalog.refresh(lambda: time.monotonic() >= until)

    def _apply(self) -> tuple[Change, ...]:
        """Brings the inputs up to date; the changes of written objects that had an effect."""
        if self.is_loaded:  # a cold start holds nothing: there is no older form
            self.facts.reconcile(self.overlay, time.monotonic())
        elif self.journal is not None:
            self.facts.restore(self.overlay, self.journal.read())
        self._keep_facts()
        effect = self.overlay.take()
        for item in effect.upserts:
            store.OBJECTS.set(self.db, ref_of(item), item)
        for ref in effect.removed:
            store.OBJECTS.remove(self.db, ref)
        touched = set(effect.before)
        for ref, before in effect.before.items():
            self._history.pop(ref, None)
            self._history[ref] = before
        config_map = ObjectRef(ConfigMap.__name__, ROOT_NAMESPACE, MESH_CONFIG_MAP)
        if config_map in touched or not self.is_loaded:
            found = self.overlay.in_force.get(config_map)
            config, _ = mesh_config_of(found if isinstance(found, ConfigMap) else None, self._mesh_defaults)
            store.MESH_CONFIG.set(self.db, "mesh", config)
        changes = tuple(change for ref, change in self._changes.items() if ref in touched)
        self._changes = {ref: change for ref, change in self._changes.items() if ref in self.facts.holds}
        return changes

    def certificate_life_s(self) -> float:
        """How long workloads' certificates live, seconds; one that is no duration counts as none.

        Source: Istio, SECRET_TTL in the mesh's defaultConfig.proxyMetadata.
        """
        config = store.mesh_config(self.db)
        metadata = config.default_config.proxy_metadata if config.default_config is not None else {}
        try:
            return float(Duration.parse(metadata["SECRET_TTL"])) if "SECRET_TTL" in metadata else DEFAULT_TTL_S
        except ValueError:
            return DEFAULT_TTL_S

    def _keep_facts(self) -> None:
        records = self.facts.records
        if self.journal is not None and records != self._kept:
            self._kept = records
            asyncio.get_running_loop().run_in_executor(None, self.journal.write, records)

    def _reported(self, report: Report) -> None:
        if not report.changes:
            return
        first = report.changes[0].object
        more = f" and {len(report.changes) - 1} more" if len(report.changes) > 1 else ""
        about = {"object": f"{first}{more}", "revision": report.revision, "objects": [str(change.object) for change in report.changes]}
        if report.of == 0:
            self.events.emit({"event": "no-proxy", **about})
        else:
            self.events.emit({"event": "live", **about, "proxies": report.live, "of": report.of, "ms": report.took_s * 1000, "final": report.is_final})

    def _rejected(self, connection: Connection, rejected: Rejected) -> None:
        proxy = connection.introduction.proxy.id
        names = [name for name, _ in rejected.resources]
        self._log.error("a proxy refuses a response", proxy=proxy, type=rejected.type_url, resources=names[:20], message=rejected.message)
        self._refusals.add(proxy, rejected)
        for listener in self.on_rejected:
            listener(connection, rejected)

    def _connected(self, connection: Connection, is_connected: bool) -> None:
        self.events.emit({"event": "proxy", "proxy": connection.introduction.proxy.id, "connected": is_connected})
        for listener in self.on_connected:
            listener(connection, is_connected)

    def _health(self, connection: Connection, problem: str | None) -> None:
        for listener in self.on_health:
            listener(connection, problem)
