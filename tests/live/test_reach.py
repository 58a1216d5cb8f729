"""All ways to reach something: what ServiceEntries name, workloads by selector, Sidecars' own listeners, machines in zones, and a gateway's kinds of TLS."""

import json
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.harness import BEHAVIOUR, Mesh, need_namespaces, until
from tests.live.test_ingress_tls import certificate, write_secret
from tests.ports import free_port

FOLDER = Path(__file__).parent / "reach"


@dataclass(frozen=True)
class Market:
    """The mesh, and what only this run knows: addresses of pods by the beginning of their names, ports, the gateway's certificate."""

    mesh: Mesh
    addresses: dict[str, str]
    tls_port: int
    through_port: int
    known_client: str

    def get(self, *arguments: str, namespace: str = "market") -> tuple[int, dict]:
        """(status, what the application said)."""
        status, body = self.mesh.curl(*arguments, namespace=namespace)
        return status, json.loads(body) if body.startswith("{") else {"body": body}

    def version(self, *arguments: str, namespace: str = "market") -> tuple[int, str]:
        """(status, which application)."""
        status, said = self.get(*arguments, namespace=namespace)
        return status, said.get("version", str(said))

    def lines(self, host: str, port: int, times: int = 1) -> list[str]:
        """Which application answered over TCP."""
        script = ("lines", host, str(port), str(times))
        done = self.mesh.exec("deploy/client", sys.executable, str(BEHAVIOUR / "client.py"), *script, namespace="market")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    """Up with its pods, then with all that is said about them: those rules name addresses."""
    need_namespaces()
    mesh = Mesh("reach")
    try:
        mesh.home.chmod(0o755)
        folder, sockets = mesh.home / "yaml", mesh.home / "sockets"
        folder.mkdir()
        sockets.mkdir()
        sockets.chmod(0o777)
        (folder / "mesh.yaml").write_text((FOLDER / "mesh.yaml").read_text().replace("@UNIX@", str(sockets)))
        chain, key, _ = certificate("edge.example")
        known = certificate("known client")
        write_secret(folder / "edge.yaml", "edge", chain, key, known[0])
        ports = free_port(), free_port()
        publish = [part for port, at in zip((443, 15443), ports, strict=True) for part in ("--publish", f"{port}={at}")]
        mesh.start(folder, options=("--image-map", str(FOLDER / "image-map.yaml"), *publish))
        addresses = {item["name"].rsplit("-", 2)[0]: item["ip"] for item in mesh.json("ps")["pods"] if not item["name"].startswith("client")}
        text = (FOLDER / "rules.yaml").read_text().replace("@UNIX@", str(sockets))
        for word, pod in (("LEGACY", "legacy"), ("EAST", "stall-east"), ("WEST", "stall-west")):
            text = text.replace(f"@{word}@", addresses[pod])
        (folder / "rules.yaml").write_text(text)
        made = Market(mesh, addresses, *ports, known[0] + known[1])
        until(lambda: made.version("http://path.example/") == (200, "inner") and mesh.is_ready(), 60, "the rules are live")
        yield made
    finally:
        mesh.close()


def test_an_entry_without_resolution_goes_where_the_client_went(market: Market) -> None:
    legacy = market.addresses["legacy"]
    assert market.version(f"http://{legacy}:8000/") == (200, "old")
    assert market.lines(legacy, 9000) == ["old"]
    log = market.mesh.lateen("logs", "deploy/client", "-n", "market", "--access").stdout
    until(lambda: "outbound|9000||none.example" in market.mesh.lateen("logs", "deploy/client", "-n", "market", "--access").stdout, 60, log)


def test_a_wildcard_entry_goes_where_the_client_went(market: Market) -> None:
    for name in ("a.wild.example", "b.c.wild.example"):
        assert market.version("--connect-to", f"{name}:8000:{market.addresses['stall-west']}:8000", f"http://{name}:8000/")[0] in (502, 503)  # STRICT there
        assert market.version("--connect-to", f"{name}:8000:{market.addresses['legacy']}:8000", f"http://{name}:8000/") == (200, "old")


def test_an_entry_at_a_unix_socket(market: Market) -> None:
    assert market.version("http://path.example/") == (200, "inner")


def test_entries_by_name(market: Market) -> None:
    assert market.version("http://turns.example/") == (200, "old")
    assert market.version("http://legacy.far.svc.cluster.local:8000/") == (200, "old")
    assert market.version("http://nobody.far.svc.cluster.local:8000/")[0] in (0, 503)


def test_addresses_given_by_the_mesh_tell_tcp_services_apart(market: Market) -> None:
    assert market.lines("first.example", 5000, 3) == ["old"] * 3
    assert market.lines("second.example", 5000, 3) == ["west"] * 3


def test_workloads_by_selector(market: Market) -> None:
    assert market.version("http://chosen.example/") == (200, "west")
    assert market.version("http://joined:8000/") == (200, "old")


def test_an_entry_kept_to_its_namespace(market: Market) -> None:
    resolved = ("--resolve", "private.example:80:127.0.0.1")
    assert market.version(*resolved, "http://private.example/", namespace="other") == (200, "old")
    assert market.mesh.exec("deploy/client", "getent", "hosts", "private.example", namespace="market").returncode != 0
    names = market.mesh.lateen("proxy-config", "cluster", "deploy/client", "-n", "market", "-o", "json").stdout
    assert "chosen.example" in names and "private.example" not in names


def test_a_sidecar_s_own_ports_lead_to_the_application(market: Market) -> None:
    for port in (7000, 7001):
        status, said = market.get(f"http://inner:{port}/")
        assert (status, said["version"]) == (200, "inner")
        assert "spiffe://cluster.local/ns/market/sa/default" in said["headers"]["x-forwarded-client-cert"]


def test_without_interception_the_application_speaks_to_its_proxy(market: Market) -> None:
    status, said = market.get("-H", "host: stall.market.svc.cluster.local:8000", "http://127.0.0.1:8000/", namespace="other")
    assert (status, said["version"] in ("east", "west")) == (200, True)
    assert "spiffe://cluster.local/ns/other/sa/default" in said["headers"]["x-forwarded-client-cert"]
    assert market.mesh.curl(f"http://{market.addresses['stall-west']}:8000/", namespace="other")[0] == 0  # past the proxy, and STRICT there


def test_headless_services(market: Market) -> None:
    assert market.version("http://headless:8000/")[0] == 200
    assert set(market.lines("headless", 9000, 4)) <= {"east", "west"}


def test_who_cannot_be_connected_to_is_ejected(market: Market) -> None:
    """By the failures that the proxy itself sees; answers with errors count apart."""
    script = "for i in $(seq 12); do curl -s -o /dev/null --max-time 10 -w '%{http_code} ' http://halting.example/sick; done"

    def statuses() -> set[str]:
        return set(market.mesh.exec("deploy/client", "sh", "-c", script, namespace="market").stdout.split())

    assert statuses() == {"200", "503"}, "in turn"
    until(lambda: statuses() == {"200"}, 60, "only who answers is asked")


def test_machines_in_zones(market: Market) -> None:
    """Last but for the gateways: the near pod stays broken until it is mended."""

    def answers() -> Counter[str]:
        script = "for i in $(seq 8); do curl -s --max-time 10 http://stall:8000/; echo; done"
        done = market.mesh.exec("deploy/client", "sh", "-c", script, namespace="market")
        return Counter(json.loads(line)["version"] for line in done.stdout.splitlines() if line.startswith("{"))

    assert answers() == {"east": 8}, "the client's zone"
    broken = ("curl", "-s", "http://127.0.0.1:8000/")
    assert market.mesh.exec("deploy/stall-east", *broken[:2], broken[2] + "break", namespace="market").returncode == 0
    until(lambda: answers() == {"west": 8}, 60, "the other zone answers")
    assert market.mesh.exec("deploy/stall-east", *broken[:2], broken[2] + "mend", namespace="market").returncode == 0


def test_a_gateway_takes_the_client_s_address_from_a_proxy_header(market: Market) -> None:
    """`X-Forwarded-For` is the address that the header names; without a header there is no answer."""
    url = f"http://{market.addresses['front']}:8080/"
    status, said = market.get("--haproxy-protocol", url, namespace="far")
    client = next(item["ip"] for item in market.mesh.json("ps")["pods"] if item["namespace"] == "far" and item["name"].startswith("client"))
    assert status == 200, said
    assert said["headers"]["x-forwarded-for"] == client
    header = f"printf 'PROXY TCP4 192.0.2.7 192.0.2.8 1 80\\r\\nGET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | timeout 10 curl -s telnet://{url[7:-1]}"
    assert '"x-forwarded-for": "192.0.2.7"' in market.mesh.exec("deploy/client", "sh", "-c", header, namespace="far").stdout
    assert market.mesh.curl(url, namespace="far")[0] in (0, 400)


def shaken(port: int, name: str, context: ssl.SSLContext, path: str = "/") -> tuple[str, str, str]:
    """(TLS version, cipher, answer) of a request to a port of this machine. OSError: refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, context.wrap_socket(plain, server_hostname=name) as secured:
        secured.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: secured.recv(65536), b"")).decode()
        return secured.version(), secured.cipher()[0], answer


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_a_gateway_may_ask_for_a_certificate(market: Market, tmp_path: Path) -> None:
    assert " 200 " in shaken(market.tls_port, "asks.example", trusting())[2]
    strange = "".join(certificate("stranger")[:2])
    contexts = []
    for name, text in (("known", market.known_client), ("strange", strange)):
        (tmp_path / name).write_text(text)
        contexts.append(trusting())
        contexts[-1].load_cert_chain(tmp_path / name)
    assert " 200 " in shaken(market.tls_port, "asks.example", contexts[0])[2]
    with pytest.raises(OSError):
        shaken(market.tls_port, "asks.example", contexts[1])


def test_versions_and_ciphers_of_a_server(market: Market) -> None:
    assert shaken(market.tls_port, "old.example", trusting())[:2] == ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")
    assert shaken(market.tls_port, "new.example", trusting())[0] == "TLSv1.3"
    dated = trusting()
    dated.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):
        shaken(market.tls_port, "new.example", dated)
    dated.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises(OSError):
        shaken(market.tls_port, "old.example", dated)


def test_mutual_tls_of_the_mesh_ends_at_a_gateway(market: Market) -> None:
    assert market.version("http://ours.example/") == (200, "inner")
    with pytest.raises(OSError):
        shaken(market.tls_port, "ours.example", trusting())


def test_a_gateway_passes_mutual_tls_through_by_the_name_of_the_cluster(market: Market, tmp_path: Path) -> None:
    done = market.mesh.lateen("ca", "issue", "market/client", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    context = trusting()
    context.load_cert_chain(tmp_path / "cert-chain.pem", tmp_path / "key.pem")
    context.set_alpn_protocols(["istio-http/1.1", "istio", "http/1.1"])
    answer = shaken(market.through_port, "outbound_.7000_._.inner.market.svc.cluster.local", context)[2]
    assert '"version": "inner"' in answer
    assert "sa/client" in answer, "the application's proxy saw the caller's own certificate"
    with pytest.raises(OSError):
        shaken(market.through_port, "outbound_.7000_._.nobody.market.svc.cluster.local", context)
