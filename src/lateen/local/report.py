"""A pod that runs here as the Pod object control knows it by. Pure. Called by `daemon`.

Labels are those an injected pod has on a cluster, since endpoints, policies and metrics read them.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from lateen.local.lifecycle import ContainerState, Status
from lateen.local.pods import PodMachine
from lateen.local.podspec import Container, Json, Pod

_APP_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_VERSION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")


def workload_name(pod: Pod) -> str:
    """The Deployment's name for a ReplicaSet's pod, the owner's for others, its own for a bare pod. Source: Istio, workload names."""
    if not pod.metadata.owner_references:
        return pod.metadata.name
    owner = pod.metadata.owner_references[0]
    return owner.name.removesuffix(f"-{pod.metadata.labels.get('pod-template-hash', '')}") if owner.kind == "ReplicaSet" else owner.name


def labels(pod: Pod) -> dict[str, str]:
    """The pod's labels with those that injection adds. Source: Istio, injection templates."""
    own = dict(pod.metadata.labels)
    if not pod.is_meshed:
        return own
    name = next((own[key] for key in _APP_LABELS if key in own), workload_name(pod))
    version = next((own[key] for key in _VERSION_LABELS if key in own), "latest")
    added = {"service.istio.io/canonical-name": name, "service.istio.io/canonical-revision": version}
    if pod.has_proxy and not pod.is_gateway:
        added["security.istio.io/tlsMode"] = "istio"
    return added | own


def pod_object(machine: PodMachine, wall_offset_s: float, host_address: str) -> Json:
    """The Pod object. `wall_offset_s`: what the machine's monotonic clock lacks to the time of day."""
    pod, state = machine.pod, machine.state

    def time_of(moment: float) -> str:
        return datetime.fromtimestamp(moment + wall_offset_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    metadata: Json = msgspec.to_builtins(pod.metadata) | {"labels": labels(pod), "creationTimestamp": time_of(state.created_at)}
    if state.leaving_at is not None:
        metadata["deletionTimestamp"] = time_of(state.leaving_at)
    spec: Json = msgspec.to_builtins(pod.spec) | {"nodeName": pod.place.node, "serviceAccountName": pod.service_account}
    is_ready = machine.is_ready
    status: Json = {
        "phase": machine.phase,
        "hostIP": host_address,
        "podIP": state.addresses[0] if state.addresses else "",
        "podIPs": [{"ip": address} for address in state.addresses],
        "startTime": time_of(state.created_at),
        "message": state.message,
        "conditions": [
            _condition("PodScheduled", True),
            _condition("Initialized", state.is_prepared),
            _condition("ContainersReady", is_ready or (bool(state.containers) and all(one.is_ready for one in state.containers.values()))),
            _condition("Ready", is_ready),
        ],
        "containerStatuses": [_container(container, state.containers[container.name], time_of) for container in _shown(pod)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def _shown(pod: Pod) -> tuple[Container, ...]:
    return () if pod.is_gateway else (*pod.spec.init_containers, *pod.spec.containers)


def _condition(name: str, is_true: bool) -> dict[str, str]:
    return {"type": name, "status": "True" if is_true else "False"}


def _container(container: Container, one: ContainerState, time_of: Any) -> Json:
    shown: Json = {"name": container.name, "image": container.image, "ready": one.is_ready, "started": one.is_started, "restartCount": one.restarts}
    ended = {"exitCode": one.exit_code, "reason": one.reason, "message": one.message, "finishedAt": time_of(one.ended_at)}
    match one.status:
        case Status.RUNNING:
            shown["state"] = {"running": {"startedAt": time_of(one.started_at)}}
            if one.message:
                shown["message"] = one.message
        case Status.ENDED if one.is_done:
            shown["state"] = {"terminated": ended}
        case Status.ENDED:
            shown["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": one.message or f"it ended with {one.exit_code}"}}
            shown["lastState"] = {"terminated": ended}
        case Status.WAITING:
            shown["state"] = {"waiting": {"reason": one.reason, "message": one.message}}
    return shown


def row(machine: PodMachine, now: float) -> Json:
    """The pod as `lateen ps` shows it."""
    pod, state = machine.pod, machine.state
    counted = [one for one in state.containers.values() if any(each.name == one.name for each in pod.spec.containers)]
    total = len(counted) + pod.has_proxy
    ready = sum(one.is_ready for one in counted) + (pod.has_proxy and state.is_proxy_ready)
    messages = [state.message, *(f"{one.name}: {one.message}" for one in state.containers.values() if one.message)]
    phase = "Terminating" if state.leaving_at is not None else machine.phase
    troubled = next((one.reason for one in state.containers.values() if one.status is Status.WAITING and one.message), "")
    return {
        "namespace": pod.metadata.namespace,
        "name": pod.metadata.name,
        "workload": workload_name(pod),
        "ready": f"{ready}/{total}",
        "is_ready": machine.is_ready,
        "phase": troubled if troubled and phase in ("Pending", "Running") else phase,
        "restarts": sum(one.restarts for one in state.containers.values()),
        "ip": state.addresses[0] if state.addresses else "",
        "age_s": round(now - state.created_at, 1),
        "node": pod.place.node,
        "message": "; ".join(message for message in messages if message),
        "pids": {one.name: one.process.pid for one in state.containers.values() if one.process is not None},
    }
