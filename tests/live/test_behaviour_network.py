"""What a mesh does below and around requests: localities, TCP weights, TLS by SNI, names of every kind, and pods that are not in the mesh."""

import json
import sys
from collections import Counter

from tests.live.harness import BEHAVIOUR, Mesh, until


def versions(mesh: Mesh, url: str, times: int, *options: str, namespace: str = "shop") -> Counter[str]:
    """Which version, or what else, answered how often; each request has a connection of its own."""
    script = f'for i in $(seq {times}); do curl -s --max-time 10 "$@" {url}; echo; done'
    done = mesh.exec("deploy/client", "sh", "-c", script, "sh", *options, namespace=namespace)
    return Counter(json.loads(line)["version"] if line.startswith("{") else line for line in done.stdout.splitlines() if line)


def test_the_near_zone_answers_until_it_fails(shop: Mesh) -> None:
    assert versions(shop, "http://near:8000/", 12) == {"v1": 12}  # the client's zone
    pod = next(item["name"] for item in shop.json("ps")["pods"] if item["name"].startswith("echo-v1"))
    assert shop.exec(pod, "curl", "-s", "http://127.0.0.1:8000/break", namespace="shop").returncode == 0
    until(lambda: versions(shop, "http://near:8000/", 4) == {"v2": 4}, 60, "the next zone answers")
    assert shop.exec(pod, "curl", "-s", "http://127.0.0.1:8000/mend", namespace="shop").returncode == 0


def test_tcp_connections_are_weighed(shop: Mesh) -> None:
    done = shop.exec("deploy/client", sys.executable, str(BEHAVIOUR / "client.py"), "lines", "lines", "9000", "400", namespace="shop")
    share = Counter(json.loads(done.stdout))
    assert share.total() == 400
    assert 240 <= share["v1"] <= 360, share  # 300 expected, standard deviation 9


def test_tls_passes_through_by_its_name(shop: Mesh) -> None:
    for name, version in (("one", "v1"), ("two", "v2")):
        assert versions(shop, f"https://{name}.shop.example/", 4, "-k", "--resolve", f"{name}.shop.example:443:240.9.9.9") == {version: 4}


def test_pods_of_a_stateful_set_by_name(shop: Mesh) -> None:
    for pod in ("db-0", "db-1"):
        status, body = shop.curl(f"http://{pod}.db:8000/", namespace="shop")
        assert (status, json.loads(body)["pod"]) == (200, pod)
        assert "x-forwarded-client-cert" in json.loads(body)["headers"]
    assert set(versions(shop, "http://db:8000/", 4)) == {"v1"}


def test_an_external_name_is_another_name(shop: Mesh) -> None:
    assert versions(shop, "http://alias:8000/", 2) == {"old": 2}


def test_a_service_entry_gives_a_foreign_name_its_port_and_address(shop: Mesh) -> None:
    assert versions(shop, "http://bought.example/", 2) == {"old": 2}


def test_pods_outside_the_mesh_call_in_and_are_called(shop: Mesh) -> None:
    assert versions(shop, "http://legacy.outside:8000/", 2) == {"old": 2}
    status, body = shop.curl("http://v2.shop:8000/", namespace="outside")
    assert (status, json.loads(body)["version"]) == (200, "v2")
    assert "x-forwarded-client-cert" not in json.loads(body)["headers"]


def test_a_pod_tells_its_status_and_all_metrics_at_one_port(shop: Mesh) -> None:
    address = next(item["ip"] for item in shop.json("ps")["pods"] if item["name"].startswith("echo-v2"))
    at = f"http://{address}:15020"
    assert shop.curl(f"{at}/healthz/ready", namespace="outside")[0] == 200
    status, page = shop.curl(f"{at}/stats/prometheus", namespace="outside")
    assert status == 200 and "envoy_server_live" in page  # the proxy's
    assert '"path": "/metrics"' in page and '"version": "v2"' in page  # and what the application answers where its annotations say
    assert shop.curl(f"{at}/quitquitquit", "-X", "POST", namespace="outside")[0] == 403
    done = shop.exec("deploy/echo-v2", "curl", "-s", "-X", "POST", "http://127.0.0.1:15020/quitquitquit", namespace="shop")
    assert (done.returncode, done.stdout) == (0, "OK")  # as a job's script ends


def test_redirected_connections_come_in_where_the_mesh_says(shop: Mesh) -> None:
    """All of this mesh goes through these ports: that it answers at all is the other half of the proof."""
    listeners = json.loads(shop.lateen("proxy-config", "listener", "deploy/client", "-n", "shop", "-o", "json").stdout)
    ports = {one["name"]: one["address"]["socket_address"]["port_value"] for one in listeners if one.get("name", "").startswith("virtual")}
    assert ports == {"virtualOutbound": 15101, "virtualInbound": 15106}
    assert versions(shop, "http://v2:8000/", 1) == {"v2": 1}


def test_a_namespace_left_out_is_a_neighbour_and_no_part_of_the_mesh(shop: Mesh) -> None:
    assert versions(shop, "http://attic.attic:8000/", 2) == {"attic": 2}  # by name and address, as on a cluster
    assert versions(shop, "http://v2.shop:8000/", 2) == {"v2": 2}  # its rule for this host does nothing
    clusters = shop.lateen("proxy-config", "cluster", "deploy/client", "-n", "shop", "-o", "json").stdout
    assert "legacy.outside" in clusters and "attic.attic" not in clusters
    done = shop.exec("deploy/attic", "curl", "-s", "--max-time", "10", "http://v2.shop:8000/", namespace="attic")
    assert json.loads(done.stdout)["version"] == "v2"


def test_a_sidecar_object_narrows_what_its_pods_know(shop: Mesh) -> None:
    assert versions(shop, "http://echo.shop:8000/", 2, namespace="narrow").total() == 2
    names = json.loads(shop.lateen("proxy-config", "cluster", "deploy/client", "-n", "narrow", "-o", "json").stdout)
    services = {name.split("|")[3] for name in json.dumps(names).split('"') if name.startswith("outbound|")}
    assert services == {"echo.shop.svc.cluster.local"}
    status, body = shop.curl("http://legacy.outside:8000/", namespace="narrow")
    assert (status, body) == (502, "")


def lines(mesh: Mesh, host: str, port: int) -> str:
    done = mesh.exec("deploy/client", sys.executable, str(BEHAVIOUR / "client.py"), "lines", host, str(port), "1", namespace="shop")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)[0]


def test_a_connection_is_tunnelled_by_connect(shop: Mesh) -> None:
    assert lines(shop, "tunnel.outside", 9100) == "connect=far.example:7777"


def test_a_proxy_header_tells_the_client_s_address(shop: Mesh) -> None:
    client = next(item["ip"] for item in shop.json("ps")["pods"] if item["name"].startswith("client") and item["namespace"] == "shop")
    assert lines(shop, "told.outside", 9100) == f"proxy={client}"
