"""What the command line asks of control, as JSON: status, proxies, objects, findings, pods, events. Field names are in docs/json.md."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from lateen.base.errors import LateenError
from lateen.base.findings import Severity
from lateen.config.decode import ref_of
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.control.events import Events, finding_json
from lateen.control.galley import Galley
from lateen.control.learning import Learning, workload_json
from lateen.control.node_api import NodeApi
from lateen.control.pilot import MADE_UP, Pilot
from lateen.mesh.automatic_scope import workload_of
from lateen.serve.door import Connection
from lateen.serve.session import CDS, ECDS, EDS, LDS, RDS, SDS, Subscription
from lateen.sources.plain import as_json

Json = dict[str, Any]
"""Any: JSON."""
TYPES = {CDS: "CDS", LDS: "LDS", EDS: "EDS", RDS: "RDS", ECDS: "ECDS", SDS: "SDS"}
LONGEST_WAIT_S = 300.0


@dataclass
class Interface:
    """Answers from the parts of control. `node` None: control runs alone. `learning` None: scope is complete."""

    name: str
    pilot: Pilot
    galley: Galley
    events: Events
    node: NodeApi | None
    listens: str = ""
    learning: Learning | None = None
    started: float = field(default_factory=time.monotonic)

    def methods(self) -> dict[str, Any]:
        """Method → coroutine of a request. Any: a coroutine function."""
        return {
            "Status": self.status,
            "ProxyStatus": self.proxy_status,
            "ProxyConfig": self.proxy_config,
            "Objects": self.objects,
            "Findings": self.findings,
            "Pods": self.pods,
            "Ledger": self.ledger,
            "Wait": self.wait,
            "Oracle": self.oracle,
        }

    # State

    @property
    def is_ready(self) -> bool:
        """Everything that is written is in force, runs, and every proxy has it."""
        if not self.pilot.is_loaded or any(not connection.session.is_settled for connection in self._connections()):
            return False
        if self.node is None:
            return True
        if not self.node.has_reported or not self.node.watchers:
            return False
        if self.node.problems or len(self.node.pods) < self._least_pods():
            return False
        has_gateways = any(item.kind == "Deployment" for item in self.pilot.overlay.layer(MADE_UP).values())
        return all(_is_ready(pod) for pod in self.node.pods.values()) and bool(self.node.ingress or not has_gateways)

    def _least_pods(self) -> int:
        """How many pods there must be at least: one per workload that wants any."""
        written = (*self.galley.written.values(), *self.pilot.overlay.layer(MADE_UP).values())
        wanting = (item for item in written if item.kind in ("Pod", "Deployment", "StatefulSet", "Job"))
        return sum(getattr(getattr(item, "spec", None), "replicas", 1) != 0 for item in wanting)

    def _connections(self) -> list[Connection]:
        return list(self.pilot.door.connections.values())

    async def status(self, _: Json) -> Json:
        """What runs, and whether it is well."""
        connections = self._connections()
        pods = self._pods()
        findings = Counter(finding.severity for finding in self.events.findings)
        return {
            "name": self.name,
            "ready": self.is_ready,
            "revision": self.pilot.db.published_revision,
            "control": {"pid": os.getpid(), "rss_mb": _rss_mb(), "uptime_s": time.monotonic() - self.started, "listens": self.listens},
            "node": {
                "connected": bool(self.node and self.node.watchers),
                "pods": len(pods),
                "ready": sum(pod["is_ready"] for pod in pods),
                "problems": self.node.problems if self.node else {},
            },
            "proxies": {"connected": len(connections), "synced": sum(connection.session.is_settled for connection in connections)},
            "views": len(self.pilot.catalog.views),
            "scope": self._scope(),
            "objects": dict(Counter(item.kind for item in self._objects())),
            "findings": {severity.name.lower(): findings.get(severity, 0) for severity in Severity},
            "ingress": [
                {"gateway": f"{one['namespace']}/{one['service']}", "port": one["port"], "url": one.get("url", ""), "problem": one.get("problem", "")}
                for one in (self.node.ingress if self.node else [])
                if one["port"] in (80, 443) or not one.get("problem")
            ],
        }

    async def proxy_status(self, _: Json) -> Json:
        """Whether each proxy has acknowledged what it should have."""
        now = time.monotonic()
        return {"proxies": sorted((self._proxy(connection, now) for connection in self._connections()), key=lambda one: str(one["name"]))}

    def _proxy(self, connection: Connection, now: float) -> Json:
        introduction = connection.introduction
        subscriptions = connection.session.subscriptions
        types = {name: self._type(subscriptions.get(url), connection, now) for url, name in TYPES.items() if name != "SDS" or url in subscriptions}
        return {
            "name": introduction.proxy.id,
            "type": introduction.proxy.type.value,
            "version": introduction.version,
            "node_id": introduction.node_id,
            "connected_s": now - connection.connected_at,
            "types": types,
            "clusters": self._clusters(connection),
        }

    def _scope(self) -> Json:
        """The scope in force, and what each workload has learned in it."""
        if self.learning is None:
            return {"mode": "complete", "learned": []}
        found = [{**workload_json(one), "clusters": sorted(names)} for one, names in self.learning.workloads.items()]
        return {"mode": "automatic", "learned": sorted(found, key=lambda one: (one["namespace"], one["workload"], one["service_account"]))}

    def _clusters(self, connection: Connection) -> Json:
        """How many clusters a proxy has. `learned`: those of them that came because somebody of its workload asked."""
        snapshot = (self.pilot.catalog.snapshots(connection.view) or {}).get(CDS) if connection.view is not None else None
        subscription = connection.session.subscriptions.get(CDS)
        if snapshot is None or subscription is None:
            return {"held": 0, "learned": 0}
        held = {name for name in snapshot.entries if subscription.wants(snapshot, name)}
        learned = self.learning.workloads.get(workload_of(connection.introduction.proxy), frozenset()) if self.learning is not None else frozenset()
        return {"held": len(held), "learned": len(held & (learned | subscription.subscribed)) if self.learning is not None else 0}

    def _type(self, subscription: Subscription | None, connection: Connection, now: float) -> Json:
        if subscription is None or subscription.sent_at is None:
            return {"state": "NOT SENT"}
        snapshot = (self.pilot.catalog.snapshots(connection.view) or {}).get(subscription.url) if connection.view is not None else None
        is_behind = bool(subscription.in_flight) or (snapshot is not None and subscription.differs(snapshot))
        state = "REJECTED" if subscription.rejected else "STALE" if is_behind else "SYNCED"
        age = now - (subscription.acked_at if subscription.acked_at is not None and not is_behind else subscription.sent_at)
        return {"state": state, "age_s": age, "nonce": subscription.last_nonce, "error": subscription.rejection}

    async def proxy_config(self, request: Json) -> Json:
        """Names and versions of what a proxy was sent. `proxy`: `<pod>.<namespace>`."""
        for connection in self._connections():
            if connection.introduction.proxy.id == request.get("proxy"):
                snapshots = self.pilot.catalog.snapshots(connection.view) if connection.view is not None else None
                types: Json = {}
                for url, subscription in connection.session.subscriptions.items():
                    snapshot = (snapshots or {}).get(url)
                    names = sorted(name for name in snapshot.entries if subscription.wants(snapshot, name)) if snapshot is not None else []
                    types[TYPES.get(url, url)] = [
                        {"name": name, "version": snapshot.version(name), "origins": sorted(map(str, snapshot.entries[name].origins))}
                        for name in names
                        if snapshot is not None
                    ]
                return {"proxy": connection.introduction.proxy.id, "types": types}
        raise LateenError(f"no such proxy is connected: `{request.get('proxy')}`")

    def _objects(self) -> list[Any]:  # Any: Objects of any kind
        """In force, and what is wanted of the node."""
        found = dict(self.pilot.overlay.in_force)
        for ref, item in self.galley.written.items():
            if not (self.node is not None and isinstance(item, Pod)):
                found.setdefault(ref, item)
        return [item for _, item in sorted(found.items())]

    async def objects(self, request: Json) -> Json:
        """Objects in force. `kind`, `namespace`, `name`: only those."""
        kind, namespace, name = (request.get(key) for key in ("kind", "namespace", "name"))
        found = [
            as_json(item)
            for item in self._objects()
            if kind in (None, item.kind, type(item).__name__) and namespace in (None, item.namespace) and name in (None, item.name)
        ]
        return {"objects": found}

    async def findings(self, _: Json) -> Json:
        """What is wrong now."""
        return {"findings": [finding_json(finding) for finding in self.events.findings]}

    async def pods(self, _: Json) -> Json:
        """The pods as a table shows them."""
        return {"pods": self._pods()}

    def _pods(self) -> list[Json]:
        connected = {connection.introduction.proxy.id for connection in self._connections()}
        pods = self.node.pods.values() if self.node else (as_json(item) for item in self._objects() if isinstance(item, Pod))
        return sorted((_pod_row(pod, connected) for pod in pods), key=lambda row: (str(row["namespace"]), str(row["name"])))

    async def ledger(self, _: Json) -> Json:
        """The last changes and who has them."""
        return {
            "changes": [
                {
                    "revision": report.revision,
                    "objects": [str(change.object) for change in report.changes],
                    "proxies": report.live,
                    "of": report.of,
                    "refused": report.refused,
                    "final": report.is_final,
                }
                for report in self.pilot.ledger.recent(time.monotonic())
            ]
        }

    async def wait(self, request: Json) -> Json:
        """Until the mesh is ready, `timeout_s` at most."""
        until = time.monotonic() + min(float(request.get("timeout_s", 60)), LONGEST_WAIT_S)
        while not self.is_ready and time.monotonic() < until:  # noqa: ASYNC110  it depends on many things
            await asyncio.sleep(0.02)
        return {"ready": self.is_ready}

    async def oracle(self, _: Json) -> Json:
        """Computes everything anew and names what differs from what is held: costs a cold build, in which nothing else runs."""
        wrong = self.pilot.db.discrepancies()
        return {"checked": len(self.pilot.db.roots()), "wrong": [f"{source.name}{args}"[:500] for source, args in wrong]}

    async def follow(self, _: Json) -> AsyncIterator[Json]:
        """Events as they happen."""
        async for event in self.events.follow():
            yield event


def _conditions(pod: Json) -> dict[str, str]:
    return {one.get("type", ""): one.get("status", "") for one in (pod.get("status") or {}).get("conditions") or ()}


def _is_ready(pod: Json) -> bool:
    return _conditions(pod).get("Ready") == "True" or (pod.get("status") or {}).get("phase") == "Succeeded"


def _pod_row(pod: Json, connected: set[str]) -> Json:
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    statuses = status.get("containerStatuses") or ()
    names = {container.get("name") for container in spec.get("containers") or ()}
    own = [one for one in statuses if one.get("name") in names]
    labels = metadata.get("labels") or {}
    is_gateway = bool(spec.get("containers")) and all(container.get("image") == "auto" for container in spec["containers"])
    is_meshed = labels.get("security.istio.io/tlsMode") == "istio" or is_gateway
    total = (0 if is_gateway else len(names)) + is_meshed
    ready = sum(bool(one.get("ready")) for one in own if not is_gateway) + (is_meshed and f"{metadata['name']}.{metadata['namespace']}" in connected)
    waiting: Json = next((one["state"]["waiting"] for one in statuses if "waiting" in (one.get("state") or {}) and one["state"]["waiting"].get("message")), {})
    phase = "Terminating" if metadata.get("deletionTimestamp") else waiting.get("reason") or status.get("phase", "")
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "ready": f"{ready}/{total}",
        "is_ready": _is_ready(pod),
        "phase": phase,
        "restarts": sum(int(one.get("restartCount", 0)) for one in own),
        "ip": status.get("podIP", ""),
        "age_s": _age_s(metadata.get("creationTimestamp")),
        "message": status.get("message") or waiting.get("message") or "",
        "node": spec.get("nodeName", ""),
    }


def _age_s(created: str | None) -> float:
    if not created:
        return 0.0
    from datetime import datetime

    return max(0.0, time.time() - datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp())


def _rss_mb() -> float:
    with open("/proc/self/statm") as file:  # noqa: PTH123  one read of a few bytes
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def written_refs(galley: Galley) -> list[str]:
    """`Kind namespace/name` of what is written."""
    return [str(ref_of(item)) for item in galley.written.values()]
