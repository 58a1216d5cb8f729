"""DestinationRule: its host, subsets, export. Source: Istio, ValidateDestinationRule."""

from lateen.base.findings import Finding
from lateen.config.kinds.istio.destination_rule import DestinationRule
from lateen.config.validate.names import check_export_to, check_labels, check_selector, host_problem, is_label
from lateen.config.validate.report import Report
from lateen.config.validate.traffic_policy import check_traffic_policy


def check(item: DestinationRule) -> tuple[Finding, ...]:
    """All findings about one DestinationRule."""
    report = Report(item)
    spec = item.spec
    if problem := host_problem(spec.host):
        report.error("spec.host", problem)
    check_traffic_policy(report, "spec.trafficPolicy", spec.traffic_policy)
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        field = f"spec.subsets[{index}]"
        if not is_label(subset.name):
            report.error(f"{field}.name", f"not a subset's name: `{subset.name}`")
        if subset.name in names:
            report.error(f"{field}.name", f"a subset of this name is here twice: `{subset.name}`")
        names.add(subset.name)
        check_labels(report, f"{field}.labels", subset.labels)
        check_traffic_policy(report, f"{field}.trafficPolicy", subset.traffic_policy)
    check_export_to(report, spec.export_to, item.meta.namespace, has_selector=spec.workload_selector is not None)
    if spec.workload_selector is not None:
        check_selector(report, "spec.workloadSelector.matchLabels", spec.workload_selector.match_labels)
    return report.findings
