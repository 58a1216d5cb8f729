"""What rules do to requests between two sidecars, as the client and the application see it: a path of `echo` for each rule."""

import json
import sys
import uuid

from tests.live.harness import BEHAVIOUR, Mesh, until


def ask(mesh: Mesh, path: str, *options: str, host: str = "echo:8000", namespace: str = "shop") -> tuple[int, dict]:
    """(status, what the application said) of one request."""
    status, body = mesh.curl(*options, f"http://{host}{path}", namespace=namespace)
    return status, json.loads(body) if body.startswith("{") else {"body": body}


def heads(mesh: Mesh, path: str, *options: str) -> tuple[int, dict[str, str]]:
    """(status, headers of the answer)."""
    status, text = mesh.curl("-o", "/dev/null", "-D", "-", *options, f"http://echo:8000{path}", namespace="shop")
    return status, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines()) if value}


def many(mesh: Mesh, url: str, times: int, *options: str) -> list[dict]:
    """What the application said to `times` requests in one pod command, each over a connection of its own."""
    script = f'for i in $(seq {times}); do curl -s --max-time 10 "$@" {url}; echo; done'
    done = mesh.exec("deploy/client", "sh", "-c", script, "sh", *options, namespace="shop")
    return [json.loads(line) if line.startswith("{") else {"version": line} for line in done.stdout.splitlines() if line]


def said(mesh: Mesh, *arguments: str):
    done = mesh.exec("deploy/client", sys.executable, str(BEHAVIOUR / "client.py"), *arguments, namespace="shop")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_a_mirror_sees_what_the_first_answers(shop: Mesh) -> None:
    path = f"/mirror/{uuid.uuid4()}"
    status, answer = ask(shop, path)
    assert (status, answer["version"]) == (200, "v1")
    until(lambda: ask(shop, "/seen", host="v2:8000")[1].get(path) == 1, 60, "v2 got its copy")


def test_cors_preflight_is_answered_by_the_proxy_for_allowed_origins_only(shop: Mesh) -> None:
    asked = ("-X", "OPTIONS", "-H", "access-control-request-method: PUT")
    status, headers = heads(shop, "/cors", *asked, "-H", "origin: https://shop.example")
    assert status == 200
    assert headers["access-control-allow-origin"] == "https://shop.example"
    assert (headers["access-control-allow-methods"], headers["access-control-allow-headers"]) == ("GET,PUT", "x-shop")
    assert (headers["access-control-max-age"], headers["access-control-allow-credentials"]) == ("60", "true")
    assert "x-inside" not in headers
    assert "access-control-allow-origin" not in heads(shop, "/cors", *asked, "-H", "origin: https://thief.example")[1]


def test_faults_delay_and_abort(shop: Mesh) -> None:

    assert shop.curl("--max-time", "1", "http://echo:8000/delay", namespace="shop")[0] == 0
    assert ask(shop, "/delay")[0] == 200
    assert ask(shop, "/abort") == (418, {"body": "fault filter abort"})


def test_a_timeout_ends_a_slow_request(shop: Mesh) -> None:
    assert ask(shop, "/sleep/8") == (504, {"body": "upstream request timeout"})
    assert ask(shop, "/sleep/0")[0] == 200


def test_retries_by_status(shop: Mesh) -> None:
    status, answer = ask(shop, f"/flaky/{uuid.uuid4()}/3")
    assert (status, answer["times"]) == (200, 4)
    assert ask(shop, f"/flaky/{uuid.uuid4()}/4")[0] == 503


def test_retries_by_grpc_code(shop: Mesh) -> None:
    assert said(shop, "flaky", "echo", "9090", str(uuid.uuid4()), "2") == {"code": "OK", "said": "3"}
    assert said(shop, "flaky", "echo", "9090", str(uuid.uuid4()), "4")["code"] == "UNAVAILABLE"


def test_faults_by_grpc_code(shop: Mesh) -> None:
    assert said(shop, "aborted", "echo", "9090", str(uuid.uuid4()), "0")["code"] == "RESOURCE_EXHAUSTED"


def test_grpc_streams_both_ways(shop: Mesh) -> None:
    answer = said(shop, "chat", "echo", "9090", *map(str, range(50)))
    assert answer["code"] == "OK"
    assert [item.split()[1] for item in answer["said"].split(",")] == [str(number) for number in range(50)]


def test_headers_are_set_added_and_removed(shop: Mesh) -> None:
    sent = ask(shop, "/headers", "-H", "x-set: mine", "-H", "x-added: one", "-H", "x-gone: here")[1]["headers"]
    assert (sent["x-set"], "x-gone" in sent) == ("replaced", False)
    assert "more" in sent["x-added"]
    headers = heads(shop, "/headers")[1]
    assert (headers["x-out"], "x-inside" in headers) == ("told", False)


def test_redirect_rewrite_and_direct_response(shop: Mesh) -> None:
    status, headers = heads(shop, "/old")
    assert (status, headers["location"]) == (308, "http://shop.example/new")
    answer = ask(shop, "/rewrite/me")[1]
    assert (answer["path"], answer["headers"]["host"]) == ("/written/me", "written.example")
    assert ask(shop, "/items/42")[1]["path"] == "/item?id=42"
    assert ask(shop, "/direct") == (451, {"body": "not here"})


def test_a_delegate_in_another_namespace_decides(shop: Mesh) -> None:
    assert {answer["version"] for answer in many(shop, "http://echo:8000/team/two", 8)} == {"v2"}
    assert {answer["version"] for answer in many(shop, "http://echo:8000/team/three", 60)} == {"v1", "v2"}  # none of its routes: on to the root's next


def test_consistent_hash_sticks_and_spreads(shop: Mesh) -> None:
    script = "for user in $(seq 40); do for i in 1 2 3; do curl -s --max-time 10 -H x-user:$user http://sticky:8000/; echo; done; done"
    done = shop.exec("deploy/client", "sh", "-c", script, namespace="shop")
    found = [json.loads(line)["version"] for line in done.stdout.splitlines() if line]
    homes = [set(found[at : at + 3]) for at in range(0, len(found), 3)]
    assert len(found) == 120
    assert all(len(home) == 1 for home in homes), homes
    assert set.union(*homes) == {"v1", "v2"}


def test_outliers_are_ejected(shop: Mesh) -> None:
    many(shop, "http://sick:8000/sick", 12)
    until(lambda: {answer["version"] for answer in many(shop, "http://sick:8000/sick", 12)} == {"v1"}, 60, "the sick one is out")
