"""What is in force where users say nothing: the API server's defaults, the mesh configuration, a workload's proxy configuration.

Called by `sources` (objects from files have passed no API server), by `control` (mesh configuration) and by `mesh` (proxies). `insight` reads its cases
without the API server's defaults: there the absence of a field is part of the case.
"""

from typing import TypeVar

import msgspec

from lateen.base.findings import Finding, Severity
from lateen.config import codes
from lateen.config.decode import ref_of
from lateen.config.documents import documents
from lateen.config.kinds.istio.extension_providers import EmptyMessage, ExtensionProvider, FileAccessLog, Stackdriver
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.istio.mesh_networks import MeshNetworks
from lateen.config.kinds.istio.mesh_proxy import MeshProxyConfig
from lateen.config.kinds.istio.proxy_config import ProxyConfig
from lateen.config.kinds.kubernetes.core import ConfigMap
from lateen.config.kinds.kubernetes.pod import Pod
from lateen.config.kinds.kubernetes.service import Service, ServicePort
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Map
from lateen.config.support import not_in_force_of_mesh
from lateen.config.walk import MAX_VISITS_PER_CHARACTER, StructDecoder, TooLarge, Walk

MESH_CONFIG_MAP = "istio"
"""Name of the ConfigMap in the root namespace. Source: Istio."""
MESH_KEY = "mesh"
NETWORKS_KEY = "meshNetworks"
PROXY_CONFIG_ANNOTATION = "proxy.istio.io/config"
"""On pods: YAML of a mesh ProxyConfig. Source: Istio."""
BUILT_IN_PROVIDERS: tuple[ExtensionProvider, ...] = (
    ExtensionProvider(name="prometheus", prometheus=EmptyMessage()),
    ExtensionProvider(name="stackdriver", stackdriver=Stackdriver()),
    ExtensionProvider(name="envoy", envoy_file_access_log=FileAccessLog(path="/dev/stdout")),
)
"""Extension providers every mesh has. Source: Istio, pkg/config/mesh."""

T = TypeVar("T", bound=Spec)
O = TypeVar("O", bound=Object)  # noqa: E741


def with_defaults(item: O) -> O:
    """The object as the API server would have stored it. Source: Kubernetes, SetDefaults_Service; admission of pods, ServiceAccount."""
    if isinstance(item, Pod):
        account = item.spec.service_account_name or item.spec.service_account or "default"
        return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, service_account_name=account))
    if not isinstance(item, Service) or all(port.target_port is not None for port in item.spec.ports):
        return item
    ports = tuple(_with_target(port) for port in item.spec.ports)
    return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, ports=ports))


def _with_target(port: ServicePort) -> ServicePort:
    return port if port.target_port is not None else msgspec.structs.replace(port, target_port=port.port)


LOCAL = MeshConfig(access_log_file="/dev/stdout")
"""Where a mesh of one machine starts from: its access log is on. Ours: the rest is Istio's."""


def mesh_config_of(config_map: ConfigMap | None, base: MeshConfig = MeshConfig()) -> tuple[MeshConfig, tuple[Finding, ...]]:
    """The mesh configuration in force: the ConfigMap's key `mesh` over `base`. A document with mistakes in types counts where it is right."""
    config, findings = _document_of(config_map, MESH_KEY, base)
    return config, findings if config_map is None else (*findings, *not_in_force_of_mesh(config, ref_of(config_map)))


def mesh_networks_of(config_map: ConfigMap | None) -> tuple[MeshNetworks, tuple[Finding, ...]]:
    """The networks of the mesh, from the ConfigMap's key `meshNetworks`."""
    return _document_of(config_map, NETWORKS_KEY, MeshNetworks())


def _document_of(config_map: ConfigMap | None, key: str, base: T) -> tuple[T, tuple[Finding, ...]]:
    if config_map is None or not (text := config_map.data.get(key)):
        return base, ()
    value, findings = merged(text, base)
    ref = ref_of(config_map)
    return value, tuple(Finding(item.code, item.severity, _within(item), ref, f"data.{key}", item.hint) for item in findings)


def _within(item: Finding) -> str:
    line = f" (its line {item.place.line})" if item.place is not None and item.place.line else ""
    return f"{item.field}: {item.message}{line}" if item.field else f"{item.message}{line}"


def merged(text: str, base: T) -> tuple[T, tuple[Finding, ...]]:
    """`base` with what a YAML text says over it, message by message. Both spellings of a field are understood; unknown ones are warnings.

    Source: Istio applies mesh configuration and annotations as protobuf JSON over the defaults.
    """
    nodes, broken = documents(text)
    if broken is not None:
        return base, (Finding(codes.SYNTAX, Severity.ERROR, f"not YAML: {broken.reason}, line {broken.line}"),)
    if not nodes:
        return base, ()
    walk = Walk("", budget=MAX_VISITS_PER_CHARACTER * len(text) + 10_000, is_strict=False, takes_proto_names=True)
    try:
        value: T = StructDecoder.of(type(base)).onto(walk, nodes[0], None, base)
    except (TooLarge, RecursionError):
        return base, (Finding(codes.SYNTAX, Severity.ERROR, "aliases make this document too large"),)
    return value, tuple(walk.findings)


def proxy_config_in_force(
    mesh: MeshConfig, wide: tuple[ProxyConfig, ...], annotation: str, own: ProxyConfig | None
) -> tuple[MeshProxyConfig, tuple[Finding, ...]]:
    """A workload's proxy configuration: the mesh's, then `wide` (root namespace's, namespace's), the pod's annotation, and `own` (selecting the workload).

    Source: Istio, EffectiveProxyConfig (a selecting ProxyConfig wins over the annotation).
    """
    config = mesh.default_config
    findings: tuple[Finding, ...] = ()
    for item in wide:
        config = _with_kind(config, item)
    if annotation:
        config, findings = merged(annotation, config)
    return (_with_kind(config, own) if own is not None else config), findings


def _with_kind(config: MeshProxyConfig, item: ProxyConfig) -> MeshProxyConfig:
    spec = item.spec
    return msgspec.structs.replace(
        config,
        concurrency=spec.concurrency if spec.concurrency is not None else config.concurrency,
        image=spec.image or config.image,
        proxy_metadata=Map({**config.proxy_metadata, **spec.environment_variables}),
    )
