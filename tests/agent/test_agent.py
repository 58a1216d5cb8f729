"""Parts of the agent: how answers become reports, what a probe's ways answer, which certificates and options it takes."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lateen.agent.credentials import BadCredentials, given, identity_of, write_back
from lateen.agent.health import Health, Report, answer
from lateen.agent.link import Watched
from lateen.base.spiffe import SpiffeId
from lateen.config.decode import decode
from lateen.config.kinds.istio.workload_entry import ExecProbe, TcpProbe, WorkloadGroup, WorkloadProbe
from lateen.control.agents import asked_of_members
from lateen.identity.ca import issue, new_authority
from lateen.identity.outside import issue_to
from lateen.identity.subject import WorkloadAttributes
from lateen.node.certificates import Bundle
from tests.ports import free_port

WHO = SpiffeId("cluster.local", "shop", "vm")


def said(successes: int, failures: int, answers: str) -> str:
    """Per answer (`+` well, `-` not) what is told: the same signs, `.` nothing."""
    health = Health(successes, failures)
    reports = [health.on_answer(None if each == "+" else "down") for each in answers]
    return "".join("." if one is None else "+" if one == Report(None) else "-" for one in reports)


@pytest.mark.parametrize(
    ("successes", "failures", "answers", "told"),
    [
        (0, 0, "+++", "+.."),
        (0, 0, "----", "..-."),
        (0, 0, "+--+---+", "+.....-+"),
        (2, 1, "+-++-+-++", ".-.+-...+"),
        (3, 2, "++-+++--", ".....+.-"),
    ],
)
def test_what_was_said_stays_until_a_threshold_is_reached(successes, failures, answers, told):
    """Of zero: one success, three failures in a row."""
    assert said(successes, failures, answers) == told


async def test_a_command_is_well_that_ends_with_zero_in_time():
    def probe(*command: str, timeout_seconds: int = 30) -> WorkloadProbe:
        return WorkloadProbe(exec=ExecProbe(command=command), timeout_seconds=timeout_seconds)

    assert await answer(probe("true"), "127.0.0.1") is None
    assert await answer(probe("sh", "-c", "exit 3"), "127.0.0.1") == "the command ended with 3"
    assert await answer(probe("/no/such/command"), "127.0.0.1") == "the command cannot be run: No such file or directory: /no/such/command"
    assert await answer(probe("sh", "-c", "sleep 300 & wait", timeout_seconds=1), "127.0.0.1") == "the command did not end in time"


async def test_the_application_is_asked_at_the_loopback_address_unless_the_probe_says():
    with socket.create_server(("127.0.0.5", 0)) as server:
        port = server.getsockname()[1]
        assert await answer(WorkloadProbe(tcp_socket=TcpProbe(port=port), timeout_seconds=20), "127.0.0.5") is None
        assert await answer(WorkloadProbe(tcp_socket=TcpProbe(port=port, host="127.0.0.5"), timeout_seconds=20), "127.0.0.1") is None
    assert "Connection refused" in await answer(WorkloadProbe(tcp_socket=TcpProbe(port=port), timeout_seconds=20), "127.0.0.5")


def test_what_control_tells_is_what_the_agent_reads():
    import json

    import msgspec

    text = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms, namespace: shop}
spec:
  metadata: {labels: {app: web, tier: front}}
  template: {serviceAccount: vm, labels: {tier: back}}
  probe: {periodSeconds: 3, httpGet: {path: /x, port: 80, scheme: HTTPS, httpHeaders: [{name: a, value: b}]}}
"""
    (group,) = decode(text, "t").objects
    assert isinstance(group, WorkloadGroup)
    read = msgspec.json.decode(json.dumps({"group": asked_of_members(group)}), type=Watched).group
    assert read.labels == {"app": "web", "tier": "back"}
    assert read.probe == group.spec.probe


@pytest.fixture(scope="module")
def authority():
    return new_authority("cluster.local", time.time())


def test_certificates_that_open_nothing_say_why(tmp_path, authority):
    now_s = time.time()
    with pytest.raises(BadCredentials, match=r"no certificate in .*No such file"):
        given(tmp_path)
    issue_to(tmp_path, authority, WHO, now_s)
    assert identity_of(given(tmp_path)) == WHO
    issue_to(tmp_path / "other", authority, WHO, now_s)
    (tmp_path / "mixed").mkdir()
    for source, name in (("other", "key.pem"), (".", "cert-chain.pem"), (".", "root-cert.pem")):
        (tmp_path / "mixed" / name).write_bytes((tmp_path / source / name).read_bytes())
    with pytest.raises(BadCredentials, match="do not belong together"):
        given(tmp_path / "mixed")
    issue_to(tmp_path / "old", authority, WHO, now_s - 7200, 3600)
    with pytest.raises(BadCredentials, match=r"ended at 20\d\d-.*lateen ca issue"):
        given(tmp_path / "old")
    (tmp_path / "other" / "cert-chain.pem").write_text("nonsense")
    with pytest.raises(BadCredentials, match="not readable"):
        given(tmp_path / "other")


def test_a_renewed_certificate_is_what_the_next_start_finds(tmp_path, authority):
    issue_to(tmp_path, authority, WHO, time.time())
    issued, key = issue(authority, WHO, WorkloadAttributes(), 3600.0, time.time())
    write_back(tmp_path, Bundle(issued.chain, key, issued.root))
    assert given(tmp_path).chain == issued.chain
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    write_back(tmp_path / "nowhere", Bundle(issued.chain, key, issued.root))


def agent(home: Path, **options: str) -> tuple[int, str]:
    """(exit code, what it said) of an agent that cannot begin."""
    given_ = {"control": "127.0.0.1:15012", "certificates": str(home / "none"), "group": "shop/vms", "address": "127.0.0.9", **options}
    arguments = [part for name, value in given_.items() for part in (f"--{name}", value)]
    environment = os.environ | {"LATEEN_RUN": str(home / "run")}
    done = subprocess.run([sys.executable, "-m", "lateen", "agent", *arguments], capture_output=True, text=True, timeout=120, env=environment)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"control": "nowhere"}, 2, "--control: not HOST:PORT: `nowhere`"),
        ({"group": "vms"}, 2, "--group: not NAMESPACE/NAME: `vms`"),
        ({"address": "here"}, 2, "--address: not an IP address: `here`"),
        ({"address": "127.0.0.1"}, 2, "--address 127.0.0.1: the process itself listens there"),
        ({"address": "198.51.100.7"}, 2, "--address: cannot listen at 198.51.100.7: Cannot assign requested address"),
        ({"label": "version"}, 2, "--label: not KEY=VALUE: `version`"),
        ({}, 1, "no certificate in"),
    ],
)
def test_what_keeps_it_from_beginning_is_one_line(tmp_path, options, code, text):
    done, words = agent(tmp_path, **options)
    assert done == code, words
    assert text in words
    assert len(words.splitlines()) == 1


def test_a_port_that_is_taken_and_a_group_of_another_namespace(tmp_path, authority):
    issue_to(tmp_path / "c", authority, WHO, time.time())
    assert "the certificate is for namespace shop, the group is in other" in agent(tmp_path, certificates=str(tmp_path / "c"), group="other/vms")[1]
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert f"--http-proxy: cannot listen at 127.0.0.1:{port}: Address already in use" in agent(tmp_path, **{"http-proxy": str(port)})[1]
