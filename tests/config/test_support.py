"""Every known field has a status; what is set and not in force is said, with its place."""

import pytest

from lateen.config import support
from lateen.config.decode import decode
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.registry import KINDS
from lateen.config.support import Support, not_in_force, statuses


def item(text):
    decoded = decode(text, "f.yaml")
    assert decoded.findings == ()
    return decoded.objects[0], decoded.places


def test_the_tables_name_fields_that_exist():
    assert support.unlisted() == ()


@pytest.mark.parametrize("kind", [*KINDS, MeshConfig], ids=lambda kind: kind.__name__)
def test_every_field_has_a_status(kind):
    assert statuses(kind)


def test_a_field_not_in_force_is_said_once_where_it_stands(monkeypatch):
    monkeypatch.setitem(support.NOT_YET, "DestinationRule", ("spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",))
    text = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: a\n  trafficPolicy:\n    loadBalancer:\n"
        "      zoneAwareLbSetting: {enabled: true, minClusterSize: 3}\n"
    )
    found, places = item(text)
    (finding,) = not_in_force(found)
    assert (finding.field, finding.message) == ("spec.trafficPolicy.loadBalancer.zoneAwareLbSetting", "not in force yet")
    assert str(places.resolved(finding).place) == "f.yaml:8:7"


def test_what_is_not_set_or_works_is_not_said():
    text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}}\n"
    assert not_in_force(item(text)[0]) == ()


def test_paths_reach_into_lists_and_the_longest_line_decides(monkeypatch):
    monkeypatch.setitem(support.NOT_YET, "VirtualService", ("spec.http[].match[].headers{}.regex", "spec.tcp"))
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
        "spec: {hosts: [a], http: [{match: [{}, {headers: {x: {regex: a}, y: {exact: b}}}]}], tcp: [{match: [{sourceSubnet: 1.1.1.1}]}]}\n"
    )
    assert [(finding.field, finding.message) for finding in not_in_force(item(text)[0])] == [
        ("spec.http[0].match[1].headers[x].regex", "not in force yet"),
        ("spec.tcp", "not in force yet"),
    ]
    assert support._status("VirtualService", "spec.tcp[].match[].sourceSubnet") is Support.NO_EFFECT
