"""Gateway pods made up for Gateways that select no workload anybody wrote: a Deployment and its Service in the root namespace. Pure.

Locally only: on a cluster (and without a node) gateways are deployed by whoever runs it. Source: Istio's gateway chart for names, labels and ports.
"""

from collections.abc import Iterable, Mapping

from lateen.base.names import ROOT_NAMESPACE, ObjectRef
from lateen.config.defaults import MESH_CONFIG_MAP, mesh_config_of
from lateen.config.kinds.istio.gateway import Gateway
from lateen.config.kinds.kubernetes.container import Container
from lateen.config.kinds.kubernetes.core import ConfigMap, Namespace, ServiceAccount
from lateen.config.kinds.kubernetes.pod import Pod, PodSpec, PodTemplate, pod_template
from lateen.config.kinds.kubernetes.selectors import LabelSelector
from lateen.config.kinds.kubernetes.service import Service, ServicePort, ServiceSpec
from lateen.config.kinds.kubernetes.workloads import Deployment, DeploymentSpec
from lateen.config.kinds.objects import Meta, Object
from lateen.config.kinds.values import Map
from lateen.config.store import labels_of, selected

INGRESS = "istio-ingressgateway"
HTTP_TARGETS = {80: 8080, 443: 8443}
"""Port of the Service → port of the pod; Istio's, so that route names are as on a cluster."""
LOWEST_FREE_PORT = 1024
STATUS_PORT = 15021
TEMPLATES = "inject.istio.io/templates"
PUBLISHED_PORTS = "lateen.io/published-ports"
"""Annotation of the Service: only the ports that some Gateway serves are offered on this machine."""


def gateway_pods(gateways: Iterable[Gateway], labels_of_written: Iterable[Mapping[str, str]]) -> tuple[Object, ...]:
    """What to make up. `labels_of_written`: of every pod that somebody's object describes. Gateways with equal selectors share a pod; none: nothing."""
    written = tuple(labels_of_written)
    groups: dict[str, tuple[dict[str, str], set[int]]] = {}  # name → labels, ports that are served
    for gateway in gateways:
        selector = dict(gateway.spec.selector)
        if any(gateway.spec.selector.selects(labels) for labels in written if selector):
            continue
        name = _name(selector)
        labels, ports = groups.setdefault(name, ({"app": name, "istio": name.removeprefix("istio-")}, set()))
        labels.update(selector)
        ports |= {server.port.number for server in gateway.spec.servers if server.port is not None and server.port.number}
    if not groups:
        return ()
    found: list[Object] = [Namespace(meta=Meta(name=ROOT_NAMESPACE))]
    for name, (labels, ports) in sorted(groups.items()):
        found += _objects(name, labels, ports)
    return tuple(found)


def counted_gateways(written: Mapping[ObjectRef, Object]) -> tuple[Gateway, ...]:
    """The Gateways among written objects that count, by name: those of namespaces that the mesh discovers."""
    gateways = tuple(item for _, item in sorted(written.items()) if isinstance(item, Gateway))
    config_map = written.get(ObjectRef(ConfigMap.__name__, ROOT_NAMESPACE, MESH_CONFIG_MAP))
    if not gateways or not isinstance(config_map, ConfigMap):
        return gateways
    config, _ = mesh_config_of(config_map)
    spaces = {one.meta.namespace: written.get(ObjectRef(Namespace.__name__, "", one.meta.namespace)) for one in gateways}
    labels = {name: labels_of(name, space if isinstance(space, Namespace) else None) for name, space in spaces.items()}
    left_out = {
        name for name in spaces if config.discovery_selectors and name != config.root_namespace and not selected(config.discovery_selectors, labels[name])
    }
    return tuple(one for one in gateways if one.meta.namespace not in left_out)


def _name(selector: Mapping[str, str]) -> str:
    value = selector.get("istio") or selector.get("app", "").removeprefix("istio-")
    return f"istio-{value}" if value and value != "ingressgateway" else INGRESS


def _objects(name: str, labels: Mapping[str, str], served: Iterable[int]) -> list[Object]:
    ports = {*HTTP_TARGETS, *served}
    account = f"{name}-service-account"
    meta = Meta(name=name, namespace=ROOT_NAMESPACE, labels=Map(labels))
    offered = Meta(name=name, namespace=ROOT_NAMESPACE, labels=Map(labels), annotations=Map({PUBLISHED_PORTS: ",".join(map(str, sorted(served)))}))
    pod = PodTemplate(
        metadata=Meta(labels=Map(labels), annotations=Map({TEMPLATES: "gateway"})),
        spec=PodSpec(containers=(Container(name="istio-proxy", image="auto"),), service_account_name=account),
    )
    service_ports = (ServicePort(name="status-port", port=STATUS_PORT, target_port=STATUS_PORT), *(_port(number) for number in sorted(ports)))
    return [
        ServiceAccount(meta=Meta(name=account, namespace=ROOT_NAMESPACE)),
        Deployment(meta=meta, spec=DeploymentSpec(replicas=1, selector=LabelSelector(match_labels=Map(labels)), template=pod)),
        Service(meta=offered, spec=ServiceSpec(selector=Map(labels), ports=service_ports)),
    ]


def _port(number: int) -> ServicePort:
    target = HTTP_TARGETS.get(number, number if number >= LOWEST_FREE_PORT else 8000 + number)
    return ServicePort(name={80: "http2", 443: "https"}.get(number, f"tcp-{number}"), port=number, target_port=target)


def pod_labels(objects: Iterable[Object]) -> Iterable[Mapping[str, str]]:
    """The labels of each pod that an object is or makes."""
    for item in objects:
        template = pod_template(item)
        if isinstance(item, Pod):
            yield item.meta.labels
        elif template is not None and template.metadata is not None:
            yield template.metadata.labels
