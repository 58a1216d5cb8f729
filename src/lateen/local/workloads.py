"""Which pods shall exist: Deployments, StatefulSets, Jobs and bare Pods → desired pods, and the step from what exists to that. Pure.

Called by `daemon` whenever an object or a pod changes. Names follow a cluster's (`reviews-v1-6d9f8c7b5d-0`), with a running number at the end,
so that a restart gives the same ones.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import msgspec

from lateen.base.names import injection_templates, is_proxyless
from lateen.local.podspec import Claim, Json, OwnerReference, Pod, PodMeta, PodSpec, Volume, decoded, without_nulls

_HASH_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters without vowels and look-alikes. Source: Kubernetes, rand.SafeEncodeString."""
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
"""The annotation by which a restart of a workload is asked for. Source: kubectl rollout restart."""
_INJECT = "sidecar.istio.io/inject"


class BadWorkload(Exception):
    """An object no pod can be made of; the text says why, the field where."""


@dataclass(frozen=True)
class Existing:
    """A pod that exists. `is_ready`: takes traffic. `is_over`: all its containers have ended. `is_leaving`: being taken away."""

    pod: Pod
    is_ready: bool = False
    is_over: bool = False
    has_failed: bool = False
    is_leaving: bool = False


@dataclass(frozen=True)
class Step:
    """What to do now: pods to start and pods to take away. A later step follows when these have got somewhere."""

    start: tuple[Pod, ...] = ()
    stop: tuple[Pod, ...] = ()


@dataclass(frozen=True)
class Workload:
    """An object that pods come from, and how many. `revision` and `hash` name the pod template."""

    kind: str
    namespace: str
    name: str
    replicas: int
    template: Json
    surge: int = 1
    unavailable: int = 0
    is_recreate: bool = False
    is_ordered: bool = False
    claims: tuple[str, ...] = ()
    """Names of a StatefulSet's volumes, of which every pod has its own."""
    completions: int = 1
    backoff_limit: int = 6

    @property
    def key(self) -> str:
        """`Kind/namespace/name`."""
        return f"{self.kind}/{self.namespace}/{self.name}"


def short_hash(value: object, length: int = 10) -> str:
    """A short name for a value that JSON can carry; equal values, equal names."""
    digest = hashlib.sha256(msgspec.json.encode(value, order="deterministic")).digest()
    return "".join(_HASH_ALPHABET[byte % len(_HASH_ALPHABET)] for byte in digest[:length])


def workload(item: Json) -> Workload | None:
    """The workload that an object describes. None: pods do not come from this kind. BadWorkload."""
    item = without_nulls(item)
    kind, metadata, spec = item.get("kind", ""), item.get("metadata", {}), item.get("spec") or {}
    namespace, name = metadata.get("namespace") or "default", metadata.get("name", "")
    if kind == "Pod":
        return Workload(kind, namespace, name, 1, {"metadata": metadata, "spec": spec})
    template = spec.get("template")
    if kind not in ("Deployment", "StatefulSet", "Job", "ReplicaSet", "DaemonSet"):
        return None
    if not isinstance(template, dict):
        raise BadWorkload("spec.template is missing")
    if kind == "Job":
        count = int(spec.get("completions") or 1)
        parallel = 0 if spec.get("suspend") else int(spec.get("parallelism", 1))
        return Workload(kind, namespace, name, parallel, template, completions=count, backoff_limit=int(spec.get("backoffLimit", 6)))
    replicas = 1 if kind == "DaemonSet" else int(spec.get("replicas", 1))
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), replicas, ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, floor)
    if kind == "DaemonSet":
        surge, unavailable = 0, 1
    if surge == 0 and unavailable == 0:
        unavailable = 1
    claims = tuple(each["metadata"]["name"] for each in spec.get("volumeClaimTemplates") or ())
    is_recreate = strategy.get("type") == "Recreate"
    return Workload(kind, namespace, name, replicas, template, surge, unavailable, is_recreate, kind == "StatefulSet", claims)


def _share(value: Any, of: int, rounded: Any) -> int:
    """A number or a percentage of `of`."""
    text = str(value)
    return int(rounded(int(text[:-1]) * of / 100)) if text.endswith("%") else int(text)


def is_meshed(metadata: Mapping[str, Any], namespace_labels: Mapping[str, str]) -> bool:
    """Whether the pod gets a proxy. Here everything does but what says no.

    Source: Istio, `sidecar.istio.io/inject` (label before annotation) before `istio-injection`.
    """
    said = (metadata.get("labels") or {}).get(_INJECT) or (metadata.get("annotations") or {}).get(_INJECT)
    if said is not None:
        return str(said).lower() not in ("false", "no", "off", "n", "0")
    return namespace_labels.get("istio-injection") != "disabled"


def is_gateway(metadata: Mapping[str, Any], spec: PodSpec) -> bool:
    """Whether the pod is a proxy and nothing else. Source: Istio, gateway injection: template `gateway`, image `auto`."""
    return "gateway" in injection_templates(metadata.get("annotations") or {}) or [(c.name, c.image) for c in spec.containers] == [("istio-proxy", "auto")]


def template_pod(source: Workload, index: int, namespace_labels: Mapping[str, str]) -> Pod:
    """The pod number `index` of a workload. BadWorkload."""
    metadata = source.template.get("metadata") or {}
    try:
        spec = decoded(source.template.get("spec") or {})
    except msgspec.ValidationError as error:
        raise BadWorkload(str(error)) from error
    if not spec.containers:
        raise BadWorkload("spec.containers is empty")
    gateway = is_gateway(metadata, spec)
    meshed = gateway or is_meshed(metadata, namespace_labels)
    labels = {str(key): str(value) for key, value in (metadata.get("labels") or {}).items()}
    annotations = {str(key): str(value) for key, value in (metadata.get("annotations") or {}).items()}
    told = {key: value for key, value in annotations.items() if key != "kubectl.kubernetes.io/last-applied-configuration"}
    revision = short_hash([labels, told, source.template.get("spec"), meshed])
    name, owner, more = _identity(source, index, revision)
    volumes = tuple(Volume(name=claim, persistent_volume_claim=Claim(claim_name=f"{claim}-{name}")) for claim in source.claims)
    spec = msgspec.structs.replace(spec, volumes=(*spec.volumes, *volumes))
    meta = PodMeta(
        name=name,
        namespace=source.namespace,
        labels=labels | more,
        annotations=told,
        owner_references=() if owner is None else (owner,),
        uid=short_hash([source.namespace, name, revision], 20),
    )
    proxyless = meshed and not gateway and is_proxyless(annotations)
    return Pod(metadata=meta, spec=spec, is_meshed=meshed, is_gateway=gateway, is_proxyless=proxyless, workload=source.key, revision=revision)


def _identity(source: Workload, index: int, revision: str) -> tuple[str, OwnerReference | None, dict[str, str]]:
    """Name, owner and added labels of a pod, as a cluster gives them."""
    if source.kind == "Pod":
        return source.name, None, {}
    if source.kind == "StatefulSet":
        name = f"{source.name}-{index}"
        more = {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(index), "controller-revision-hash": f"{source.name}-{revision}"}
        return name, OwnerReference(api_version="apps/v1", kind="StatefulSet", name=source.name), more
    if source.kind == "Job":
        more = {"job-name": source.name, "batch.kubernetes.io/job-name": source.name}
        return f"{source.name}-{index}", OwnerReference(api_version="batch/v1", kind="Job", name=source.name), more
    if source.kind == "DaemonSet":
        owner = OwnerReference(api_version="apps/v1", kind="DaemonSet", name=source.name)
        return f"{source.name}-{revision}-{index}", owner, {"controller-revision-hash": revision}
    set_name = source.name if source.kind == "ReplicaSet" else f"{source.name}-{revision}"
    owner = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name=set_name)
    return f"{set_name}-{index}", owner, {"pod-template-hash": revision}


def step(source: Workload, existing: Iterable[Existing], namespace_labels: Mapping[str, str]) -> Step:
    """The next step of one workload, given the pods it has. Repeated after each change it ends where the object says. BadWorkload."""
    have = sorted(existing, key=lambda each: each.pod.metadata.name)
    if source.kind == "Job":
        return _job_step(source, have, namespace_labels)
    if source.is_ordered or source.kind == "Pod":
        return _ordered_step(source, have, namespace_labels)
    return _rolling_step(source, have, namespace_labels)


def _rolling_step(source: Workload, have: list[Existing], namespace_labels: Mapping[str, str]) -> Step:
    wanted = template_pod(source, 0, namespace_labels).revision
    leaving = [each for each in have if each.is_leaving]
    current = [each for each in have if not each.is_leaving and each.pod.revision == wanted]
    old = [each for each in have if not each.is_leaving and each.pod.revision != wanted]
    if source.is_recreate and (old or any(each.pod.revision != wanted for each in leaving)):
        return Step(stop=tuple(each.pod for each in old))
    taken = {each.pod.metadata.name for each in have}
    room = source.replicas + (source.surge if old else 0) - len(current) - len(old)
    missing = min(source.replicas - len(current), room)
    start: list[Pod] = []
    index = 0
    while len(start) < missing:
        pod = template_pod(source, index, namespace_labels)
        if pod.metadata.name not in taken:
            start.append(pod)
        index += 1
    # scaling down: not ready first, then the youngest numbers
    surplus = sorted(current, key=lambda each: (each.is_ready, -_number(each.pod)))[: max(0, len(current) - source.replicas)]
    # those that take no traffic cost nothing to stop; of those that do, as many as may be missing
    ready = sum(each.is_ready for each in current) + sum(each.is_ready for each in old)
    spare = ready - (source.replicas - source.unavailable)
    stop = [each for each in old if not each.is_ready]
    stop += sorted((each for each in old if each.is_ready), key=lambda each: -_number(each.pod))[: max(0, spare)]
    if source.replicas == 0:
        stop = old
    return Step(tuple(start), tuple(each.pod for each in [*surplus, *stop]))


def _number(pod: Pod) -> int:
    tail = pod.metadata.name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def _ordered_step(source: Workload, have: list[Existing], namespace_labels: Mapping[str, str]) -> Step:
    """StatefulSets: one after the other, upwards to start, downwards to update; a bare Pod is a set of one."""
    by_name = {each.pod.metadata.name: each for each in have}
    wanted = [template_pod(source, index, namespace_labels) for index in range(source.replicas)]
    names = {pod.metadata.name for pod in wanted}
    surplus = [each for each in have if each.pod.metadata.name not in names and not each.is_leaving]
    if surplus:
        return Step(stop=(max(surplus, key=lambda each: _number(each.pod)).pod,))
    for pod in wanted:
        found = by_name.get(pod.metadata.name)
        if found is None:
            return Step(start=(pod,))
        if found.is_leaving:
            return Step()
        if not found.is_ready and found.pod.revision == pod.revision:
            return Step()
    for pod in reversed(wanted):
        found = by_name[pod.metadata.name]
        if found.pod.revision != pod.revision:
            return Step(stop=(found.pod,))
    return Step()


def _job_step(source: Workload, have: list[Existing], namespace_labels: Mapping[str, str]) -> Step:
    """Jobs: `completions` successes, `parallelism` at a time, at most `backoffLimit` failures; finished pods stay until the Job goes."""
    failed = sum(each.is_over and each.has_failed for each in have)
    done = sum(each.is_over and not each.has_failed for each in have)
    running = [each for each in have if not each.is_over and not each.is_leaving]
    if done >= source.completions or failed > source.backoff_limit:
        return Step(stop=tuple(each.pod for each in running))
    count = min(source.replicas, source.completions - done) - len(running)
    taken = {each.pod.metadata.name for each in have}
    start: list[Pod] = []
    index = 0
    while len(start) < count:
        pod = template_pod(source, index, namespace_labels)
        if pod.metadata.name not in taken:
            start.append(pod)
        index += 1
    return Step(tuple(start))
