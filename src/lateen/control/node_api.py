"""The node's side of control: what shall run goes down (Watch), what runs comes up (Report).

The last report is kept on disk: a control process that starts anew serves at once what ran a moment ago, and not an empty mesh.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from lateen.base.errors import LateenError
from lateen.base.names import ObjectRef
from lateen.config.decode import decode, ref_of
from lateen.config.kinds.kubernetes.core import ConfigMap, Namespace, Node, Secret, ServiceAccount
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.kubernetes.service import Service
from lateen.config.kinds.kubernetes.workloads import CronJob, DaemonSet, Deployment, Job, ReplicaSet, StatefulSet
from lateen.config.kinds.objects import Object
from lateen.control.dns_table import dns_table
from lateen.control.gateway_pods import counted_gateways, gateway_pods, pod_labels
from lateen.control.injection import injected
from lateen.control.pilot import MADE_UP, PODS, Pilot
from lateen.node.disk import write_durably
from lateen.sources.plain import as_json

Json = dict[str, Any]
"""Any: JSON."""
WANTED_KINDS = (Namespace, Node, ServiceAccount, ConfigMap, Secret, Service, Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob)
"""What the node runs, or needs to run it."""
SAVE_DELAY_S = 0.2
"""Reports that come together are written once."""


class NodeApi:
    """What is wanted of the node, and what it says."""

    def __init__(self, pilot: Pilot, written: Mapping[ObjectRef, Object], record: Path) -> None:
        self.pods: dict[str, Json] = {}
        """`namespace/name` → Pod object as reported."""
        self.ingress: list[Json] = []
        self.problems: dict[str, str] = {}
        self.watchers = 0
        self.has_reported = False
        self.listeners: list[Callable[[], None]] = []
        """Told after each report."""
        self._pilot, self._written, self._record = pilot, written, record
        self._troubles: dict[str, tuple[str, str]] = {}
        self._save: asyncio.TimerHandle | None = None
        self._json: dict[ObjectRef, tuple[Object, Json]] = {}
        self._log = structlog.get_logger("control.node")
        pilot.db.hold(dns_table)

    # What shall run

    def changed(self) -> None:
        """What is written has changed: gateways may need pods. Watchers are updated at the publication that follows, when settings are known as well."""
        self._pilot.submit(MADE_UP, gateway_pods(counted_gateways(self._written), pod_labels(self._written.values())), is_full=True)

    def wanted(self) -> dict[str, Json]:
        """`Kind/namespace/name` → object."""
        found: dict[str, Json] = {}
        for source in (self._pilot.overlay.layer(MADE_UP), self._written):
            for ref, item in source.items():
                if isinstance(item, WANTED_KINDS):
                    cached = self._json.get(ref)
                    if cached is None or cached[0] is not item:
                        cached = self._json[ref] = (item, as_json(item, reveals=True))
                    found[f"{type(item).kind}/{ref.namespace}/{ref.name}"] = injected(self._pilot.db, item, cached[1])
        table = dns_table.published(self._pilot.db)
        if table is not None:
            found["DnsTable//mesh"] = table.as_json()
        return found

    async def watch(self, _: Json) -> AsyncIterator[Json]:
        """The stream of `/lateen.v1.Node/Watch`: everything, then what changes."""
        sent, revision = dict[str, Json](), 0
        self.watchers += 1
        try:
            while not self._pilot.is_loaded:  # the first pods shall have the settings that are in force
                await self._pilot.published.wait()
            while True:
                published = self._pilot.published
                wanted = self.wanted()
                changed = [item for key, item in wanted.items() if sent.get(key) != item]
                removed = [key for key in sent if key not in wanted]
                if changed or removed or not revision:
                    revision += 1
                    yield {"revision": revision, "full": revision == 1, "objects": changed, "removed": removed}
                    sent = wanted
                await published.wait()
        finally:
            self.watchers -= 1

    # What runs

    async def report(self, request: Json) -> Json:
        """`/lateen.v1.Node/Report`. Raises LateenError for what is no report."""
        pods, removed, is_full = request.get("pods", []), request.get("removed", []), bool(request.get("full"))
        if not isinstance(pods, list) or not isinstance(removed, list):
            raise LateenError("a report has lists `pods` and `removed`")
        objects = await asyncio.to_thread(_decoded, pods)
        try:
            said = {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod for pod in pods}
        except (KeyError, TypeError):
            raise LateenError("a Pod of a report has metadata with a namespace and a name") from None
        self.pods = said if is_full else {key: pod for key, pod in {**self.pods, **said}.items() if key not in removed}
        self.ingress = request.get("ingress", self.ingress)
        self.problems = request.get("problems", self.problems)
        self.has_reported = True
        gone = [ObjectRef(Pod.__name__, *name.split("/", 1)) for name in removed if "/" in name]
        self._pilot.submit(PODS, objects, () if is_full else gone, is_full=is_full)
        self._tell_troubles()
        for listener in self.listeners:
            listener()
        if self._save is None:
            self._save = asyncio.get_running_loop().call_later(SAVE_DELAY_S, self._write)
        return {"ok": True}

    def _tell_troubles(self) -> None:
        """An event for each pod that has got into other trouble than it was in. A container that crashes, runs and crashes again is in the same."""
        kept = {key: self._troubles[key] for key, pod in self.pods.items() if key in self._troubles and not _is_ready(pod)}
        troubles = kept | {key: found for key, pod in self.pods.items() if (found := _trouble(pod)) is not None}
        for key, (phase, message) in troubles.items():
            if self._troubles.get(key) != (phase, message):
                namespace, _, name = key.partition("/")
                self._pilot.events.emit({"event": "pod", "namespace": namespace, "name": name, "phase": phase, "message": message})
        self._troubles = troubles

    def restore(self) -> None:
        """Takes what ran when the last control process ended, until the node reports."""
        try:
            pods = json.loads(self._record.read_bytes())
            self.pods = {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod for pod in pods}
            objects = _decoded(pods)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._log.warning("the last report is not readable", file=str(self._record), error=str(error))
            return
        self._pilot.submit(PODS, objects, is_full=True)

    def _write(self) -> None:
        self._save = None
        record = json.dumps(list(self.pods.values())).encode()
        asyncio.get_running_loop().run_in_executor(None, self._keep, record)

    def _keep(self, record: bytes) -> None:
        try:
            write_durably(self._record, record, 0o600)
        except OSError as error:
            self._log.error("the report is not kept", file=str(self._record), error=str(error))


def _decoded(pods: list[Json]) -> tuple[Pod, ...]:
    """The typed Pods; one that makes no sense is left out, and the log says so."""
    decoded = decode(json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}), "node")
    if decoded.refused or decoded.is_broken:
        structlog.get_logger("control.node").error("a Pod of the report makes no sense", findings=[str(finding) for finding in decoded.findings[:5]])
    return tuple(item for item in decoded.objects if isinstance(item, Pod))


def key_of(item: Object) -> str:
    """`Kind/namespace/name`."""
    ref = ref_of(item)
    return f"{type(item).kind}/{ref.namespace}/{ref.name}"


def _trouble(pod: Json) -> tuple[str, str] | None:
    """Why a container waits, as (reason, message); None: none does, or it only has not been started yet."""
    status = pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("message"):
            return str(waiting.get("reason") or "Waiting"), str(waiting["message"])
    return ("Pending", str(status["message"])) if status.get("message") else None


def _is_ready(pod: Json) -> bool:
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in (pod.get("status") or {}).get("conditions") or ())
