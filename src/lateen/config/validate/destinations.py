"""Where routes go, of all three protocols: gateways' names, destinations, weights. Source: Istio, validateDestination and its like."""

from collections.abc import Sequence

from lateen.config.kinds.istio.virtual_service import Destination, HttpDestination, RouteDestination
from lateen.config.validate.names import check_port, host_problem, is_label
from lateen.config.validate.report import Report

MAX_WEIGHTS = 2**32 - 1
"""Of one route together. Source: Envoy, WeightedCluster."""


def check_gateways(report: Report, field: str, names: Sequence[str]) -> None:
    """`name`, `namespace/name`, the old `name.namespace`, or `mesh`."""
    for index, name in enumerate(names):
        namespace, slash, rest = name.partition("/")
        here = f"{field}[{index}]"
        if not slash:
            if problem := host_problem(name, allows_wildcard=False):
                report.error(here, problem)
        elif not namespace or not rest:
            report.error(here, f"namespace and name of a gateway must not be empty: `{name}`")
        elif not is_label(namespace):
            report.error(here, f"not a namespace: `{namespace}`")
        elif not is_label(rest):
            report.error(here, f"not a gateway's name: `{rest}`")


def check_destination(report: Report, field: str, destination: Destination | None) -> None:
    """A host (no bare `*`), a subset's name, a port."""
    if destination is None:
        report.error(field, "a destination is missing")
        return
    if destination.host == "*":
        report.error(f"{field}.host", "`*` is no destination")
    elif problem := host_problem(destination.host):
        report.error(f"{field}.host", problem)
    if destination.subset and not is_label(destination.subset):
        report.error(f"{field}.subset", f"not a subset's name: `{destination.subset}`")
    if destination.port is not None:
        check_port(report, f"{field}.port.number", destination.port.number)


def check_weights(report: Report, field: str, routes: Sequence[HttpDestination | RouteDestination]) -> None:
    """Destinations and weights: none negative, not all zero where there are several, not too many together."""
    for index, route in enumerate(routes):
        check_destination(report, f"{field}[{index}].destination", route.destination)
        if route.weight < 0:
            report.error(f"{field}[{index}].weight", f"a weight must not be negative: {route.weight}")
    total = sum(route.weight for route in routes)
    if total > MAX_WEIGHTS:
        report.error(field, f"weights may sum to {MAX_WEIGHTS}, these to {total}", "what counts is their proportion: divide them all")
    if len(routes) > 1 and total == 0:
        report.error(field, "all weights are 0", "give at least one destination a weight")
