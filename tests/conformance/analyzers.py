"""What Istio's analyzers say of configurations of their own, beside our findings about the same: `python tests/conformance/analyzers.py [-v]` prints the table.

Compared are sets of (code, kind, namespace/name), for the analyzers that look at traffic. A code says what is wrong, so it is ours as well where we have the same finding.
Where we mean to differ: a Gateway that selects no workload gets a gateway pod here (no IST0101); ServiceEntries without address get one (no IST0134); wildcards that overlap
are no conflict, the narrower takes its own (no IST0109); a condition or route that a prefix takes everything from is dead, `/` included (IST0130 and IST0131 where Istio is silent);
of a Gateway that is not there nothing more is said (no IST0132 beside IST0101); a destination `{}` is refused where it is read, with another code.
Not meant: a VirtualService bound to a Kubernetes Gateway is told that there is no such Gateway (IST0101 instead of IST0132).
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.conformance.score import CONFORMANCE

DATA = CONFORMANCE / "analyzers"
ANALYZERS = {
    "gateway.IngressGatewayPortAnalyzer": {"IST0101", "IST0162"},
    "gateway.SecretAnalyzer": {"IST0101", "IST0161"},
    "gateway.ConflictingGatewayAnalyzer": {"IST0145"},
    "service.PortNameAnalyzer": {"IST0118"},
    "virtualservice.ConflictingMeshGatewayHostsAnalyzer": {"IST0109"},
    "virtualservice.DestinationHostAnalyzer": {"IST0101", "IST0112"},
    "virtualservice.DestinationRuleAnalyzer": {"IST0101"},
    "virtualservice.GatewayAnalyzer": {"IST0101", "IST0132"},
    "destinationrule.CaCertificateAnalyzer": {"IST0128", "IST0129"},
    "destinationrule.PodNotSelectedAnalyzer": {"IST0173", "IST0174"},
    "serviceentry.ProtocolAddressesAnalyzer": {"IST0134"},
    "serviceentry.ConflictingServiceEntryProtocolAnalyzer": {"IST0177"},
    "schemaValidation.CollectionValidationAnalyzer": {"IST0130", "IST0131"},
}
"""Analyzer → the codes it gives."""
FIELDS = {
    "gateway.IngressGatewayPortAnalyzer": "selector",
    "gateway.SecretAnalyzer": "credentialName",
    "virtualservice.DestinationHostAnalyzer": "host",
    "virtualservice.DestinationRuleAnalyzer": "subset",
    "virtualservice.GatewayAnalyzer": "gateways",
}
"""Analyzer → the field whose missing resource (IST0101) it tells of: others tell of others."""
Said = tuple[str, str]
"""A code, and `Kind namespace/name`."""


@dataclass(frozen=True)
class Compared:
    """One configuration: what Istio says and we do, what only one of the two says."""

    name: str
    both: frozenset[Said]
    missing: frozenset[Said]
    more: frozenset[Said]


def compared() -> Iterator[Compared]:
    """Every configuration whose analyzer looks at traffic."""
    for case in json.loads((DATA / "cases.json").read_text()):
        analyzer = case["analyzer"].strip("&{}").partition("(")[0]
        if analyzer not in ANALYZERS or case["skip"]:
            continue
        theirs = {(code, _full(named)) for _, code, _, named in case["expected"]}
        ours = _ours(case, analyzer)
        yield Compared(case["name"], frozenset(theirs & ours), frozenset(theirs - ours), frozenset(ours - theirs))


def _full(named: str) -> str:
    kind, _, name = named.partition(" ")
    return f"{kind} {name if '/' in name else f'default/{name}'}"


def _ours(case: dict[str, Any], analyzer: str) -> set[Said]:
    from lateen.config.decode import decode
    from lateen.config.places import Places
    from lateen.config.validate import validate
    from lateen.control.review import review
    from lateen.sources.check import Checked

    texts = [(DATA / file).read_text() for file in case["files"]]
    texts += [json.dumps(_config_map((DATA / case["mesh"]).read_text()))] if case["mesh"] else []
    decoded = [decode(text, "in.yaml") for text in texts]
    objects = tuple(item for one in decoded for item in one.objects)  # analyzers look at what is stored, whether admission would take it today or not
    own = (finding for item in objects for finding in validate(item))
    found = (*own, *review(Checked(len(objects), (), objects, Places())))
    return {
        (one.code, f"{one.object.kind} {one.object.namespace or 'default'}/{one.object.name}")
        for one in found
        if one.object and one.code in ANALYZERS[analyzer] and _is_of(one.code, one.field, analyzer)
    }


def _is_of(code: str, field: str, analyzer: str) -> bool:
    last = field.rpartition(".")[2].partition("[")[0]
    return code != "IST0101" or last == FIELDS[analyzer] or (FIELDS[analyzer] == "host" and last in ("number", "port"))


def _config_map(mesh: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": mesh}}


def fine(found: list[Compared]) -> dict[str, int]:
    """For the floor: messages that both say, and configurations in which we say just what Istio does."""
    counts = Counter({"analyzers messages": 0, "analyzers equal": 0})
    for one in found:
        counts["analyzers messages"] += len(one.both)
        counts["analyzers equal"] += not one.missing and not one.more
    return dict(counts)


def lines(found: list[Compared]) -> Iterator[str]:
    """The table."""
    for one in found:
        yield f"{'=' if not one.missing and not one.more else '!'} {one.name}: {len(one.both)} of {len(one.both) + len(one.missing)}, {len(one.more)} more"
        yield from (f"    missing {code} {named}" for code, named in sorted(one.missing))
        yield from (f"    more    {code} {named}" for code, named in sorted(one.more))
    yield f"{fine(found)} of {len(found)} configurations"


if __name__ == "__main__":
    print("\n".join(lines(list(compared()))))
    sys.exit(0)
