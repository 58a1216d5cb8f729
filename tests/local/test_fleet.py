"""Pods as processes, end to end but for the mesh beside them: real namespaces, real processes, objects as control sends them."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lateen.base.paths import MeshPaths
from lateen.local import processes
from lateen.local.fleet import Fleet, FleetSettings
from lateen.local.images import NO_IMAGES, image_map
from lateen.local.isolation.namespaces import NamespaceIsolation
from lateen.local.users import User

pytestmark = [pytest.mark.live]
if os.geteuid() != 0 and os.environ.get("CI") != "true":
    pytest.skip("needs root: pods are namespaces", allow_module_level=True)

NAMESPACE = {"kind": "Namespace", "metadata": {"name": "default", "labels": {"istio-injection": "disabled"}}}
SERVER = textwrap.dedent("""
    import http.server, os, signal, sys, threading, time
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503 if os.path.exists('/data/sick') else 200); self.end_headers(); self.wfile.write(os.environ.get('VERSION', '').encode())
        def log_message(self, *a): pass
    def stop(*a):
        print('asked to stop', flush=True)
        threading.Thread(target=server.shutdown).start()
    server = http.server.ThreadingHTTPServer(('', 8080), Answer)
    signal.signal(signal.SIGTERM, stop)
    print('serving', flush=True)
    server.serve_forever()
""")


class NoMesh:
    """A mesh side for pods without one."""

    def __init__(self, *_): ...

    async def start(self): ...

    async def drain(self): ...

    async def stop(self): ...

    def state(self):
        return {}


def traces(run):
    tag = hashlib.sha256(str(run).encode()).hexdigest()[:6]
    links = [name for name in os.listdir("/sys/class/net") if tag in name]
    return links + [line for line in open("/proc/self/mountinfo").read().splitlines() if str(run) in line]


def settings(tmp_path, images=NO_IMAGES):
    paths = MeshPaths("t", tmp_path / "run", tmp_path / "state")
    isolation = NamespaceIsolation(paths)
    isolation.open()
    return FleetSettings(paths, isolation, images, User(65534, 65534), NoMesh, "local", "/usr/bin:/bin", "10.0.0.1")


class Running:
    """A fleet with the waiting a test needs."""

    def __init__(self, tmp_path, images=NO_IMAGES):
        self.fleet = Fleet(settings(tmp_path, images))
        self.isolation = self.fleet.settings.isolation
        self.task = None

    async def __aenter__(self):
        self.task = asyncio.create_task(self.fleet.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error):
        self.fleet.close()
        try:
            await asyncio.wait_for(self.task, 90)
        finally:
            self.isolation.remove_all()
        assert traces(self.fleet.settings.paths.run) == []

    async def until(self, claim, what="it"):
        async with asyncio.timeout(90):
            while not claim():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.02)

    def rows(self):
        return {row["name"]: row for row in self.fleet.rows()}

    async def ready(self, count):
        try:
            await self.until(lambda: len(self.rows()) == count and all(row["is_ready"] for row in self.rows().values()))
        except TimeoutError:
            raise AssertionError(self.rows()) from None
        return self.rows()

    def log(self, name, container="app"):
        return (self.fleet.settings.paths.pods / f"default.{name}" / "logs" / f"{container}.log").read_text()

    def get(self, ip, port=8080):
        return subprocess.run(["curl", "-sS", "-m", "30", f"http://{ip}:{port}/"], capture_output=True, text=True, timeout=60).stdout


def deployment(name="web", replicas=2, version="v1", **container):
    container = {
        "name": "app",
        "command": ["/usr/bin/python3", "-c", SERVER],
        "env": [{"name": "VERSION", "value": version}],
        "ports": [{"containerPort": 8080}],
        **container,
    }
    spec = container.pop("pod", {})
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 5, **spec}}
    return {"kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": {"replicas": replicas, "template": template}}


async def test_update_scaling_and_deletion_by_editing(tmp_path):
    async with Running(tmp_path) as running:
        running.fleet.apply([NAMESPACE, deployment(replicas=2)], (), True)
        first = await running.ready(2)
        assert {running.get(row["ip"]) for row in first.values()} == {"v1"}
        least = 2
        running.fleet.apply([deployment(replicas=2, version="v2")], (), False)

        def updated():
            nonlocal least
            rows = running.rows()
            least = min(least, sum(row["is_ready"] for row in rows.values()))
            return len(rows) == 2 and not rows.keys() & first.keys() and all(row["is_ready"] for row in rows.values())

        await running.until(updated)
        assert least == 2  # 25 % of two pods rounds to none that may be missing
        second = running.rows()
        assert {running.get(row["ip"]) for row in second.values()} == {"v2"}
        running.fleet.apply([deployment(replicas=3, version="v2")], (), False)
        third = await running.ready(3)
        assert second.keys() <= third.keys() and all(third[name]["pids"] == second[name]["pids"] for name in second)
        running.fleet.apply([deployment(replicas=1, version="v2")], (), False)
        await running.ready(1)
        assert running.fleet.restart("default", "Deployment", "web")
        await running.until(
            lambda: len(running.rows()) == 1 and not running.rows().keys() & third.keys() and all(r["is_ready"] for r in running.rows().values())
        )
        running.fleet.apply((), ["Deployment/default/web"], False)
        await running.ready(0)


async def test_environment_volumes_and_what_the_process_sees(tmp_path):
    objects = [
        NAMESPACE,
        {"kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "default"}, "data": {"greeting": "hello", "other.txt": "text"}},
        {"kind": "Secret", "metadata": {"name": "hidden", "namespace": "default"}, "data": {"key": base64.b64encode(b"s3cret").decode()}},
        {
            "kind": "Pod",
            "metadata": {"name": "one", "namespace": "default", "labels": {"app": "one"}},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": {"fsGroup": 4242},
                "initContainers": [
                    {"name": "init", "command": ["sh", "-c", "echo from-init > /shared/file"], "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
                ],
                "containers": [
                    {
                        "name": "app",
                        "command": ["sh", "-c"],
                        "args": [
                            'echo "$MADE"; echo $HIDDEN $greeting $IP $NAME $LABEL $CPU; cat /shared/file /etc/conf/other.txt /secret/key /info/labels; id; hostname; grep -c one /etc/hosts; pwd; echo x > /etc/conf/greeting; echo done'
                        ],
                        "workingDir": "/usr",
                        "securityContext": {"runAsUser": 1234, "runAsGroup": 1235},
                        "resources": {"limits": {"cpu": "1500m"}},
                        "envFrom": [{"configMapRef": {"name": "conf"}}],
                        "env": [
                            {"name": "HIDDEN", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "key"}}},
                            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                            {"name": "MADE", "value": "$(greeting)-$(NAME)-$$(x)-$(absent)"},
                        ],
                        "volumeMounts": [
                            {"name": "shared", "mountPath": "/shared"},
                            {"name": "conf", "mountPath": "/etc/conf"},
                            {"name": "hidden", "mountPath": "/secret/key", "subPath": "key"},
                            {"name": "info", "mountPath": "/info"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "shared", "emptyDir": {}},
                    {"name": "conf", "configMap": {"name": "conf"}},
                    {"name": "hidden", "secret": {"secretName": "hidden"}},
                    {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                ],
            },
        },
    ]
    async with Running(tmp_path) as running:
        running.fleet.apply(objects, (), True)
        await running.until(lambda: running.rows() and running.rows()["one"]["phase"] == "Succeeded")
        text = running.log("one")
        assert text.startswith("hello-one-$(x)-$(absent)\ns3cret hello 10."), text
        for part in (" one one 2\n", "from-init\n", "text", "s3cret", 'app="one"', "uid=1234 gid=1235 groups=1235,4242", "\none\n2\n/usr\n", "done"):
            assert part in text, (part, text)
        assert "Read-only file system" in text or "Permission denied" in text
        assert not Path("/shared").exists() and not Path("/etc/conf").exists()
        report = running.fleet.pod_objects()[0]
        assert report["status"]["phase"] == "Succeeded" and json.dumps(report)


async def test_crashes_are_backed_off_and_mistakes_are_told(tmp_path):
    async with Running(tmp_path) as running:
        broken = deployment("broken", 1, command=["no-such-command"])
        missing = deployment("missing", 1, envFrom=[{"configMapRef": {"name": "later"}}])
        crashing = deployment("crashing", 1, command=["sh", "-c", "echo again; exit 3"])
        no_image = deployment("image", 1, command=[], image="docker.io/some/thing:1")
        wrong = deployment("wrong", 1)
        del wrong["spec"]["template"]["spec"]["containers"]
        running.fleet.apply([NAMESPACE, broken, missing, crashing, no_image, wrong], (), True)

        def row(prefix):
            return next(row for name, row in running.rows().items() if name.startswith(prefix))

        await running.until(
            lambda: len(running.rows()) == 4 and row("crashing")["restarts"] >= 1 and all(row(p)["message"] for p in ("broken", "missing", "image"))
        )
        assert row("broken")["message"] == "app: command not found: no-such-command"
        await running.until(lambda: row("crashing")["message"] == "app: it ended with 3; its last words: again")
        assert row("missing")["message"] == "app: ConfigMap not found: later"
        assert row("image")["message"] == "app: image docker.io/some/thing:1 is not in the image map and container app has no command; add it with --image-map"
        assert running.fleet.problems == {"Deployment/default/wrong": "spec.containers is empty"}
        running.fleet.apply([{"kind": "ConfigMap", "metadata": {"name": "later", "namespace": "default"}}], (), False)
        await running.until(lambda: row("missing")["is_ready"])


async def test_the_working_folder_is_made_where_there_is_none_and_the_host_sees_nothing(tmp_path):
    hidden = Path("/srv/lateen-test-absent/inner")
    over, stay = {"name": "over", "mountPath": "/srv"}, ["sh", "-c", "pwd; exec sleep 60"]
    async with Running(tmp_path) as running:
        running.fleet.apply(
            [
                NAMESPACE,
                deployment("fresh", 1, command=stay, ports=[], workingDir=str(hidden)),
                deployment(
                    "covered", 1, command=stay, ports=[], workingDir="/srv/in-volume", volumeMounts=[over], pod={"volumes": [{"name": "over", "emptyDir": {}}]}
                ),
                deployment("blocked", 1, command=stay, ports=[], workingDir="/etc/passwd"),
            ],
            (),
            True,
        )

        def row(prefix):
            return next((row for name, row in running.rows().items() if name.startswith(prefix)), {})

        await running.until(lambda: row("fresh").get("is_ready") and row("covered").get("is_ready") and row("blocked").get("message"))
        names = {name.split("-")[0]: name for name in running.rows()}
        assert running.log(names["fresh"]) == f"{hidden}\n" and running.log(names["covered"]) == "/srv/in-volume\n"
        assert row("blocked")["message"] == "app: cannot enter the working folder (Not a directory): /etc/passwd"
        assert not hidden.parent.exists()


async def test_probes_move_readiness_and_restart(tmp_path):
    probe = {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 1, "failureThreshold": 1}
    web = deployment(
        "web",
        1,
        ports=[{"name": "http", "containerPort": 8080}],
        readinessProbe=probe,
        livenessProbe=probe | {"failureThreshold": 4, "exec": {"command": ["test", "!", "-e", "/data/dead"]}, "httpGet": None},
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
        pod={"volumes": [{"name": "data", "emptyDir": {}}]},
    )
    async with Running(tmp_path) as running:
        running.fleet.apply([NAMESPACE, web], (), True)
        ((name, row),) = (await running.ready(1)).items()
        data = running.fleet.settings.paths.pods / f"default.{name}" / "volumes" / "data"
        (data / "sick").touch()
        await running.until(lambda: not running.rows()[name]["is_ready"])
        assert "answered with status 503" in running.rows()[name]["message"] and running.rows()[name]["pids"] == row["pids"]
        (data / "sick").unlink()
        await running.ready(1)
        (data / "dead").touch()
        await running.until(lambda: running.rows()[name]["restarts"] == 1)
        (data / "dead").unlink()
        await running.ready(1)
        assert "asked to stop" in running.log(name)


async def test_sets_are_ordered_jobs_end_and_leave(tmp_path):
    stateful = deployment("db", 3) | {"kind": "StatefulSet"}
    job = {
        "kind": "Job",
        "metadata": {"name": "once", "namespace": "default"},
        "spec": {"completions": 2, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "app", "command": ["true"]}]}}},
    }
    async with Running(tmp_path) as running:
        running.fleet.apply([NAMESPACE, stateful], (), True)
        assert list(await running.ready(3)) == ["db-0", "db-1", "db-2"]
        running.fleet.apply([deployment("db", 2) | {"kind": "StatefulSet"}, job], (), False)
        await running.until(
            lambda: (
                {name: row["phase"] for name, row in running.rows().items()}
                == {"db-0": "Running", "db-1": "Running", "once-0": "Succeeded", "once-1": "Succeeded"}
            )
        )
        running.fleet.apply((), ["Job/default/once"], False)
        await running.ready(2)


async def test_an_image_map_says_how_an_image_runs(tmp_path):
    apps = tmp_path / "apps"
    apps.mkdir()
    (apps / "server.py").write_text(SERVER)
    (apps / "content").mkdir()
    for folder in [apps, *list(apps.parents)[:3]]:
        folder.chmod(0o755)
    (apps / "map.yaml").write_text(
        "images: [{match: 'some/thing*', command: [/usr/bin/python3, server.py], env: {VERSION: mapped}, mounts: [{from: content, to: /opt/content}]}]"
    )
    async with Running(tmp_path, image_map(apps / "map.yaml")) as running:
        running.fleet.apply([NAMESPACE, deployment("web", 1, command=["/bin/never"], image="docker.io/some/thing:1.2", env=[])], (), True)
        ((_, row),) = (await running.ready(1)).items()
        assert running.get(row["ip"]) == "mapped"


CHILD = """
import asyncio, json, os, sys, pathlib
sys.path.insert(0, {tests!r})
from test_fleet import settings, Fleet
async def main():
    fleet = Fleet(settings(pathlib.Path(sys.argv[1])))
    objects = json.loads(pathlib.Path(sys.argv[2]).read_text())
    task = asyncio.create_task(fleet.run())
    await asyncio.sleep(0)
    fleet.apply(objects, (), True)
    while True:
        await asyncio.sleep(0.05)
        pathlib.Path(sys.argv[1], "rows.new").write_text(json.dumps(fleet.rows()))
        os.rename(sys.argv[1] + "/rows.new", sys.argv[1] + "/rows")
asyncio.run(main())
"""


async def test_a_killed_node_is_taken_over_with_the_same_processes(tmp_path):
    (tmp_path / "objects").write_text(json.dumps([NAMESPACE, deployment(replicas=2)]))
    program = CHILD.format(tests=str(Path(__file__).parent))
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(tmp_path / "objects")])
    rows = []
    until = time.monotonic() + 90
    while time.monotonic() < until and not (len(rows) == 2 and all(row["is_ready"] for row in rows)):
        await asyncio.sleep(0.05)
        rows = json.loads((tmp_path / "rows").read_text()) if (tmp_path / "rows").exists() else []
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = {row["name"]: row["pids"] for row in rows}
    assert len(before) == 2
    victim = processes.reference(rows[0]["pids"]["app"])
    processes.send(victim, signal.SIGKILL)  # it ends while no node watches
    async with Running(tmp_path) as running:
        await running.until(lambda: running.rows()[rows[0]["name"]]["restarts"] == 1)
        after = await running.ready(2)
        assert after[rows[1]["name"]]["pids"] == before[rows[1]["name"]] and after[rows[1]["name"]]["restarts"] == 0
        assert after[rows[0]["name"]]["pids"] != before[rows[0]["name"]]
        assert running.get(after[rows[1]["name"]]["ip"]) == "v1"


def entered(state, container, *argv):
    program = f"import json,sys; from lateen.local.enter import enter, CannotEnter\ntry: enter(json.loads(sys.argv[1]), {container!r}, sys.argv[2:])\nexcept CannotEnter as error: sys.exit(str(error))"
    return subprocess.run([sys.executable, "-c", program, json.dumps(state), *argv], capture_output=True, text=True, timeout=60, input="from the terminal\n")


async def test_a_command_in_a_pod_is_the_application_s_neighbour(tmp_path):
    web = deployment(
        "web",
        1,
        env=[{"name": "VERSION", "value": "v7"}],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
        workingDir="/usr",
        pod={"volumes": [{"name": "data", "emptyDir": {}}]},
    )
    async with Running(tmp_path) as running:
        running.fleet.apply([NAMESPACE, web], (), True)
        ((name, row),) = (await running.ready(1)).items()
        state = json.loads((running.fleet.settings.paths.pods / f"default.{name}" / "state.json").read_text())
        script = "id -u; pwd; echo $VERSION; hostname; cat; touch /data/made && ls /data; grep CapEff /proc/self/status; curl -s http://127.0.0.1:8080/; exit 7"
        done = await asyncio.to_thread(entered, state, None, "sh", "-c", script)
        assert done.returncode == 7, done
        assert done.stdout.split("\n") == ["65534", "/usr", "v7", name, "from the terminal", "made", "CapEff:\t0000000000000000", "v7"], done
        assert row["ip"] in (await asyncio.to_thread(entered, state, "app", "hostname", "-I")).stdout
        for container, argv, text in (
            ("other", ["true"], f"pod default/{name} has no container other; it has: app"),
            ("app", ["no-such"], "command not found: no-such"),
        ):
            failed = await asyncio.to_thread(entered, state, container, *argv)
            assert failed.returncode == 1 and failed.stderr.strip() == text


def ip(*words):
    subprocess.run(["ip", *words], check=True, timeout=10)


async def test_services_without_a_proxy_and_the_way_out(tmp_path):
    tag = f"ltt{os.getpid() % 100000}"
    service = {
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    web = deployment(
        "web", 2, ports=[{"name": "http", "containerPort": 8080}], env=[{"name": "VERSION", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    )
    client = deployment("client", 1, command=["sleep", "1000"], ports=[])
    outsider = None
    ip("netns", "add", tag)
    try:
        ip("link", "add", tag, "type", "veth", "peer", "name", "eth0", "netns", tag)
        ip("addr", "add", "198.51.100.1/24", "dev", tag)
        ip("link", "set", tag, "up")
        ip("-n", tag, "addr", "add", "198.51.100.2/24", "dev", "eth0")
        ip("-n", tag, "link", "set", "eth0", "up")
        outside = "import socket\ns=socket.create_server(('198.51.100.2',80))\nwhile 1:\n c,a=s.accept(); c.sendall(a[0].encode()); c.close()"
        outsider = subprocess.Popen(["ip", "netns", "exec", tag, "/usr/bin/python3", "-c", outside])
        async with Running(tmp_path) as running:
            running.fleet.set_names({"web.default.svc.cluster.local": ["10.255.77.7"]})
            running.fleet.apply([NAMESPACE, service, web, client], (), True)
            rows = await running.ready(3)
            name = next(name for name in rows if name.startswith("client"))
            state = json.loads((running.fleet.settings.paths.pods / f"default.{name}" / "state.json").read_text())

            async def leads_to(pods):
                script = "for i in $(seq 20); do curl -s -m 2 http://10.255.77.7/; echo; done"
                async with asyncio.timeout(60):
                    while set((await asyncio.to_thread(entered, state, None, "sh", "-c", script)).stdout.split()) != pods:
                        await asyncio.sleep(0.05)

            await leads_to({name for name in rows if name.startswith("web")})
            running.fleet.apply([web | {"spec": web["spec"] | {"replicas": 1}}], (), False)
            rest = {name for name in await running.ready(2) if name.startswith("web")}
            await leads_to(rest)
            told = await asyncio.to_thread(
                entered, state, None, "/usr/bin/python3", "-c", "import socket; print(socket.create_connection(('198.51.100.2', 80), 5).recv(99).decode())"
            )
            assert told.stdout.strip() == "198.51.100.1", told
    finally:
        if outsider is not None:
            outsider.kill()
            outsider.wait()
        ip("netns", "del", tag)
        subprocess.run(["ip", "link", "del", tag], capture_output=True, timeout=10)
