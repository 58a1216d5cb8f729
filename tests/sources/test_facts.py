"""Holds: an edit in two saves, in either order, is never in force half; what stays half goes out after the hold."""

import json

import pytest

from lateen.config.decode import decode
from lateen.sources.facts import HOLD_S, Facts
from lateen.sources.journal import Journal
from lateen.sources.overlay import Overlay


def objects(*items: dict):
    return decode("\n---\n".join(json.dumps(item) for item in items), "t").objects


def service(name="web"):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "x"}, "spec": {"ports": [{"port": 80}]}}


def route(*subsets: str, host="web"):
    targets = [{"destination": {"host": host, **({"subset": subset} if subset else {})}, "weight": 100 // len(subsets)} for subset in subsets]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "r", "namespace": "x"},
        "spec": {"hosts": ["web"], "http": [{"route": targets}]},
    }


def rule(*subsets: str):
    spec = {"host": "web", "subsets": [{"name": subset, "labels": {"version": subset}} for subset in subsets]}
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "d", "namespace": "x"}, "spec": spec}


class World:
    def __init__(self, *items: dict) -> None:
        self.overlay, self.facts, self.now = Overlay("files"), Facts(), 0.0
        self.overlay.change("files", objects(*items))
        self.overlay.take()

    def save(self, *items: dict, at: float = 0.0, removed=()):
        """The names of what changed in force."""
        self.now = at
        self.overlay.change("files", objects(*items) if items else (), removed)
        self.facts.reconcile(self.overlay, self.now)
        effect = self.overlay.take()
        return sorted([item.name for item in effect.upserts] + [f"-{ref.name}" for ref in effect.removed])


def test_a_route_waits_for_its_subset():
    world = World(service(), rule("v1"), route("v1"))
    assert world.save(route("v1", "v2")) == []
    assert world.facts.next_expiry == HOLD_S
    assert "not there yet: web.x.svc.cluster.local subset v2" in str(world.facts.findings[0])
    assert world.save(rule("v1", "v2"), at=1) == ["d", "r"]
    assert world.facts.findings == ()
    assert world.facts.next_expiry is None


def test_a_subset_waits_for_its_route():
    world = World(service(), rule("v1", "v2"), route("v1", "v2"))
    assert world.save(rule("v1")) == []
    assert world.save(route("v1"), at=1) == ["d", "r"]
    assert world.facts.next_expiry is None


def test_the_other_orders_wait_for_nothing():
    world = World(service(), rule("v1"), route("v1"))
    assert world.save(rule("v1", "v2")) == ["d"]
    assert world.save(route("v2")) == ["r"]
    assert world.save(rule("v2")) == ["d"]


def test_what_never_comes_goes_out_after_the_hold_and_is_not_held_again():
    world = World(service(), rule("v1"), route("v1"))
    assert world.save(route("v9")) == []
    assert world.save(at=HOLD_S - 0.1) == []
    assert world.save(at=HOLD_S) == ["r"]
    assert world.facts.next_expiry is None
    assert world.save(service("other"), at=HOLD_S + 1) == ["other"]
    assert world.save(route("v8"), at=HOLD_S + 2) == []


def test_the_hold_is_as_long_as_from_its_first_half():
    world = World(service(), rule("v1"), route("v1"))
    world.save(route("v2"))
    assert world.save(route("v3"), at=3) == []
    assert world.facts.next_expiry == HOLD_S


def test_a_new_route_and_a_removed_service():
    world = World(service())
    assert world.save(route("v1")) == []
    assert world.save(rule("v1"), at=1) == ["d", "r"]
    ref = next(ref for ref in world.overlay.in_force if ref.kind == "Service")
    assert world.save(removed=[ref], at=2) == []
    assert world.save(at=2 + HOLD_S) == ["-web"]


def test_a_removed_route_lets_go_of_what_it_used():
    world = World(service(), rule("v1"), route("v1"))
    refs = {ref.kind: ref for ref in world.overlay.in_force}
    assert world.save(removed=[refs["DestinationRule"]]) == []
    assert world.save(removed=[refs["VirtualService"]], at=1) == ["-d", "-r"]


@pytest.mark.parametrize("host", ["a.example.com", "b.a.example.com"])
def test_wildcard_hosts_are_there(host):
    entry = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "e", "namespace": "x"},
        "spec": {"hosts": ["*.example.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "NONE"},
    }
    world = World(entry)
    assert world.save(route("", host=host)) == ["r"]


def test_a_quarantine_keeps_the_last_good_form_until_another_is_written():
    world = World(service(), rule("v1"), route("v1"))
    ref = next(ref for ref in world.overlay.in_force if ref.kind == "VirtualService")
    good = world.overlay.in_force[ref]
    assert world.save(route("v1", "v1")) == ["r"]
    world.facts.quarantine(world.overlay, ref, good, "no such thing")
    assert [str(finding) for finding in world.facts.findings] == [f"error [LTN0602] {ref}: Envoy refuses it, its last good form stays in force: no such thing"]
    assert world.save() == ["r"]
    assert world.overlay.in_force[ref] == good
    assert world.save(rule("v1", "v2")) == ["d"]
    assert world.save(route("v2")) == ["r"]
    assert world.facts.quarantined == {}


def test_a_quarantine_outlives_the_process(tmp_path):
    journal = Journal(tmp_path / "state" / "facts.json")
    assert journal.read() == ()
    world = World(service(), rule("v1"), route("v1"))
    ref = next(ref for ref in world.overlay.in_force if ref.kind == "VirtualService")
    good = world.overlay.in_force[ref]
    world.save(route("v1", "v1"))
    world.facts.quarantine(world.overlay, ref, good, "bad")
    journal.write(world.facts.records)
    fresh = Overlay("files")
    fresh.change("files", objects(service(), rule("v1"), route("v1", "v1")))
    facts = Facts()
    facts.restore(fresh, journal.read())
    fresh.take()
    assert fresh.in_force[ref] == good
    assert facts.records == world.facts.records
    corrected = Overlay("files")
    corrected.change("files", objects(service(), rule("v1"), route("v1")))
    facts = Facts()
    facts.restore(corrected, journal.read())
    assert facts.quarantined == {}
    (tmp_path / "state" / "facts.json").write_text("[{")
    assert journal.read() == ()
