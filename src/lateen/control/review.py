"""What objects would have wrong together in a mesh of their own, without starting one: `lateen validate`, `up --dry-run`.

Workloads count with one pod each, as if they ran; a Gateway that selects none of them counts with the gateway pod that would be made for it.
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

from lateen.base.findings import Finding, Severity
from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config import store
from lateen.config.decode import ref_of
from lateen.config.defaults import LOCAL, MESH_CONFIG_MAP, mesh_config_of
from lateen.config.kinds.kubernetes.core import ConfigMap, Namespace
from lateen.config.kinds.kubernetes.pod import Pod, pod_template
from lateen.config.kinds.objects import Meta, Object
from lateen.config.support import not_in_force_of_mesh
from lateen.control.gateway_pods import counted_gateways, gateway_pods, pod_labels
from lateen.incremental import Db
from lateen.mesh.findings import mesh_findings
from lateen.sources.check import Checked

MISSING = "IST0101"
NAMED_BY = {
    "host": ("Service", "ServiceEntry"),
    "subset": ("DestinationRule",),
    "gateways": ("Gateway",),
    "credentialName": ("Secret",),
    "delegate": ("VirtualService",),
}
"""The last part of a field → the kinds of what it names."""


def review(checked: Checked, beside: Iterable[Object] = ()) -> tuple[Finding, ...]:
    """The findings about the checked objects, with their places. `beside`: others that are there as well; a checked one of the same name counts before it.

    Files that hold nothing of a kind are an excerpt: what is missing of that kind is elsewhere, likely, and no error.
    """
    objects = (*beside, *checked.loaded)
    own, kinds = {ref_of(item) for item in checked.loaded}, {item.kind for item in objects}
    found = (finding for finding in _findings(objects) if finding.object is None or finding.object in own)
    return checked.places.all_resolved(_of_excerpt(finding) if _is_elsewhere(finding, kinds) else finding for finding in found)


def _is_elsewhere(finding: Finding, kinds: Set[str]) -> bool:
    last = finding.field.rpartition(".")[2].partition("[")[0]
    return finding.code == MISSING and last in NAMED_BY and kinds.isdisjoint(NAMED_BY[last])


def _of_excerpt(finding: Finding) -> Finding:
    return replace(finding, severity=Severity.WARNING, hint="not among these files; --name MESH looks in a mesh that runs")


def _findings(objects: Iterable[Object]) -> tuple[Finding, ...]:
    db, findings = running(objects)
    return (*findings, *mesh_findings(db))


def running(objects: Iterable[Object]) -> tuple[Db, tuple[Finding, ...]]:
    """The mesh that these objects would be if all of it ran, and the findings about its mesh configuration."""
    written = {ref_of(item): item for item in objects}
    made_up = gateway_pods(counted_gateways(written), pod_labels(written.values()))
    everything = {**{ref_of(item): item for item in made_up}, **written}
    everything |= {ref_of(pod): pod for item in list(everything.values()) for pod in _pods(item)}
    names = {item.namespace for item in everything.values() if item.namespace}
    spaces = {ObjectRef(Namespace.__name__, "", name): Namespace(meta=Meta(name=name)) for name in names}
    everything = {**spaces, **everything}
    db = Db()
    for ref, item in everything.items():
        store.OBJECTS.set(db, ref, item)
    config_map = ObjectRef(ConfigMap.__name__, ROOT_NAMESPACE, MESH_CONFIG_MAP)
    found = written.get(config_map)
    config, findings = mesh_config_of(found if isinstance(found, ConfigMap) else None, LOCAL)
    store.MESH_CONFIG.set(db, "mesh", config)
    return db, (*findings, *not_in_force_of_mesh(config, config_map))


def _pods(item: Object) -> Iterator[Pod]:
    template = pod_template(item)
    if template is not None:
        own = template.metadata or Meta()
        meta = Meta(name=f"{item.meta.name}-0", namespace=item.meta.namespace, labels=own.labels, annotations=own.annotations)
        yield Pod(meta=meta, spec=template.spec)
