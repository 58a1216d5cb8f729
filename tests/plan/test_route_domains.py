"""By which names a sidecar's client reaches a service."""

import pytest

from lateen.base.names import ObjectRef
from lateen.mesh.model import Resolution, Service
from lateen.mesh.visibility import Scope
from lateen.plan.domains import Audience, abroad, alternates, is_at_home, service_domains, with_port


@pytest.mark.parametrize(
    ("host", "domain", "expected"),
    [
        ("api.shop.svc.cluster.local", "shop.svc.cluster.local", ("api.shop.svc.cluster.local.", "api", "api.shop.svc", "api.shop")),
        ("api.shop.svc.cluster.local", "till.svc.cluster.local", ("api.shop.svc.cluster.local.", "api.shop", "api.shop.svc")),
        ("api.shop.svc.other.net", "shop.svc.cluster.local", ("api.shop.svc.other.net.",)),
        ("*.shop.svc.cluster.local", "shop.svc.cluster.local", ("*.shop.svc.cluster.local.", "*.shop.svc", "*.shop")),
        ("*.campus.net", "campus.net", ("*.campus.net.",)),
        ("www.example.com", "shop.svc.cluster.local", ("www.example.com.",)),
        ("a.lab.campus.net", "lab.campus.net", ("a.lab.campus.net.", "a")),
        ("a.lab.campus.net", "far.campus.net", ("a.lab.campus.net.", "a.lab", "a.lab.campus")),
        ("a.lab.campus.net", "example.com", ("a.lab.campus.net.",)),
        ("10.0.0.1", "example.com", ()),
        ("2001:db8::1", "example.com", ()),
    ],
)
def test_alternates(host, domain, expected):
    assert alternates(host, domain) == expected


def service(**more) -> Service:
    return Service("api.shop.svc.cluster.local", "shop", "api", (), ObjectRef("Service", "shop", "api"), **more)


def audience(**more) -> Audience:
    return Audience(Scope("shop"), (), "shop.svc.cluster.local", **more)


def test_addresses_follow_the_family_of_the_proxy_or_else_the_first_counts():
    both = service(addresses=("10.0.0.9", "2001:db8::9"))
    assert service_domains(both, audience())[0][-1] == "10.0.0.9"
    assert service_domains(both, audience(has_ipv6=True))[0][-2:] == ("10.0.0.9", "[2001:db8::9]")
    assert service_domains(service(addresses=("2001:db8::9",)), audience())[0][-1] == "[2001:db8::9]"


def test_a_headless_service_takes_the_names_of_its_pods():
    domains, _ = service_domains(service(resolution=Resolution.HEADLESS), audience())
    assert "*.api.shop.svc.cluster.local" in domains and "*.api" in domains


def test_aliases_come_with_their_own_alternates():
    domains, alternate = service_domains(service(aliases=("old.shop.svc.cluster.local",)), audience())
    assert domains[5:] == ("old.shop.svc.cluster.local", "old.shop.svc.cluster.local.", "old", "old.shop.svc", "old.shop")
    assert "old" in alternate and "old.shop.svc.cluster.local" not in alternate


def test_with_port():
    assert with_port(("a", "b"), 81) == ("a", "a:81", "b", "b:81")


@pytest.mark.parametrize("domain", ["shop.svc.cluster.local", "till.svc.cluster.local", "shop.svc.other.net", "lab.campus.net", ""])
@pytest.mark.parametrize("aliases", [(), ("old.till.svc.cluster.local",), ("www.lab.campus.net",)])
def test_who_is_not_at_home_calls_a_service_as_all_strangers_do(domain, aliases):
    one = service(aliases=aliases)
    own, shared = (service_domains(one, Audience(Scope("x"), (), form)) for form in (domain, abroad(domain)))
    assert (own == shared) is not is_at_home(one, domain)
