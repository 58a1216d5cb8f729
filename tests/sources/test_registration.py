"""Which WorkloadEntry a workload becomes that joins a WorkloadGroup, and who may not."""

import dataclasses

import pytest

from lateen.base.names import registered_name
from lateen.config.decode import decode
from lateen.config.kinds.istio.workload_entry import HEALTH_CHECKED, WorkloadGroup
from lateen.sources.registration import GROUP, Registrant, refusal, registered_entries, registered_entry

TEXT = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms, namespace: shop}
spec:
  metadata: {labels: {app: web, tier: front}, annotations: {note: x}}
  template: {serviceAccount: web, ports: {http: 8081}, labels: {tier: back}, locality: r1/z1, weight: 4}
"""


def group(extra: str = "") -> WorkloadGroup:
    (found,) = decode(TEXT + extra, "t").objects
    assert isinstance(found, WorkloadGroup)
    return found


JOINING = Registrant("shop", "vms", "10.9.0.1", service_account="web")


def test_an_entry_is_the_groups_template_at_the_workloads_address():
    entry = registered_entry(dataclasses.replace(JOINING, labels=(("version", "v2"), ("app", "mine"))), group(), None)
    assert (entry.name, entry.namespace) == ("vms-10.9.0.1", "shop")
    assert dict(entry.spec.labels) == {"app": "mine", "tier": "back", "version": "v2"}
    assert (entry.spec.address, dict(entry.spec.ports), entry.spec.locality, entry.spec.weight) == ("10.9.0.1", {"http": 8081}, "r1/z1", 4)
    assert entry.spec.service_account == "web"
    assert dict(entry.meta.annotations) == {"note": "x", GROUP: "vms"}


def test_where_it_stands_is_what_it_says():
    entry = registered_entry(dataclasses.replace(JOINING, locality="r2/z9", network="n2"), group(), None)
    assert (entry.name, entry.spec.locality, entry.spec.network) == ("vms-10.9.0.1-n2", "r2/z9", "n2")


@pytest.mark.parametrize(("health", "statuses"), [(None, []), (True, ["True"]), (False, ["False"])])
def test_health_counts_where_the_group_has_a_probe(health, statuses):
    entry = registered_entry(JOINING, group("  probe: {tcpSocket: {port: 8081}}\n"), health)
    assert entry.meta.annotations[HEALTH_CHECKED] == "true"
    assert [one.status for one in (entry.status.conditions if entry.status else ())] == statuses


def test_only_the_groups_service_account_joins():
    assert refusal(JOINING, group()) == ""
    assert "service account web, not db" in refusal(dataclasses.replace(JOINING, service_account="db"), group())
    assert "no WorkloadGroup shop/vms" in refusal(JOINING, None)
    joining = {dataclasses.replace(JOINING, service_account="db"): None, dataclasses.replace(JOINING, namespace="other"): None, JOINING: None}
    assert [entry.name for entry in registered_entries(joining, [group()])] == ["vms-10.9.0.1"]


def test_names_are_names():
    assert registered_name("vms", "fd00::1") == "vms-fd00--1"
    assert registered_name("vms", "10.0.0.1", "net") == "vms-10.0.0.1-net"
    assert len(registered_name("g" * 250, "10.0.0.1")) == 253
    assert registered_name("g" * 250, "10.0.0.1").endswith("-10.0.0.1")
