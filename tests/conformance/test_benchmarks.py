"""The mesh shapes of Istio's own load tests, built at two sizes: read, found clean, whole for sidecar and gateway, and their cost grows with their size alone."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from lateen.base.findings import Severity
from lateen.control.review import running
from lateen.incremental import Db
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.sources.check import check
from lateen.xds.resource import Resource, ResourceType
from lateen.xds.resources import resource, resource_names
from tests.conformance.score import CONFORMANCE

SHAPES = CONFORMANCE / "benchmarks"
FILES = sorted(SHAPES.glob("*.yaml")) if SHAPES.is_dir() else []
pytestmark = pytest.mark.skipif(not FILES and os.environ.get("CI") != "true", reason=f"no conformance data: {CONFORMANCE}")
SERVICES, MORE, INSTANCES = 8, 16, 24
LOOP = re.compile(r"\{\{-? *range \$(\w+) := until \.(\w+) *\}\}|\{\{-? *end *\}\}")
PLACE = re.compile(r"\{\{ *(?:(div|mod) )?\$(\w+)(?: (?:(\d+)|\$\.(\w+)))? *\}\}")
PROXIES = (
    Proxy(ProxyType.SIDECAR, "app.default", "default", "default", addresses=("1.1.1.1",), dns_domain="default.svc.cluster.local"),
    Proxy(
        ProxyType.ROUTER,
        "edge.default",
        "default",
        "default",
        labels=(("istio.io/benchmark", "true"),),
        addresses=("1.1.1.1",),
        dns_domain="default.svc.cluster.local",
    ),
)


def rendered(template: str, sizes: dict[str, int], places: dict[str, int] | None = None) -> str:
    """The shape's template at these sizes: loops that count, and arithmetic on their counters."""
    places = places or {}
    out, at = [], 0
    while found := LOOP.search(template, at):
        assert found[1], template[found.start() :][:80]
        end = _end(template, found.end())
        out.append(_filled(template[at : found.start()], sizes, places))
        body = template[found.end() : end.start()]
        out += [rendered(body, sizes, places | {found[1]: number}) + "\n---\n" for number in range(sizes[found[2]])]
        at = end.end()
    return "".join((*out, _filled(template[at:], sizes, places)))


def _end(template: str, at: int) -> re.Match[str]:
    depth = 1
    for found in LOOP.finditer(template, at):
        depth += 1 if found[1] else -1
        if not depth:
            return found
    raise AssertionError("a loop without an end")


def _filled(text: str, sizes: dict[str, int], places: dict[str, int]) -> str:
    def value(found: re.Match[str]) -> str:
        by = int(found[3] or sizes.get(found[4] or "", 0))
        number = places[found[2]]
        return str(number if not found[1] else number // by if found[1] == "div" else number % by)

    return PLACE.sub(value, text)


def mesh(file: Path, folder: Path, services: int) -> tuple[Db, list[str]]:
    """A shape at a size, and what is wrong with it."""
    text = rendered(file.read_text(), {"Services": services, "Instances": INSTANCES})
    assert "{{" not in text
    (folder / f"{services}.yaml").write_text(text)
    checked = check([folder / f"{services}.yaml"])
    return running(checked.loaded)[0], [str(one) for one in checked.findings if one.severity is Severity.ERROR]


def emitted(db: Db, proxy: Proxy) -> list[Resource]:
    view = view_of(db, proxy)
    found = [resource(db, view, type_, name) for type_ in ResourceType for name in sorted(resource_names(db, view, type_))]
    return [one for one in found if one is not None]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shape_is_whole_at_any_size(file: Path, tmp_path: Path) -> None:
    """What comes of each further service costs what the one before it did: bytes and resources grow by the same from one size to the next."""
    found = {}
    for services in (SERVICES, MORE, 2 * MORE - SERVICES):
        db, errors = mesh(file, tmp_path, services)
        assert errors == []
        resources = [emitted(db, proxy) for proxy in PROXIES]
        assert [one.problem for of_proxy in resources for one in of_proxy if one.problem] == []
        found[services] = [(Counter(one.type for one in of_proxy), sum(len(one.body) for one in of_proxy)) for of_proxy in resources]
    small, middle, large = found.values()
    for (some, bytes_some), (more, bytes_more), (most, bytes_most) in zip(small, middle, large, strict=True):
        assert {type_: most[type_] - more[type_] for type_ in ResourceType} == {type_: more[type_] - some[type_] for type_ in ResourceType}
        assert bytes_most - bytes_more <= 1.1 * (bytes_more - bytes_some) + 200


@pytest.mark.parametrize("name", ["http", "tcp", "tls", "auto", "empty", "gateways", "gateways-shared", "virtualservice"])
def test_every_service_of_a_shape_is_reached(name: str, tmp_path: Path) -> None:
    """By its cluster, and at a gateway from its routes as well."""
    db, _ = mesh(SHAPES / f"{name}.yaml", tmp_path, SERVICES)
    hosts = [f"random-{number}.host.example" for number in range(SERVICES)]
    for proxy in PROXIES:
        resources = emitted(db, proxy)
        named = b"".join(one.body for one in resources if one.type is ResourceType.ROUTE)
        for host in hosts:
            assert any(one.type is ResourceType.CLUSTER and one.name.endswith(f"||{host}") for one in resources)
            assert not name.startswith("gateways") or proxy.type is ProxyType.SIDECAR or host.encode() in named
