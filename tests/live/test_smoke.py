"""One mesh, end to end: up, a booking through the ingress over mTLS, Ctrl-C, nothing left."""

import json
import urllib.request

from tests.live.harness import BOOKING, Mesh, until


def test_booking_up_call_down(mesh: Mesh) -> None:
    mesh.start(BOOKING)
    with urllib.request.urlopen(f"{mesh.ingress()}/book?item=room", timeout=20) as answer:
        booked = json.load(answer)
    assert booked["reserved"] == {"item": "room", "price": 120}
    assert booked["paid"]["version"] in ("v1", "v2")
    assert booked["ledger"].startswith("ok ")
    status, body = mesh.curl("http://payment:8080/charge", "-H", "x-user: tester", "-d", '{"amount": 3}')
    assert (status, json.loads(body)["version"]) == (200, "v2")
    assert mesh.stop() == 0
    assert mesh.said("nothing is left"), mesh.output()
    until(lambda: not mesh.remains(), 60, "nothing remains")
    assert mesh.remains() == []
