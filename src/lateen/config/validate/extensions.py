"""Telemetry, WasmPlugin, TrafficExtension, EnvoyFilter, ProxyConfig. Source: Istio, pkg/config/validation."""

import re
from urllib.parse import urlsplit

from lateen.base.findings import Finding
from lateen.config.kinds.istio.envoy_filter import ApplyTo, ConfigPatch, EnvoyFilter, PatchContext, PatchOperation
from lateen.config.kinds.istio.proxy_config import ProxyConfig
from lateen.config.kinds.istio.telemetry import Metrics, TagOperation, Telemetry, Tracing
from lateen.config.kinds.istio.wasm_plugin import EnvValueSource, TrafficExtension, VmConfig, WasmPlugin
from lateen.config.validate.attachment import check_attachment
from lateen.config.validate.cel import cel_problem
from lateen.config.validate.names import check_duration, check_percentage, check_port, check_regex, check_selector
from lateen.config.validate.report import Report

WASM_SCHEMES = ("", "http", "https", "file", "oci")
_SHA256 = re.compile(r"[a-f0-9]{64}")
_MATCHES = {
    "listener": frozenset({ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER, ApplyTo.LISTENER_FILTER}),
    "routeConfiguration": frozenset({ApplyTo.ROUTE_CONFIGURATION, ApplyTo.VIRTUAL_HOST, ApplyTo.HTTP_ROUTE}),
    "cluster": frozenset({ApplyTo.CLUSTER}),
}
"""What a match is for."""
_RELATIVE = frozenset({PatchOperation.INSERT_BEFORE, PatchOperation.INSERT_AFTER, PatchOperation.INSERT_FIRST})
_RELATIVE_TO = frozenset({ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER, ApplyTo.HTTP_ROUTE, ApplyTo.LISTENER_FILTER})


def check_telemetry(item: Telemetry) -> tuple[Finding, ...]:
    """All findings about one Telemetry."""
    report = Report(item)
    spec = item.spec
    check_attachment(report, spec.selector, spec.target_refs, spec.target_ref)
    if len(spec.tracing) > 1:
        report.warning("spec.tracing", "only the first entry has an effect")
    for index, tracing in enumerate(spec.tracing):
        _tracing(report, f"spec.tracing[{index}]", tracing)
    for index, metrics in enumerate(spec.metrics):
        _metrics(report, f"spec.metrics[{index}]", metrics)
    for index, logging in enumerate(spec.access_logging):
        for number, provider in enumerate(logging.providers):
            if not provider.name:
                report.error(f"spec.accessLogging[{index}].providers[{number}].name", "must not be empty")
        if logging.filter is not None and (problem := cel_problem(logging.filter.expression)):
            report.error(f"spec.accessLogging[{index}].filter.expression", f"not an expression of CEL: {problem}")
    return report.findings


def _tracing(report: Report, field: str, tracing: Tracing) -> None:
    for index, provider in enumerate(tracing.providers):
        if not provider.name:
            report.error(f"{field}.providers[{index}].name", "must not be empty")
    if len(tracing.providers) > 1:
        report.warning(f"{field}.providers", "only the first provider has an effect")
    if tracing.random_sampling_percentage is not None:
        check_percentage(report, f"{field}.randomSamplingPercentage", tracing.random_sampling_percentage)
    for name, tag in tracing.custom_tags.items():
        here = f"{field}.customTags[{name}]"
        if not name:
            report.error(f"{field}.customTags", "a tag's name must not be empty")
        said = [part for part in (tag.literal, tag.environment, tag.header, tag.formatter) if part is not None]
        if len(said) != 1:
            report.error(here, "exactly one of literal, environment, header, formatter")
        values = (("literal.value", tag.literal), ("formatter.value", tag.formatter))
        sources = (("environment.name", tag.environment), ("header.name", tag.header))
        for where, value in values:
            if value is not None and not value.value:
                report.error(f"{here}.{where}", "must not be empty")
        for where, source in sources:
            if source is not None and not source.name:
                report.error(f"{here}.{where}", "must not be empty")


def _metrics(report: Report, field: str, metrics: Metrics) -> None:
    for index, provider in enumerate(metrics.providers):
        if not provider.name:
            report.error(f"{field}.providers[{index}].name", "must not be empty")
    check_duration(report, f"{field}.reportingInterval", metrics.reporting_interval)
    for index, override in enumerate(metrics.overrides):
        here = f"{field}.overrides[{index}]"
        if override.match is not None and override.match.custom_metric == "":
            report.error(f"{here}.match.customMetric", "must not be empty")
        for name, tag in override.tag_overrides.items():
            if tag.operation is TagOperation.REMOVE and tag.value:
                report.error(f"{here}.tagOverrides[{name}].value", "REMOVE has no value")
            elif tag.operation is TagOperation.UPSERT and not tag.value:
                report.error(f"{here}.tagOverrides[{name}].value", "UPSERT needs a value")


def _wasm(report: Report, field: str, url: str, sha256: str, vm: VmConfig | None) -> None:
    if not url:
        report.error(f"{field}.url", "must not be empty")
    else:
        try:
            scheme = urlsplit(url).scheme
        except ValueError:
            scheme = "?"
        if ("://" in url and scheme not in WASM_SCHEMES) or scheme == "?":
            report.error(f"{field}.url", f"must begin with http://, https://, file:// or oci://: `{url}`")
    if sha256 and _SHA256.fullmatch(sha256) is None:
        report.error(f"{field}.sha256", "must be 64 hexadecimal digits, lower case")
    names: set[str] = set()
    for index, env in enumerate(vm.env if vm is not None else ()):
        here = f"{field}.vmConfig.env[{index}]"
        if not env.name:
            report.error(f"{here}.name", "must not be empty")
        if env.name in names:
            report.error(f"{here}.name", f"twice: `{env.name}`")
        names.add(env.name)
        if env.value_from is EnvValueSource.HOST and env.value:
            report.error(f"{here}.value", "valueFrom HOST takes no value")


def check_wasm_plugin(item: WasmPlugin) -> tuple[Finding, ...]:
    """All findings about one WasmPlugin."""
    report = Report(item)
    spec = item.spec
    check_attachment(report, spec.selector, spec.target_refs, spec.target_ref)
    _wasm(report, "spec", spec.url, spec.sha256, spec.vm_config)
    for index, match in enumerate(spec.match):
        for number, port in enumerate(match.ports):
            check_port(report, f"spec.match[{index}].ports[{number}].number", port.number)
    return report.findings


def check_traffic_extension(item: TrafficExtension) -> tuple[Finding, ...]:
    """All findings about one TrafficExtension."""
    report = Report(item)
    spec = item.spec
    check_attachment(report, spec.selector, spec.target_refs)
    if (spec.wasm is None) == (spec.lua is None):
        report.error("spec", "exactly one of wasm and lua")
    if spec.wasm is not None:
        _wasm(report, "spec.wasm", spec.wasm.url, spec.wasm.sha256, spec.wasm.vm_config)
    if spec.lua is not None and not spec.lua.inline_code:
        report.error("spec.lua.inlineCode", "must not be empty")
    for index, match in enumerate(spec.match):
        for number, port in enumerate(match.ports):
            check_port(report, f"spec.match[{index}].ports[{number}].number", port.number)
    return report.findings


def check_envoy_filter(item: EnvoyFilter) -> tuple[Finding, ...]:
    """All findings about one EnvoyFilter. Whether a patch's value is a message Envoy knows is found where it is applied."""
    report = Report(item)
    spec = item.spec
    if spec.workload_selector is not None:
        if spec.target_refs:
            report.error("spec.targetRefs", "either workloadSelector or targetRefs")
        check_selector(report, "spec.workloadSelector.labels", spec.workload_selector.labels)
    check_attachment(report, None, spec.target_refs)
    for index, patch in enumerate(spec.config_patches):
        _patch(report, f"spec.configPatches[{index}]", patch)
    return report.findings


def _patch(report: Report, field: str, patch: ConfigPatch) -> None:
    if patch.apply_to is ApplyTo.INVALID:
        report.error(f"{field}.applyTo", "must say what is patched")
    match = patch.match
    if match is not None:
        is_waypoint = match.context is PatchContext.WAYPOINT
        if is_waypoint != (match.waypoint is not None):
            report.error(f"{field}.match", "a waypoint match goes with context WAYPOINT, and only with it")
        said = {"listener": match.listener, "routeConfiguration": match.route_configuration, "cluster": match.cluster}
        for name, value in said.items():
            if value is not None and patch.apply_to not in _MATCHES[name]:
                report.error(f"{field}.match.{name}", f"does not go with applyTo {patch.apply_to}")
        if match.proxy is not None and match.proxy.proxy_version:
            check_regex(report, f"{field}.match.proxy.proxyVersion", match.proxy.proxy_version)
    body = patch.patch
    if body is None:
        report.error(f"{field}.patch", "a patch is missing")
        return
    if body.operation is PatchOperation.INVALID:
        report.error(f"{field}.patch.operation", "must say what is done")
    if body.operation is not PatchOperation.REMOVE and body.value is None:
        report.error(f"{field}.patch.value", f"{body.operation} needs a value")
    if body.operation is PatchOperation.REMOVE and body.value is not None:
        report.warning(f"{field}.patch.value", "REMOVE does not look at it")
    if body.operation in _RELATIVE and patch.apply_to not in _RELATIVE_TO:
        report.error(f"{field}.patch.operation", f"{body.operation} is for filters and routes, not for {patch.apply_to}")


def check_proxy_config(item: ProxyConfig) -> tuple[Finding, ...]:
    """All findings about one ProxyConfig."""
    report = Report(item)
    spec = item.spec
    if spec.selector is not None:
        check_selector(report, "spec.selector.matchLabels", spec.selector.match_labels)
    if spec.concurrency is not None and spec.concurrency < 0:
        report.error("spec.concurrency", f"must not be negative: {spec.concurrency}")
    return report.findings
