"""Istio's bookinfo sample, its files byte for byte, with stand-in applications behind an image map."""

import json
import os
import urllib.request
from pathlib import Path

import pytest

from tests.live.harness import Mesh, until

IMAGES = Path(__file__).parent / "bookinfo" / "images.yaml"


@pytest.fixture
def bookinfo() -> Path:
    folder = Path(os.environ.get("LATEEN_CONFORMANCE", Path(__file__).resolve().parents[3] / "shared" / "conformance")) / "samples" / "bookinfo"
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"no conformance data: {folder}")
        pytest.skip(f"no conformance data: {folder}")
    return folder


def product(url: str, user: str = "") -> dict:
    request = urllib.request.Request(f"{url}/productpage", headers={"end-user": user} if user else {})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_bookinfo_comes_up_and_routes(mesh: Mesh, bookinfo: Path) -> None:
    networking = bookinfo / "networking"
    extra = mesh.home / "extra"
    extra.mkdir()
    (extra / "routes.yaml").write_text((networking / "virtual-service-all-v1.yaml").read_text())
    mesh.start(
        bookinfo / "platform/kube/bookinfo.yaml",
        networking / "bookinfo-gateway.yaml",
        networking / "destination-rule-all.yaml",
        extra,
        options=("--image-map", str(IMAGES)),
    )
    url = mesh.ingress()
    versions = {product(url)["from"][1]["version"] for _ in range(12)}
    assert versions == {"v1"}
    (extra / "routes.yaml").write_text((networking / "virtual-service-reviews-test-v2.yaml").read_text())
    until(lambda: product(url, "jason")["from"][1].get("version") == "v2", 60, "jason sees v2")
    jason = product(url, "jason")["from"][1]
    assert jason["from"][0]["name"] == "ratings"
    assert product(url)["from"][1]["version"] == "v1"
    (extra / "routes.yaml").write_text((networking / "virtual-service-reviews-50-v3.yaml").read_text())
    until(lambda: product(url)["from"][1]["version"] == "v3", 60, "half of them see v3")
    assert {product(url)["from"][1]["version"] for _ in range(40)} == {"v1", "v3"}
