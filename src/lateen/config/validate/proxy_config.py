"""What a proxy's configuration can have wrong, wherever it is written: in the mesh configuration, or in a pod's annotation.

Called by `validate`, by `pod_template`, and by `config.proxy_settings`, which leaves out what has a problem: an Envoy that cannot start would take
its application down.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from lateen.base.findings import Finding, Severity
from lateen.base.names import INBOUND_PORT, OUTBOUND_PORT, ROOT_NAMESPACE
from lateen.config.capture_ports import LARGEST_PORT, OWN_PORTS, port_problems
from lateen.config.defaults import MESH_CONFIG_MAP, MESH_KEY, mesh_config_of
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.kinds.istio.mesh_proxy import ConnectionSettings, InterceptionMode, MeshProxyConfig
from lateen.config.kinds.kubernetes.core import ConfigMap
from lateen.config.kinds.kubernetes.selectors import LabelSelector
from lateen.config.validate.names import regex_problem
from lateen.config.validate.report import Report

STATUS_PORT = 15020
TAKEN = OWN_PORTS | {OUTBOUND_PORT, INBOUND_PORT}
"""Ports of the mesh's own in every pod."""


@dataclass(frozen=True)
class Problem:
    """A field that says nothing possible. `attribute`: the field of MeshProxyConfig, or (`field.field`) of a message in it; `path`: as YAML spells it."""

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
    elif port in TAKEN:
        yield Problem("proxy_admin_port", "proxyAdminPort", f"the mesh uses this port itself: {port}")
    if not 0 <= config.status_port <= LARGEST_PORT:
        yield Problem("status_port", "statusPort", f"no port: {config.status_port}")
    elif config.status_port in TAKEN - {STATUS_PORT}:
        yield Problem("status_port", "statusPort", f"the mesh uses this port itself: {config.status_port}")
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
    if config.connection_settings is not None:
        yield from _connection_problems(config.connection_settings)


_LEAST = {
    "listener_per_connection_buffer_limit_bytes": 0,
    "cluster_per_connection_buffer_limit_bytes": 0,
    "http_idle_timeout": 0,
    "http_max_connection_duration": 0,
    "http_drain_timeout": 0,
    "http_request_timeout": 0,
    "http_request_headers_timeout": 0,
    "http_stream_idle_timeout": 0,
    "http_max_stream_duration": 0,
    "http_max_concurrent_streams": 1,
    "http2_initial_stream_window_size": 65535,
    "http2_initial_connection_window_size": 65535,
    "listener_connection_limit": 1,
    "global_downstream_connection_limit": 1,
}
"""Fields of connectionSettings that are numbers or times → the least they may say. Source: Istio, validation of ConnectionSettings."""


def _connection_problems(said: ConnectionSettings) -> Iterator[Problem]:
    for item in msgspec.structs.fields(ConnectionSettings):
        value, least = getattr(said, item.name), _LEAST.get(item.name)
        if least is not None and value is not None and value < least:
            text = f"must be at least {least}: {value:g}" if least else f"must not be negative: {value:g}"
            yield Problem(f"connection_settings.{item.name}", f"connectionSettings.{item.encode_name}", text)


def without_problems(config: MeshProxyConfig) -> MeshProxyConfig:
    """The configuration with each field that has a problem as if it had not been said."""
    plain = MeshProxyConfig()
    for attribute in dict.fromkeys(problem.attribute for problem in problems(config)):
        name, _, inner = attribute.partition(".")
        value = getattr(plain, name)
        if inner:
            value = msgspec.structs.replace(getattr(config, name), **{inner: None})
        config = msgspec.structs.replace(config, **{name: value})
    return config


def check_mesh_config(item: ConfigMap) -> tuple[Finding, ...]:
    """All findings about the mesh configuration; of other ConfigMaps there are none. Nothing is refused: a document counts where it is right."""
    if (item.meta.namespace, item.meta.name) != (ROOT_NAMESPACE, MESH_CONFIG_MAP):
        return ()
    config, found = mesh_config_of(item)
    report = Report(item)
    for problem in problems(config.default_config):
        report.warning(f"data.{MESH_KEY}", f"defaultConfig.{problem.path}: {problem.message}", "it counts as not said")
    for field, message in port_problems(config):
        report.warning(f"data.{MESH_KEY}", f"{field}: {message}", "redirected connections come in at 15001 and 15006")
    for path, selector in _selectors(config):
        for place, message in selector_problems(selector):
            report.warning(f"data.{MESH_KEY}", f"{path}{place}: {message}", "nothing meets it")
    return (*(_warned(one) for one in found), *report.findings)


def _selectors(config: MeshConfig) -> Iterator[tuple[str, LabelSelector]]:
    """The selectors of namespaces, and where they stand."""
    for index, selector in enumerate(config.discovery_selectors):
        yield f"discoverySelectors[{index}]", selector
    visibility = config.service_entry_visibility
    for index, policy in enumerate(visibility.policies if visibility else ()):
        for at, rule in enumerate(policy.matching_rules):
            if rule.namespace_selector is not None:
                yield f"serviceEntryVisibility.policies[{index}].matchingRules[{at}].namespaceSelector", rule.namespace_selector


def selector_problems(selector: LabelSelector) -> Iterator[tuple[str, str]]:
    """(place within it, what is wrong) of expressions that no labels meet. Source: Kubernetes, validation of LabelSelector."""
    for index, item in enumerate(selector.match_expressions):
        place = f".matchExpressions[{index}]"
        if item.operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            yield f"{place}.operator", f"no operator (In, NotIn, Exists, DoesNotExist): `{item.operator}`"
        elif item.operator in ("In", "NotIn") and not item.values:
            yield f"{place}.values", f"{item.operator} needs values"


def _warned(one: Finding) -> Finding:
    severity = Severity.WARNING if one.severity is Severity.ERROR else one.severity
    return Finding(one.code, severity, one.message, one.object, one.field, one.hint, one.place)
