"""The JSON that commands print has the fields that docs/json.md promises."""

import re

import pytest

from tests.live.harness import ROOT, Mesh

SECTION = re.compile(r"^## `lateen ([^`]+)`\n(.*?)(?=^## |\Z)", re.S | re.M)
PROMISED = {words.split()[0]: set(re.findall(r"`([a-z_]+)`", body)) for words, body in SECTION.findall((ROOT / "docs" / "json.md").read_text())}
NOT_FIELDS = {"config_dump", "sidecar", "router", "all"}
LEARNED = {"namespace", "service_account", "workload", "clusters"}
"""Fields of what workloads have learned, which is nothing in complete scope: tests/live/test_automatic_scope.py."""


def keys(value: object) -> set[str]:
    """Every key anywhere in a JSON value."""
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys(item)}
    return {key for item in value for key in keys(item)} if isinstance(value, list) else set()


@pytest.mark.parametrize("command", ["status", "ps", "proxy-status"])
def test_promised_fields_are_there(booking: Mesh, command: str) -> None:
    found = keys(booking.json(command))
    assert PROMISED[command] - NOT_FIELDS - (LEARNED if command == "status" else set()) <= found


def test_objects_are_as_kubernetes_writes_them(booking: Mesh) -> None:
    (item,) = booking.json("get", "vs", "payment", "-n", "booking")["objects"]
    assert {"apiVersion", "kind", "metadata", "spec"} <= set(item)
    assert booking.lateen("get", "vs", "nobody").returncode == 1
    assert booking.lateen("get", "virtualservise").returncode == 2


def test_proxy_config_prints_what_envoy_holds(booking: Mesh) -> None:
    for kind in ("cluster", "listener", "route", "endpoint", "secret", "bootstrap", "all"):
        done = booking.lateen("proxy-config", kind, "deploy/client", "-n", "booking")
        assert done.returncode == 0, f"{kind}: {done.stderr}"
        assert done.stdout.strip(), kind
    assert "outbound|8080|v1|payment.booking.svc.cluster.local" in booking.lateen("proxy-config", "route", "deploy/client", "-n", "booking").stdout
