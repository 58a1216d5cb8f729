"""What a pod's `dnsPolicy` and `dnsConfig` make of its resolv.conf, as a kubelet would write it."""

import pytest

from lateen.local.environment import resolv_conf
from lateen.local.podspec import decoded

CLUSTER = "search shop.svc.cluster.local svc.cluster.local cluster.local"
MORE = {"nameservers": ["192.0.2.1"], "searches": ["corp.example", "cluster.local"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ({}, [CLUSTER, "nameserver 127.0.0.1", "options ndots:5"]),
        ({"dnsConfig": MORE}, [f"{CLUSTER} corp.example", "nameserver 127.0.0.1", "nameserver 192.0.2.1", "options ndots:2 edns0"]),
        ({"dnsPolicy": "None", "dnsConfig": MORE}, ["search corp.example cluster.local", "nameserver 192.0.2.1", "options ndots:2 edns0"]),
        ({"dnsPolicy": "Default"}, ["nameserver 127.0.0.1"]),
        (
            {"dnsConfig": {"nameservers": [f"192.0.2.{number}" for number in range(5)]}},
            [CLUSTER, "nameserver 127.0.0.1", "nameserver 192.0.2.0", "nameserver 192.0.2.1", "options ndots:5"],
        ),
    ],
)
def test_resolv_conf(spec: dict, lines: list[str]) -> None:
    assert resolv_conf(decoded(spec), "shop").splitlines() == lines
