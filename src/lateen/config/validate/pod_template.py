"""Of pods, and of what makes pods: the proxy's configuration in an annotation, which is YAML within YAML. Source: Istio, `proxy.istio.io/config`."""

from dataclasses import replace

from lateen.base.findings import Finding, Severity
from lateen.config import codes
from lateen.config.decode import ref_of
from lateen.config.defaults import PROXY_CONFIG_ANNOTATION, merged
from lateen.config.kinds.istio.mesh_proxy import MeshProxyConfig
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.kubernetes.workloads import DaemonSet, Deployment, Job, ReplicaSet, StatefulSet
from lateen.config.support import not_in_force_of_proxy
from lateen.config.validate.proxy_config import Problem, problems

Templated = Deployment | StatefulSet | DaemonSet | ReplicaSet | Job


def check(item: Pod | Templated) -> tuple[Finding, ...]:
    """Warnings: what is wrong in the annotation counts for nothing, and the pod runs."""
    meta, path = (item.meta, "metadata") if isinstance(item, Pod) else (item.spec.template.metadata, "spec.template.metadata")
    text = meta.annotations.get(PROXY_CONFIG_ANNOTATION, "")
    if not text:
        return ()
    ref, field = ref_of(item), f"{path}.annotations"
    config, findings = merged(text, MeshProxyConfig())
    told = (replace(found, severity=Severity.WARNING, place=None, object=ref, field=field, message=_within(found)) for found in findings)
    wrong = (Finding(codes.SUSPICIOUS, Severity.WARNING, _counted(one), ref, field, "it counts as not said") for one in problems(config))
    return (*told, *wrong, *not_in_force_of_proxy(config, ref, field))


def _counted(problem: Problem) -> str:
    return f"{PROXY_CONFIG_ANNOTATION}: {problem.path}: {problem.message}"


def _within(found: Finding) -> str:
    return f"{PROXY_CONFIG_ANNOTATION}: {found.field}: {found.message}" if found.field else f"{PROXY_CONFIG_ANNOTATION}: {found.message}"
