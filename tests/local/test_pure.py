"""Addresses, placement, publishing, images, labels: what needs no machine."""

import pytest

from lateen.local import placement, workloads
from lateen.local.images import ImageMapError, image_map
from lateen.local.isolation.addresses import NoAddress, free_host, subnets
from lateen.local.lifecycle import Status
from lateen.local.pods import PodMachine, new_state
from lateen.local.podspec import Place, Pod, PodMeta, decoded
from lateen.local.publishing import published
from lateen.local.report import labels, pod_object, workload_name
from lateen.local.workloads import BadWorkload, Existing, step, template_pod, workload


def test_networks_avoid_what_is_taken_and_stay_the_same():
    free = subnets("a", ())
    assert subnets("a", ("0.0.0.0/0", "192.168.0.0/16", "fe80::/64", "::/0")) == free
    other = subnets("a", (str(free.ipv4[5]) + "/32", str(free.ipv6[7]) + "/128"))
    assert not other.ipv4.overlaps(free.ipv4) and not other.ipv6.overlaps(free.ipv6)
    assert subnets("a", ("10.0.0.0/9",)).ipv4.subnet_of(type(free.ipv4)("10.128.0.0/9"))
    with pytest.raises(NoAddress):
        subnets("a", ("10.0.0.0/8",))


def test_hosts_rest_before_they_are_used_again():
    network = subnets("a", ())
    assert free_host(network, frozenset(), 1) == 2
    assert free_host(network, frozenset({3, 4}), 2) == 5
    assert free_host(network, frozenset(), 4094) == 2
    with pytest.raises(NoAddress):
        free_host(network, frozenset(range(2, 4095)), 17)


def test_a_pod_goes_where_its_selector_says():
    nodes = {"a": {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z1"}, "b": {"topology.kubernetes.io/zone": "z2"}}
    spec = decoded({"containers": [{"name": "x"}], "nodeSelector": {"topology.kubernetes.io/zone": "z2"}})
    assert placement.place(spec, {}, 0, nodes, "here") == Place(node="b", zone="z2")
    assert [placement.place(decoded({}), {}, number, nodes, "here").node for number in range(3)] == ["a", "b", "a"]
    assert placement.place(spec, {}, 0, {}, "here") == Place(node="here", zone="z2")
    assert placement.place(decoded({"nodeName": "a"}), {"istio-locality": "x.y"}, 0, nodes, "here") == Place(node="a", region="x", zone="y")


def deployment(name="web", replicas=4, image="v1", **spec):
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": image}]}}
    return workload({"kind": "Deployment", "metadata": {"name": name, "namespace": "n"}, "spec": {"replicas": replicas, "template": template, **spec}})


def simulate(source, existing, rounds=50):
    """The least number of ready pods and the largest number of pods on the way, when every pod gets ready a round after its start."""
    least, most = 99, 0
    for _ in range(rounds):
        existing = [Existing(each.pod, True) for each in existing if not each.is_leaving]
        now = step(source, existing, {})
        gone = {pod.key for pod in now.stop}
        existing = [Existing(each.pod, each.is_ready and each.pod.key not in gone, is_leaving=each.pod.key in gone) for each in existing]
        existing += [Existing(pod) for pod in now.start]
        least, most = min(least, sum(each.is_ready for each in existing)), max(most, sum(not each.is_leaving for each in existing))
    return existing, least, most


@pytest.mark.parametrize(
    ("rolling", "least", "most"),
    [({}, 3, 4), ({"maxSurge": 1, "maxUnavailable": 0}, 4, 5), ({"maxSurge": 0, "maxUnavailable": 2}, 2, 4), ({"maxSurge": "100%", "maxUnavailable": 0}, 4, 8)],
)
def test_a_rolling_update_keeps_its_bounds(rolling, least, most):
    strategy = {"strategy": {"rollingUpdate": rolling}}
    existing, _, _ = simulate(deployment(**strategy), [])
    existing, fewest, greatest = simulate(deployment(image="v2", **strategy), existing)
    assert {each.pod.spec.containers[0].image for each in existing} == {"v2"} and len(existing) == 4
    assert (fewest, greatest) == (least, most)


def test_recreate_waits_until_all_are_gone():
    existing, _, _ = simulate(deployment(), [])
    source = deployment(image="v2", strategy={"type": "Recreate"})
    assert step(source, existing, {}).start == () and len(step(source, existing, {}).stop) == 4
    leaving = [Existing(each.pod, is_leaving=True) for each in existing]
    assert step(source, leaving, {}) == workloads.Step()
    assert len(step(source, [], {}).start) == 4


def test_names_and_owners_are_a_cluster_s():
    pod = template_pod(deployment(), 0, {})
    revision = pod.metadata.labels["pod-template-hash"]
    assert pod.metadata.name == f"web-{revision}-0" and pod.metadata.owner_references[0].name == f"web-{revision}" and workload_name(pod) == "web"
    assert template_pod(deployment(image="v2"), 0, {}).revision != pod.revision and template_pod(deployment(replicas=1), 0, {}).revision == pod.revision
    assert labels(pod)["security.istio.io/tlsMode"] == "istio" and labels(pod)["service.istio.io/canonical-name"] == "web"


@pytest.mark.parametrize(
    ("pod_labels", "annotations", "namespace", "expected"),
    [
        ({}, {}, {}, True),
        ({}, {}, {"istio-injection": "disabled"}, False),
        ({"sidecar.istio.io/inject": "true"}, {}, {"istio-injection": "disabled"}, True),
        ({"sidecar.istio.io/inject": "false"}, {}, {"istio-injection": "enabled"}, False),
        ({}, {"sidecar.istio.io/inject": "false"}, {}, False),
        ({"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}, {}, True),
    ],
)
def test_everything_is_meshed_but_what_says_no(pod_labels, annotations, namespace, expected):
    assert workloads.is_meshed({"labels": pod_labels, "annotations": annotations}, namespace) is expected


def test_a_bad_workload_says_where():
    source = workload(
        {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": "no"}]}]}}}}
    )
    with pytest.raises(BadWorkload, match=r"containers\[0\].ports\[0\].containerPort"):
        template_pod(source, 0, {})


def gateway(name="gw", ready=True):
    spec = decoded({"containers": [{"name": "istio-proxy", "image": "auto", "ports": [{"name": "web", "containerPort": 8080}]}]})
    machine = PodMachine(new_state(Pod(metadata=PodMeta(name=name, namespace="n", labels={"istio": "gw"}), spec=spec, is_gateway=True), 0))
    machine.state.is_prepared, machine.state.is_proxy_ready, machine.state.addresses = True, ready, ("10.0.0.2",)
    return machine


def service(name, *ports, created="2020"):
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": created},
        "spec": {"selector": {"istio": "gw"}, "ports": list(ports)},
    }


def test_ports_of_gateways_are_offered_the_older_first():
    found = published(
        [service("new", {"port": 80, "targetPort": 8081}, created="2021"), service("old", {"port": 80, "targetPort": "web"}, {"port": 15021})],
        [gateway(), gateway("b", ready=False)],
        {},
    )
    assert [(each.service, each.host_port, each.targets) for each in found] == [("old", 8080, (("10.0.0.2", 8080),)), ("new", 8080, (("10.0.0.2", 8081),))]
    assert found[0].problem == "" and found[1].problem == "port 8080 is offered for n/old already; choose another: --publish 80=9080"
    assert published([service("s", {"port": 443})], [gateway()], {443: 9443})[0].shown()["url"] == "https://127.0.0.1:9443"
    assert "is no port; choose one: --publish 60000=" in published([service("s", {"port": 60000})], [gateway()], {})[0].problem
    assert published([service("s", {"port": 80})], [], {}) == ()


def test_an_image_map_is_relative_to_itself_and_says_what_is_wrong(tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(
        "images:\n- {match: 'examples-*', command: [./bin/run, data/x], workingDir: w, mounts: [{from: a, to: /b}]}\n- {match: '*', command: [other]}"
    )
    found = image_map(path).run("docker.io/examples-x:1@sha256:00")
    assert found.command == (f"{tmp_path}/bin/run", "data/x") and found.working_dir == f"{tmp_path}/w" and str(found.mounts[0].source) == f"{tmp_path}/a"
    assert image_map(path).run("nginx").command == ("other",)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "run").symlink_to("/bin/sh")  # as the interpreter of a virtual environment is one
    assert image_map(path).run("examples-x").command[0] == f"{tmp_path}/bin/run"
    for text, part in (
        ("images: [{mach: x}]", "unknown field `mach`"),
        ("images: [", "is wrong"),
        ("[" * 40000, "too many brackets"),
        ("images: 3", "Expected `array`"),
    ):
        path.write_text(text)
        with pytest.raises(ImageMapError, match=part):
            image_map(path)
    with pytest.raises(ImageMapError, match="cannot read"):
        image_map(tmp_path / "absent")


def test_the_report_is_a_pod():
    machine = PodMachine(new_state(template_pod(deployment(), 0, {}), 5.0))
    machine.state.containers["app"].status = Status.WAITING
    machine.state.containers["app"].reason, machine.state.containers["app"].message = "RunContainerError", "command not found: x"
    found = pod_object(machine, 1_700_000_000.0, "10.0.0.1")
    assert found["metadata"]["creationTimestamp"] == "2023-11-14T22:13:25Z" and found["status"]["phase"] == "Pending"
    assert found["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "RunContainerError", "message": "command not found: x"}}
