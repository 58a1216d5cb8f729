"""What a proxy's configuration can have wrong, wherever it is written: in the mesh configuration, or in a pod's annotation.

Called by `validate`, by `pod_template`, and by `control.injection`, which leaves out what has a problem: an Envoy that cannot start would take its
application down.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lateen.base.findings import Finding, Severity
from lateen.base.names import ROOT_NAMESPACE
from lateen.config.defaults import MESH_CONFIG_MAP, MESH_KEY, mesh_config_of
from lateen.config.kinds.istio.mesh_proxy import InterceptionMode, MeshProxyConfig
from lateen.config.kinds.kubernetes.core import ConfigMap
from lateen.config.validate.names import regex_problem
from lateen.config.validate.report import Report

OWN_PORTS = frozenset((15001, 15004, 15006, 15008, 15020, 15021, 15053, 15054, 15090))
"""Ports of the mesh's own in every pod."""
LARGEST_PORT = 65535


@dataclass(frozen=True)
class Problem:
    """A field that says nothing possible. `attribute`: the field of MeshProxyConfig it lies in; `path`: as YAML spells it."""

    attribute: str
    path: str
    message: str


def problems(config: MeshProxyConfig) -> tuple[Problem, ...]:
    """What of a configuration cannot be done."""
    return tuple(_problems(config))


def _problems(config: MeshProxyConfig) -> Iterator[Problem]:
    if config.concurrency is not None and config.concurrency < 0:
        yield Problem("concurrency", "concurrency", f"must not be negative: {config.concurrency}")
    port = config.proxy_admin_port
    if port is not None and not 0 < port <= LARGEST_PORT:
        yield Problem("proxy_admin_port", "proxyAdminPort", f"no port: {port}")
    elif port in OWN_PORTS:
        yield Problem("proxy_admin_port", "proxyAdminPort", f"the mesh uses this port itself: {port}")
    for attribute, path in (("drain_duration", "drainDuration"), ("termination_drain_duration", "terminationDrainDuration")):
        seconds = float(getattr(config, attribute))
        if seconds < 0 or (attribute == "drain_duration" and seconds < 1):
            yield Problem(attribute, path, f"must be {'a second or more' if attribute == 'drain_duration' else 'no negative time'}: {seconds:g}s")
    if config.interception_mode is InterceptionMode.TPROXY:
        yield Problem("interception_mode", "interceptionMode", "TPROXY is not in force yet, traffic is redirected")
    matcher = config.proxy_stats_matcher
    for index, pattern in enumerate(matcher.inclusion_regexps if matcher else ()):
        if problem := regex_problem(pattern):
            yield Problem("proxy_stats_matcher", f"proxyStatsMatcher.inclusionRegexps[{index}]", problem)
    if config.file_flush_interval is not None and config.file_flush_interval <= 0:
        yield Problem("file_flush_interval", "fileFlushInterval", f"must be more than nothing: {float(config.file_flush_interval):g}s")
    limits = config.connection_settings
    if limits is not None and limits.global_downstream_connection_limit is not None and limits.global_downstream_connection_limit <= 0:
        text = f"must be positive: {limits.global_downstream_connection_limit}"
        yield Problem("connection_settings", "connectionSettings.globalDownstreamConnectionLimit", text)


def check_mesh_config(item: ConfigMap) -> tuple[Finding, ...]:
    """All findings about the mesh configuration; of other ConfigMaps there are none. Nothing is refused: a document counts where it is right."""
    if (item.meta.namespace, item.meta.name) != (ROOT_NAMESPACE, MESH_CONFIG_MAP):
        return ()
    config, found = mesh_config_of(item)
    report = Report(item)
    for problem in problems(config.default_config):
        report.warning(f"data.{MESH_KEY}", f"defaultConfig.{problem.path}: {problem.message}", "it counts as not said")
    return (*(_warned(one) for one in found), *report.findings)


def _warned(one: Finding) -> Finding:
    severity = Severity.WARNING if one.severity is Severity.ERROR else one.severity
    return Finding(one.code, severity, one.message, one.object, one.field, one.hint, one.place)
