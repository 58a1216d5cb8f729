"""Endpoints are checked by kind: what is taken so has no problem when its whole message is looked at."""

from random import Random

import pytest

from lateen.mesh.model import Health, Locality
from lateen.plan.assignment import Assignment, Group, Host
from lateen.xds.assignment_message import assignment_message
from lateen.xds.check import nameless, problem
from lateen.xds.endpoints import _is_plain

ADDRESSES = ("10.0.0.1", "10.0.0.2", "fd00::1", "fe80::1%lo", "a.example.com", "", "unix:///s")
PORTS, WEIGHTS = (80, 8080, 1, 65535, 65536), (1, 2, 100, 0, 2**31, 2**32 - 1)
REGIONS = ("", "r", "x" * 5000)


def assignment(*hosts: Host, cluster: str = "c", priority: int = 0) -> Assignment:
    return Assignment(cluster, (Group(Locality(), priority, min(2**32 - 1, sum(one.weight for one in hosts)), hosts),))


def is_good(one: Assignment) -> bool:
    message = assignment_message(one)
    return not problem(message) and not nameless(message)


def test_what_is_plain_has_no_problem() -> None:
    draw = Random(7)
    verdicts = []
    for _ in range(3000):
        hosts = [
            Host(draw.choice(ADDRESSES[:3]), draw.choice(PORTS[:4]), draw.choice(WEIGHTS[:3]), draw.choice(list(Health)), draw.random() < 0.5) for _ in range(3)
        ]
        if draw.random() < 0.5:
            hosts.append(Host(draw.choice(ADDRESSES), draw.choice(PORTS), draw.choice(WEIGHTS)))
        one = Assignment(
            draw.choice(("c", "c", "c", "")),
            tuple(Group(Locality(draw.choice(REGIONS)), number * draw.choice((1, 200)), 1, tuple(hosts)) for number in range(draw.randint(0, 3))),
        )
        verdicts.append((_is_plain(one), is_good(one)))
    assert (True, False) not in verdicts
    assert verdicts.count((True, True)) > 300 and verdicts.count((False, False)) > 300


@pytest.mark.parametrize(
    "bad",
    [
        assignment(Host("10.0.0.1", 65536, 1)),
        assignment(Host("10.0.0.1", 80, 0)),
        assignment(Host("a.example.com", 80, 1)),
        assignment(Host("fe80::1%lo", 80, 1)),
        assignment(Host("10.0.0.1", 80, 2**31), Host("10.0.0.2", 80, 2**31)),
        assignment(Host("10.0.0.1", 80, 1), cluster=""),
        assignment(Host("10.0.0.1", 80, 1), priority=129),
    ],
    ids=["port", "weight", "name", "zone", "sum", "cluster", "priority"],
)
def test_what_is_bad_is_looked_at(bad: Assignment) -> None:
    assert not _is_plain(bad)
    assert not is_good(bad)


def test_addresses_alone_make_no_difference() -> None:
    plain = assignment(*(Host(f"10.0.{number // 250}.{number % 250}", 80, 1) for number in range(1000)))
    assert _is_plain(plain) and is_good(plain)
