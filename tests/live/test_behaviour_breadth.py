"""The rest of what rules do: every way to match, both places of header operations, choices that stick, retries' fields, and a gateway's names, ports and hops."""

import json
import re
import socket
import ssl
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.live.harness import BEHAVIOUR, Mesh, need_namespaces, until
from tests.live.test_behaviour_http import said
from tests.ports import free_port

PORTS = (80, 443, 9000)


@pytest.fixture(scope="module")
def wide() -> Iterator[tuple[Mesh, dict[int, int]]]:
    """The shop and where its gateway's ports are on this machine; tests only ask."""
    need_namespaces()
    made, ports = Mesh("wide"), {port: free_port() for port in PORTS}
    try:
        publish = [part for port, at in ports.items() for part in ("--publish", f"{port}={at}")]
        yield made.start(BEHAVIOUR, options=("--image-map", str(BEHAVIOUR / "image-map.yaml"), *publish)), ports
    finally:
        made.close()


def statuses(mesh: Mesh, asked: list[str], namespace: str = "shop") -> list[str]:
    """Of requests, each written as curl's options, one after the other in one pod command."""
    script = "".join(f"curl -s -o /dev/null --max-time 10 -w '%{{http_code}} ' {options}\n" for options in asked)
    return mesh.exec("deploy/client", "sh", "-c", script, namespace=namespace).stdout.split()


def answers(mesh: Mesh, asked: list[str]) -> list[dict]:
    """What the application said; `out`: its headers as the client got them."""
    script = "".join(f"curl -s --max-time 10 -w '\\n%{{header_json}}\\n' {options}; printf '\\036'\n" for options in asked)
    found = []
    for text in mesh.exec("deploy/client", "sh", "-c", script, namespace="shop").stdout.split("\036")[:-1]:
        body, _, headers = text.strip().partition("\n")
        found.append(json.loads(body) | {"out": json.loads(headers)})
    return found


MATCHES = {
    "uri in any case": (210, ["{}/aNY/cASE"], ["{}/any/cas"]),
    "headers: exact, prefix, regex and presence": (
        211,
        ["-H x-a:1 -H x-b:twofold -H x-c:12 -H x-d:z {}/headers"],
        ["-H x-a:1 -H x-b:twofold -H x-c:12 {}/headers", "-H x-a:1 -H x-b:twofold -H x-c:12a -H x-d:z {}/headers", "{}/headers"],
    ),
    "headers that are not there": (212, ["{}/without", "-H x-a:2 {}/without"], ["-H x-a:1 {}/without", "-H x-b:z {}/without"]),
    "query: exact, regex and prefix": (213, ["'{}/query?a=1&b=xx&c=seen'"], ["'{}/query?a=1&b=xy&c=seen'", "'{}/query?a=1&b=xx'"]),
    "method and scheme": (214, ["-X PUT {}/how"], ["{}/how"]),
    "authority": (215, ["http://wide.shop:8000/who"], ["{}/who"]),
    "port": (216, ["--http2-prior-knowledge http://wide:9090/port"], ["{}/port"]),
    "the client's labels and namespace": (217, ["{}/from"], []),
}


@pytest.mark.parametrize("what", MATCHES)
def test_a_match(wide: tuple[Mesh, dict[int, int]], what: str) -> None:
    status, yes, no = MATCHES[what]
    found = statuses(wide[0], [options.format("http://wide:8000") for options in (*yes, *no)])
    assert found == [str(status)] * len(yes) + ["200"] * len(no)


def test_a_path_is_normalised_before_it_is_matched(wide: tuple[Mesh, dict[int, int]]) -> None:
    """As `pathNormalization` is by default: dots are resolved, and slashes stay as many as they are."""
    asked = [f"--path-as-is http://wide:8000{path}" for path in ("/x/../any/case", "/./any/%63ase", "//any/case")]
    assert statuses(wide[0], asked) == ["210", "210", "200"]


def test_a_match_has_statistics_of_its_own(wide: tuple[Mesh, dict[int, int]]) -> None:
    """`statPrefix`, told where the pod tells its metrics."""
    told = re.compile(r"^envoy_vhost_\w+_route_weighed_upstream_rq_total\S* (\d+)$", re.MULTILINE)

    def counted() -> int:
        page = wide[0].exec("deploy/client", "curl", "-s", "http://127.0.0.1:15020/stats/prometheus", namespace="shop").stdout
        return sum(map(int, told.findall(page)))

    before = counted()
    assert statuses(wide[0], ["-H x-user:me http://wide:8000/weighed"] * 3) == ["200"] * 3
    until(lambda: counted() == before + 3, what="its requests are counted")


def test_headers_of_a_route_and_of_its_destination(wide: tuple[Mesh, dict[int, int]]) -> None:
    found = answers(wide[0], [f"-H x-user:{user} http://wide:8000/weighed" for user in range(60)])
    assert {(one["version"], one["headers"]["x-side"], one["out"]["x-out"][0]) for one in found} == {("v1", "one", "one"), ("v2", "two", "two")}
    assert {(one["headers"]["x-route"], one["out"]["x-level"][0]) for one in found} == {("told", "route")}


def test_a_weighted_choice_sticks_by_the_hash(wide: tuple[Mesh, dict[int, int]]) -> None:
    """By a header from the first request on; by a cookie that the proxy made from the second."""
    found = answers(wide[0], [f"-H x-user:{user} http://wide:8000/weighed" for user in range(60) for _ in range(3)])
    homes = [{one["version"] for one in found[at : at + 3]} for at in range(0, len(found), 3)]
    assert all(len(home) == 1 for home in homes), homes
    assert set.union(*homes) == {"v1", "v2"}
    first = answers(wide[0], ["http://cookie:8000/weighed"])[0]
    cookie = first["out"]["set-cookie"][0]
    assert re.fullmatch(r'home="[0-9a-f]+"; Max-Age=60; HttpOnly', cookie), cookie
    kept = answers(wide[0], [f"-H 'cookie: {cookie.partition(';')[0]}' http://cookie:8000/weighed"] * 6)
    assert len({one["version"] for one in kept}) == 1
    assert all("set-cookie" not in one["out"] for one in kept)


def test_consistent_hash_by_cookie_address_and_query(wide: tuple[Mesh, dict[int, int]]) -> None:
    urls = ["-H 'cookie: home=mine' http://cookie:8000/", "http://address:8000/", "'http://asked:8000/?user=1'"]
    found = answers(wide[0], [url for url in urls for _ in range(6)])
    assert [len({one["version"] for one in found[at : at + 6]}) for at in (0, 6, 12)] == [1, 1, 1]
    users = answers(wide[0], [f"'http://asked:8000/?user={user}'" for user in range(60)])
    assert {one["version"] for one in users} == {"v1", "v2"}


def test_tcp_connections_of_one_address_go_to_one_pod(wide: tuple[Mesh, dict[int, int]]) -> None:
    assert len(set(said(wide[0], "lines", "address", "9000", "20"))) == 1


def test_localities_by_weight(wide: tuple[Mesh, dict[int, int]]) -> None:
    share = Counter(one["version"] for one in answers(wide[0], ["http://spread:8000/"] * 200))
    assert 120 <= share["v2"] <= 195, share  # 160 expected, standard deviation 5.7


def test_pass_through_goes_where_the_client_went(wide: tuple[Mesh, dict[int, int]]) -> None:
    pods = {item["name"].rsplit("-", 2)[0]: item["ip"] for item in wide[0].json("ps")["pods"] if item["name"].startswith("echo-")}
    asked_for = [(name, pods[f"echo-{name}"]) for name in ("v1", "v2") for _ in range(3)]
    found = answers(wide[0], [f"--connect-to straight:8000:{ip}:8000 http://straight:8000/" for _, ip in asked_for])
    assert [one["version"] for one in found] == [name for name, _ in asked_for]


def test_a_rule_for_some_workloads_only(wide: tuple[Mesh, dict[int, int]]) -> None:
    assert {one["version"] for one in answers(wide[0], ["http://picked:8000/"] * 6)} == {"v2"}
    done = wide[0].exec("deploy/echo-v2", "sh", "-c", "for i in 1 2 3 4 5 6; do curl -s http://picked:8000/; echo; done", namespace="shop")
    assert {json.loads(line)["version"] for line in done.stdout.splitlines() if line} == {"v1"}


def test_limits_of_one_port(wide: tuple[Mesh, dict[int, int]]) -> None:
    """Four slow requests at once: the port that allows one refuses some, the other none."""

    def at_once(port: int) -> list[str]:
        one = f"curl -s -o /dev/null --max-time 10 -w '%{{http_code}} ' http://picked:{port}/sleep/2 &"
        return wide[0].exec("deploy/client", "sh", "-c", one * 4 + " wait", namespace="shop").stdout.split()

    assert sorted(set(at_once(8001))) == ["200", "503"]
    assert at_once(8000) == ["200"] * 4


def test_http_1_0_where_it_is_asked_for(wide: tuple[Mesh, dict[int, int]]) -> None:
    """ISTIO_META_HTTP10 of the mesh's proxyMetadata."""
    assert statuses(wide[0], ["--http1.0 http://wide:8000/"]) == ["200"]
    with socket.create_connection(("127.0.0.1", wide[1][80]), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: wide.example\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"200"


def test_mirrors_by_their_percentage(wide: tuple[Mesh, dict[int, int]]) -> None:
    """All copies to one, half of them to the other; who asks hears the first only."""
    mesh, path = wide[0], f"/copied/{uuid.uuid4()}"
    found = answers(mesh, [f"http://wide:8000{path}"] * 100)
    assert {one["version"] for one in found} == {"v1"}

    def seen(url: str) -> int:
        return json.loads(mesh.curl(f"{url}/seen", namespace="shop")[1]).get(path, 0)

    until(lambda: seen("http://legacy.outside:8000") == 100, 60, "every request is copied")
    assert 20 <= seen("http://v2:8000") <= 80  # 50 expected, standard deviation 5


def test_faults_by_their_percentage(wide: tuple[Mesh, dict[int, int]]) -> None:
    share = Counter(statuses(wide[0], ["http://wide:8000/half"] * 100))
    assert share.keys() == {"200", "418"} and 20 <= share["418"] <= 80, share
    assert statuses(wide[0], ["http://wide:8000/never"] * 10) == ["200"] * 10


def test_each_try_has_its_own_time(wide: tuple[Mesh, dict[int, int]]) -> None:
    """A machine that is too busy to hand a try to the application within its time is asked again."""
    mesh, tries = wide[0], []

    def tried() -> int:
        path = f"/sleep/2.{uuid.uuid4().int % 10**9}"
        assert mesh.curl(f"http://wide:8000{path}", namespace="shop")[0] == 504
        tries.append(json.loads(mesh.exec("deploy/echo-v1", "curl", "-s", "http://127.0.0.1:8000/seen", namespace="shop").stdout).get(path, 0))
        return tries[-1]

    until(lambda: tried() == 3, 60, f"one try and two retries: {tries}")
    assert max(tries) == 3


def test_retries_go_to_other_endpoints_of_all_localities(wide: tuple[Mesh, dict[int, int]]) -> None:
    """Each of two endpoints, in two zones, fails once, so the third try succeeds, unless an endpoint is tried twice in a row.

    Envoy draws an endpoint up to 6 times in search of another: it fails to find one in 1 of 64 requests. Without the search it were every other.
    """
    found = answers(wide[0], [f"http://wide:8000/flaky/{uuid.uuid4()}/1" for _ in range(60)])
    tries = Counter(one["headers"]["x-envoy-attempt-count"] for one in found)
    assert tries.keys() <= {"2", "3"} and tries["3"] >= 45, tries


def test_a_retry_waits_as_its_backoff_says(wide: tuple[Mesh, dict[int, int]]) -> None:
    """Each of 40 requests waits for a random part of two seconds: none for more than one of them in 1 of 2^40 runs. By default it were 25 ms at most."""
    one = "curl -s -o /dev/null --max-time 60 -H x-later:1 -w '%{http_code} %{time_total}\n' "
    script = "".join(f"{one} http://wide:8000/flaky/{uuid.uuid4()}/1 &\n" for _ in range(40)) + "wait"
    lines = wide[0].exec("deploy/client", "sh", "-c", script, namespace="shop", timeout_s=120).stdout.split()
    assert lines[::2] == ["200"] * 40
    assert max(map(float, lines[1::2])) >= 1


def test_no_more_connections_than_a_rule_allows(wide: tuple[Mesh, dict[int, int]]) -> None:
    """Of six at once two are answered; when they are closed there is room again."""
    for _ in range(2):
        until(lambda: [bool(one) for one in said(wide[0], "held", "few", "9000", "6")] == [True] * 2 + [False] * 4, 60, "two of six")


def test_no_more_endpoints_are_ejected_than_a_rule_allows(wide: tuple[Mesh, dict[int, int]]) -> None:
    """Both fail; half of them may be ejected, so one goes on."""
    mesh = wide[0]
    assert set(statuses(mesh, [f"http://worn:8000/flaky/{uuid.uuid4()}/9" for _ in range(20)])) == {"503"}

    def versions() -> set[str]:
        return {one["version"] for one in answers(mesh, ["http://worn:8000/"] * 12)}

    (left,) = until(lambda: len(found := versions()) == 1 and found, 60, "one is ejected")
    assert statuses(mesh, [f"http://worn:8000/flaky/{uuid.uuid4()}/9" for _ in range(20)]) == ["503"] * 20
    assert versions() == {left}


def test_a_destination_that_does_not_exist_answers_503(wide: tuple[Mesh, dict[int, int]]) -> None:
    assert statuses(wide[0], ["http://wide:8000/absent"]) == ["503"]


def test_a_grpc_stream_that_fails_before_it_answers_is_tried_again(wide: tuple[Mesh, dict[int, int]]) -> None:
    assert said(wide[0], "again", "wide", "9090", str(uuid.uuid4()), "2") == {"code": "OK", "said": "3,3,3"}
    assert said(wide[0], "again", "wide", "9090", str(uuid.uuid4()), "9")["code"] == "UNAVAILABLE"


def asked(port: int, path: str, host: str, *headers: str) -> tuple[int, dict[str, str], str]:
    """(status, headers, body) of a request from this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]).encode())
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = text.partition("\r\n\r\n")
    lines = head.split("\r\n")
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}, body


@pytest.mark.parametrize(
    ("path", "host", "status", "location"),
    [
        ("/derived", "wide.example", 301, "http://wide.example/new"),
        ("/derived?a=1", "wide.example", 301, "http://wide.example/new?a=1"),
        ("/default", "wide.example", 301, "https://wide.example/new"),
        ("/ported/x", "wide.example", 307, "https://wide.example:8443/ported/x"),
        ("/pre/x", "wide.example", 302, "http://wide.example/post/x"),
        ("/x?a=1", "secure.example", 301, "https://secure.example/x?a=1"),
    ],
)
def test_redirects_of_a_gateway(wide: tuple[Mesh, dict[int, int]], path: str, host: str, status: int, location: str) -> None:
    found, headers, _ = asked(wide[1][80], path, host)
    assert (found, headers["location"]) == (status, location)


def test_a_gateway_serves_its_hosts_only(wide: tuple[Mesh, dict[int, int]]) -> None:
    assert [asked(wide[1][80], "/", host)[0] for host in ("wide.example", "a.wide.example", "wide.example.org")] == [200, 200, 404]


def test_a_gateway_behind_proxies_knows_the_client(wide: tuple[Mesh, dict[int, int]]) -> None:
    """Two are trusted (`numTrustedProxies`): the client is the second last of X-Forwarded-For."""
    sent = json.loads(asked(wide[1][80], "/", "wide.example", "X-Forwarded-For: 203.0.113.1, 203.0.113.2, 203.0.113.3")[2])["headers"]
    assert sent["x-forwarded-for"].startswith("203.0.113.1, 203.0.113.2, 203.0.113.3,")
    assert sent["x-envoy-external-address"] == "203.0.113.2"


def test_a_gateway_passes_tls_through_by_its_name(wide: tuple[Mesh, dict[int, int]]) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, version in (("one", "v1"), ("two", "v2")):
        with socket.create_connection(("127.0.0.1", wide[1][443]), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=f"{name}.through.example") as secured:
                assert f"CN={version}".encode()[3:] in secured.getpeercert(binary_form=True)
                secured.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert f'"version": "{version}"' in b"".join(iter(lambda: secured.recv(65536), b"")).decode()
    with socket.create_connection(("127.0.0.1", wide[1][443]), timeout=10) as plain, pytest.raises(OSError):
        context.wrap_socket(plain, server_hostname="nobody.example")


def test_a_gateway_s_tcp_server(wide: tuple[Mesh, dict[int, int]]) -> None:
    with socket.create_connection(("127.0.0.1", wide[1][9000]), timeout=10) as connection:
        connection.sendall(b"hello\n")
        assert connection.makefile().readline() == "v2 hello\n"


def test_headers_beyond_what_a_proxy_takes(wide: tuple[Mesh, dict[int, int]]) -> None:
    assert asked(wide[1][80], "/", "wide.example", *[f"X-{number}: {'x' * 10_000}" for number in range(5)])[0] == 200
    assert asked(wide[1][80], "/", "wide.example", *[f"X-{number}: {'x' * 10_000}" for number in range(7)])[0] == 431
