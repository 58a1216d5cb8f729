"""Injection: what a pod's proxy is started with, by the mesh's, the namespace's and the workload's ProxyConfig and the pod's own annotation.

Called by `node_api` for each object that pods come from: the settings stand in the pod's template, so that a change of them is a new pod,
brought in as any new template is. Pure. Source: Istio, sidecar injection and EffectiveProxyConfig.
"""

import json
from collections.abc import Mapping
from typing import Any

from lateen.config import store
from lateen.config.capture_ports import capture_ports
from lateen.config.defaults import PROXY_CONFIG_ANNOTATION
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.istio.mesh_proxy import ConnectionSettings, InterceptionMode, MeshProxyConfig, StatsMatcher
from lateen.config.kinds.kubernetes.core import Namespace
from lateen.config.kinds.kubernetes.pod import Pod, pod_template
from lateen.config.kinds.objects import Meta, Object
from lateen.config.proxy_settings import proxy_settings
from lateen.incremental import Db
from lateen.local.workloads import is_meshed
from lateen.node.settings import SETTINGS, ProxySettings, written

Json = dict[str, Any]
"""Any: JSON."""
EXIT_ON_ZERO = "EXIT_ON_ZERO_ACTIVE_CONNECTIONS"
"""Of the proxy's environment. Source: Istio, its agent."""


def injected(db: Db, item: Object, document: Json) -> Json:
    """`document` (the item as JSON) with the settings of its pods' proxies; unchanged where there are none. The document itself stays as it is."""
    meta = _pod_meta(item)
    if meta is None:
        return document
    namespace = item.meta.namespace or "default"
    text = ""
    if is_meshed({"labels": dict(meta.labels), "annotations": dict(meta.annotations)}, _labels_of(db, namespace)):
        config = proxy_settings(db, namespace, meta.labels, meta.annotations.get(PROXY_CONFIG_ANNOTATION, ""))
        text = written(settings(config, store.mesh_config(db)))
    if not text and SETTINGS not in meta.annotations:
        return document
    return _annotated(document, isinstance(item, Pod), text)


def _pod_meta(item: Object) -> Meta | None:
    """The metadata of the pods that come from an object; None: none do."""
    if isinstance(item, Pod):
        return item.meta
    template = pod_template(item)
    return template.metadata or Meta() if template is not None else None


def _labels_of(db: Db, namespace: str) -> Mapping[str, str]:
    found = store.one(db, Namespace, "", namespace)
    return found.meta.labels if found else {}


def _annotated(document: Json, is_pod: bool, text: str) -> Json:
    spec = document.get("spec") or {}
    template = document if is_pod else spec.get("template") or {}
    metadata = template.get("metadata") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != SETTINGS} | ({SETTINGS: text} if text else {})
    template = {**template, "metadata": {**metadata, "annotations": annotations}}
    return template if is_pod else {**document, "spec": {**spec, "template": template}}


def settings(config: MeshProxyConfig, mesh: MeshConfig = MeshConfig()) -> ProxySettings:
    """What a proxy of this configuration is started with, in that mesh."""
    ports = capture_ports(mesh)
    matcher = config.proxy_stats_matcher or StatsMatcher()
    connections = config.connection_settings or ConnectionSettings()
    return ProxySettings(
        concurrency=config.concurrency,
        drain_s=int(config.drain_duration),
        termination_drain_s=float(config.termination_drain_duration),
        awaits_last_connection=config.proxy_metadata.get(EXIT_ON_ZERO, "").lower() == "true",
        holds_application=config.hold_application_until_proxy_starts is not False,
        admin_port=config.proxy_admin_port,
        interception="NONE" if config.interception_mode is InterceptionMode.NONE else "REDIRECT",
        outbound_port=ports.outbound,
        inbound_port=ports.inbound,
        runtime={key: _scalar(value) for key, value in config.runtime_values.items()},
        stats_prefixes=matcher.inclusion_prefixes,
        stats_suffixes=matcher.inclusion_suffixes,
        stats_regexps=matcher.inclusion_regexps,
        environment=dict(config.proxy_metadata),
        flush_interval_ms=None if config.file_flush_interval is None else max(1, int(config.file_flush_interval * 1000)),
        flush_min_kb=config.file_flush_min_size_kb,
        most_connections=connections.global_downstream_connection_limit,
        most_listener_connections=connections.listener_connection_limit,
        status_port=config.status_port,
        merges_metrics=mesh.enable_prometheus_merge,
        compresses_stats=config.stats_compression is not False,
        mesh_id=config.mesh_id,
        service_cluster=config.service_cluster or "",
        naming=config.tracing_service_name.value if config.tracing_service_name else "",
    )


def _scalar(text: str) -> bool | int | float | str:
    """A runtime value as Envoy reads it: a number or a truth value where it is one."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text
