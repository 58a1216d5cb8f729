"""Where we differ from Istio on purpose (docs/differences.json), it is so on the wire."""

from tests.live.harness import Mesh, until


def test_http_travels_as_http2_between_sidecars(booking: Mesh) -> None:
    """The client's request is HTTP/1.1, and is HTTP/2 when it arrives at the other proxy."""
    assert booking.curl("http://payment:8080/version?who=differences", "-H", "x-user: tester")[0] == 200

    def lines(target: str) -> list[str]:
        return [line for line in booking.lateen("logs", target, "-n", "booking", "--access").stdout.splitlines() if "who=differences" in line]

    for target in ("deploy/client", "deploy/payment-v2"):
        until(lambda target=target: lines(target), 60, f"the access log of {target}'s proxy")
    assert '"GET /version?who=differences HTTP/1.1"' in lines("deploy/client")[-1]
    assert '"GET /version?who=differences HTTP/2"' in lines("deploy/payment-v2")[-1]
