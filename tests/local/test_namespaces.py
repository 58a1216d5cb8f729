"""Pods as network namespaces: made, joined, isolated, taken away without a trace."""

import hashlib
import os
import signal
import subprocess
import time

import pytest

from lateen.base.paths import MeshPaths
from lateen.local import processes
from lateen.local.isolation.namespaces import NamespaceIsolation
from lateen.local.isolation.seam import Launch, Mount, SpawnFailed

pytestmark = [pytest.mark.live]
if os.geteuid() != 0 and os.environ.get("CI") != "true":
    pytest.skip("needs root: pods are namespaces", allow_module_level=True)

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin"}


def traces(run):
    tag = hashlib.sha256(str(run).encode()).hexdigest()[:6]
    links = {name for name in os.listdir("/sys/class/net") if tag in name}
    return links, [line for line in open("/proc/self/mountinfo").read().splitlines() if str(run) in line]


@pytest.fixture
def isolation(tmp_path):
    made = NamespaceIsolation(MeshPaths("t", tmp_path / "run", tmp_path / "state"))
    made.open()
    yield made
    made.remove_all()
    assert traces(tmp_path / "run") == (set(), [])
    assert not list((tmp_path / "run").rglob("*.json"))


def start(isolation, network, tmp_path, *argv, **more):
    launch = Launch(argv=argv, env=ENV, log=tmp_path / f"log-{network.netns.name}", uid=65534, gid=65534, **more)
    return isolation.spawn(network, launch), launch.log


def finished(process, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(process.pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    raise AssertionError("still runs")


def test_two_pods_reach_each_other_over_both_families(isolation, tmp_path):
    one, two = isolation.create("default.one"), isolation.create("default.two")
    assert one.ipv4 != two.ipv4 and one.netns != two.netns
    server = "import socket,sys\ns=socket.create_server((sys.argv[1],80),family=socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\nprint('up',flush=True)\nwhile 1: s.accept()[0].sendall(b'hello')"
    client = "import socket,sys,time\nfor i in range(1000):\n  try: print(socket.create_connection((sys.argv[1],80),9).recv(9)); break\n  except OSError: time.sleep(.05)\nelse: sys.exit(3)"
    for address in two.addresses:
        start(isolation, two, tmp_path, "/usr/bin/python3", "-c", server, address)
        process, log = start(isolation, one, tmp_path, "/usr/bin/python3", "-c", client, address)
        assert finished(process) == 0, log.read_text()
    assert log.read_text().count("hello") == len(two.addresses)


def test_process_has_no_rights_and_its_own_files(isolation, tmp_path):
    network = isolation.create("default.one")
    etc, data = tmp_path / "etc", tmp_path / "data"
    etc.mkdir(), data.mkdir()
    data.chmod(0o777)
    (etc / "hosts").write_text("10.1.2.3 wonder\n")
    mounts = (
        Mount("/etc/lateen/pod", etc, read_only=True),
        Mount("/etc/hosts", link="lateen/pod/hosts"),
        Mount("/absent-on-host/data", data),
        Mount("/absent-on-host/data/inner", etc),
        Mount("/etc/conf.d/here", etc / "hosts"),
    )
    script = "cat /proc/self/status; hostname; getent ahostsv4 wonder | head -1; cat /etc/conf.d/here /absent-on-host/data/inner/hosts; echo kept > /absent-on-host/data/file; echo no > /etc/lateen/pod/x; id -u"
    process, log = start(isolation, network, tmp_path, "sh", "-c", script, mounts=mounts, hostname="one")
    assert finished(process) == 0
    text = log.read_text()
    for capability in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{capability}:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text and "\none\n" in text and text.count("wonder") == 3 and text.rstrip().endswith("65534")
    assert (data / "file").read_text() == "kept\n" and not (etc / "x").exists()
    assert not os.path.exists("/absent-on-host") and not os.path.exists("/etc/lateen/pod") and not os.path.exists("/etc/conf.d/here")


def test_mistakes_are_one_line(isolation, tmp_path):
    network = isolation.create("default.one")
    for argv, cwd, text in (
        (("no-such-command",), "/", "command not found: no-such-command"),
        (("sh",), "/etc/passwd", "cannot enter the working folder (Not a directory): /etc/passwd"),
        (("/etc/passwd",), "/", "user 65534 may not execute it: /etc/passwd"),
    ):
        with pytest.raises(SpawnFailed) as failure:
            start(isolation, network, tmp_path, *argv, cwd=cwd)
        assert str(failure.value) == text and failure.value.is_user
    assert isolation.processes(network) == ()


def test_removing_a_pod_ends_also_what_left_its_parent(isolation, tmp_path):
    network = isolation.create("default.one")
    process, _ = start(isolation, network, tmp_path, "sh", "-c", "setsid sh -c 'sleep 1000 & sleep 1000' & exec sleep 1000")
    until = time.monotonic() + 60
    while len(isolation.processes(network)) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    members = [processes.reference(pid) for pid in isolation.processes(network)]
    assert len(members) == 4 and process in members
    isolation.remove("default.one")
    assert not any(processes.is_alive(member) for member in members)
    assert isolation.pods() == () and not network.netns.exists()


def test_a_later_daemon_takes_over(isolation, tmp_path):
    network = isolation.create("default.one")
    process, _ = start(isolation, network, tmp_path, "sleep", "1000")
    later = NamespaceIsolation(MeshPaths("t", tmp_path / "run", tmp_path / "state"))
    later.open()
    assert later.create("default.one") == network
    assert process.pid in later.processes(network)
    assert later.create("default.two").ipv4 != network.ipv4


def test_removal_works_from_records_alone_even_half_made(tmp_path):
    paths = MeshPaths("t", tmp_path / "run", tmp_path / "state")
    program = f"""
import os, signal, pathlib
from lateen.base.paths import MeshPaths
from lateen.local.isolation import namespaces, links
isolation = namespaces.NamespaceIsolation(MeshPaths("t", pathlib.Path({str(paths.run)!r}), pathlib.Path({str(paths.state)!r})))
isolation.open(); isolation.create("a.b")
links.configure_inside = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
isolation.create("a.c")
"""
    python = os.path.join(os.path.dirname(os.path.dirname(__file__)), "..", ".venv", "bin", "python")
    assert subprocess.run([python, "-c", program], timeout=120).returncode == -signal.SIGKILL
    assert traces(paths.run) != (set(), [])
    NamespaceIsolation(paths).remove_all()
    assert traces(paths.run) == (set(), [])
