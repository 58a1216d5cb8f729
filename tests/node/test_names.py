"""What a pod's question is answered with, and its hosts file."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.node import dns_message as dns
from lateen.node.names import Alias, Unknown, names

TABLE = {
    "entries": {
        "reviews.default.svc.cluster.local": ["10.96.0.1", "fd00::1"],
        "reviews.other.svc.cluster.local": ["10.96.0.2"],
        "db.default.svc.cluster.local": ["10.0.0.7", "10.0.0.8"],
        "api.example.com": ["240.240.0.1"],
        "*.wild.example": ["240.240.0.2"],
    },
    "headless": {"db.default.svc.cluster.local": {"db-0": ["10.0.0.7"], "db-1": ["10.0.0.8"]}},
    "aliases": {"out.default.svc.cluster.local": "Www.Example.Com."},
    "scoped": {"team": {"own.example": ["240.240.0.3"], "api.example.com": ["240.240.0.4"], "*.team.example": ["240.240.0.5"]}},
}
NAMES = names(TABLE)


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        ("reviews", "default", ("10.96.0.1", "fd00::1")),
        ("reviews", "other", ("10.96.0.2",)),
        ("reviews.other", "default", ("10.96.0.2",)),
        ("reviews.other.svc", "default", ("10.96.0.2",)),
        ("reviews.other.svc.cluster.local", "default", ("10.96.0.2",)),
        ("db-1.db.default.svc.cluster.local", "x", ("10.0.0.8",)),
        ("db", "default", ("10.0.0.7", "10.0.0.8")),
        ("api.example.com", "x", ("240.240.0.1",)),
        ("api.example.com", "team", ("240.240.0.4",)),
        ("own.example", "team", ("240.240.0.3",)),
        ("own.example", "x", Unknown.NOT_OURS),
        ("one.team.example", "team", ("240.240.0.5",)),
        ("one.team.example", "x", Unknown.NOT_OURS),
        ("reviews.default", "team", ("10.96.0.1", "fd00::1")),
        ("a.b.wild.example", "x", ("240.240.0.2",)),
        ("wild.example", "x", Unknown.NOT_OURS),
        ("out", "default", Alias("www.example.com")),
        ("nobody.default.svc.cluster.local", "default", Unknown.NO_SUCH_NAME),
        ("api.example.com.default.svc.cluster.local", "default", Unknown.NO_SUCH_NAME),
        ("nobody", "default", Unknown.NOT_OURS),
        ("example.org", "default", Unknown.NOT_OURS),
    ],
)
def test_spellings(name, namespace, expected):
    assert NAMES.answer(name, namespace) == expected


def test_a_proxy_is_not_told_addresses_the_mesh_made_up():
    assert NAMES.answer("api.example.com", "default", is_proxy=True) is Unknown.NOT_OURS
    assert NAMES.answer("a.wild.example", "default", is_proxy=True) is Unknown.NOT_OURS
    assert NAMES.answer("reviews.default.svc.cluster.local", "default", is_proxy=True) == ("10.96.0.1", "fd00::1")


def test_the_hosts_file_has_services_with_an_address_and_no_others():
    lines = NAMES.hosts("127.0.0.1\tlocalhost\n", "default").splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert "10.96.0.1\treviews.default.svc.cluster.local reviews.default.svc reviews.default reviews" in lines
    assert "10.96.0.2\treviews.other.svc.cluster.local reviews.other.svc reviews.other" in lines
    assert "240.240.0.1\tapi.example.com" in lines
    assert not [line for line in lines if "db" in line or "wild" in line]


def asked(name, kind, extra=b""):
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0" + struct.pack("!2H", kind, 1)
    return struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 1 if extra else 0) + question + extra


def test_an_answer_has_the_kind_that_was_asked_for():
    both = ("10.0.0.1", "fd00::1", "10.0.0.2")
    query = dns.query(asked("Reviews.Default", dns.A))
    assert (query.name, query.kind, query.identifier) == ("reviews.default", dns.A, 4711)
    assert dns.addresses(dns.answer(query, dns.NO_ERROR, both)) == ("10.0.0.1", "10.0.0.2")
    assert dns.addresses(dns.answer(dns.query(asked("x", dns.AAAA)), dns.NO_ERROR, both)) == ("fd00::1",)
    empty = dns.answer(dns.query(asked("x", dns.AAAA)), dns.NO_ERROR, ("10.0.0.1",))
    assert dns.addresses(empty) == () and empty[3] & 15 == dns.NO_ERROR
    assert dns.addresses(dns.answer(query, dns.NO_ERROR, both, alias="www.example.com")) == ("10.0.0.1", "10.0.0.2")


def test_what_does_not_fit_is_asked_again_over_tcp():
    many = tuple(f"10.0.{number}.1" for number in range(40))
    small = dns.query(asked("x", dns.A))
    short = dns.truncated(small, dns.answer(small, dns.NO_ERROR, many))
    assert len(short) < 512 and short[2] & 2 and dns.addresses(short) == ()
    large = dns.query(asked("x", dns.A, b"\0" + struct.pack("!HHIH", 41, 4096, 0, 0)))
    assert len(dns.addresses(dns.truncated(large, dns.answer(large, dns.NO_ERROR, many)))) == 40


@given(st.binary(max_size=80))
def test_noise_is_refused_and_nothing_else(noise):
    for message in (noise, struct.pack("!6H", 1, 0, 1, 0, 0, 0) + noise):
        try:
            dns.query(message)
        except dns.MalformedQuery:
            pass
    dns.addresses(noise)
    dns.addresses(struct.pack("!6H", 1, 0x8000, 1, 2, 0, 0) + noise)


def test_a_name_that_points_at_itself_ends():
    with pytest.raises(dns.MalformedQuery):
        dns.query(struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1")


def test_a_hosts_file_has_the_names_of_its_namespace():
    assert "240.240.0.3\town.example\n" in NAMES.hosts("", "team") and "240.240.0.4\tapi.example.com\n" in NAMES.hosts("", "team")
    assert "own.example" not in NAMES.hosts("", "default") and "240.240.0.1\tapi.example.com\n" in NAMES.hosts("", "default")
