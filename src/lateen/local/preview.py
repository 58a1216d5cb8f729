"""`lateen up --dry-run`: the pods that would run and with which commands, and what would keep them from running. Starts nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef
from lateen.config.kinds.objects import Object
from lateen.local import workloads
from lateen.local.environment import expanded
from lateen.local.images import NO_IMAGES, ImageMap, image_map
from lateen.local.podspec import Container, Pod
from lateen.local.workloads import BadWorkload, Workload
from lateen.sources.plain import as_json

NO_COMMAND = "LTN0401"
BAD_WORKLOAD = "LTN0402"


@dataclass(frozen=True)
class Row:
    """One pod that would run. `command`: of its first container; empty: unknown."""

    namespace: str
    pod: str
    is_meshed: bool
    command: tuple[str, ...]


def preview(objects: Iterable[Object], images: Path | None) -> tuple[tuple[Row, ...], tuple[Finding, ...]]:
    """The pods in the order of the objects, and one finding per container without a command. ImageMapError."""
    mapped = image_map(images) if images else NO_IMAGES
    items = [as_json(one) for one in objects]
    labels = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in items if item["kind"] == "Namespace"}
    rows: list[Row] = []
    findings: list[Finding] = []
    for item in items:
        metadata = item["metadata"]
        ref = ObjectRef(item["kind"], metadata.get("namespace", ""), metadata["name"])
        try:
            source = workloads.workload(item)
            if source is None:
                continue
            pods = [workloads.template_pod(source, index, labels.get(source.namespace, {})) for index in range(source.replicas)]
        except BadWorkload as error:
            findings.append(Finding(BAD_WORKLOAD, Severity.ERROR, str(error), ref))
            continue
        rows += [_row(pod, mapped) for pod in pods]
        findings += [finding for pod in pods[:1] for finding in _without_command(pod, mapped, ref, source)]
    return tuple(rows), tuple(findings)


def command(container: Container, images: ImageMap) -> tuple[str, ...]:
    """What a container would execute, as far as it does not depend on the running mesh. Empty: its image says, and no map says how."""
    run = images.run(container.image)
    first = run.command if run and run.command else container.command
    known = {each.name: each.value for each in container.env if each.value_from is None}
    return tuple(expanded(word, known) for word in (*first, *container.args)) if first else ()


def _row(pod: Pod, images: ImageMap) -> Row:
    return Row(pod.metadata.namespace, pod.metadata.name, pod.has_proxy, () if pod.is_gateway else command(pod.spec.containers[0], images))


def _without_command(pod: Pod, images: ImageMap, ref: ObjectRef, source: Workload) -> Iterable[Finding]:
    """A finding per container whose image nobody can run here."""
    template = "spec" if source.kind == "Pod" else "spec.template.spec"
    for field, containers in (("initContainers", pod.spec.init_containers), ("containers", pod.spec.containers)):
        for index, container in enumerate(() if pod.is_gateway else containers):
            if not command(container, images):
                message = f"image {container.image or '(none)'} is not in the image map and container {container.name} has no command"
                yield Finding(NO_COMMAND, Severity.ERROR, message, ref, f"{template}.{field}[{index}]", "say how it runs here with --image-map FILE")
