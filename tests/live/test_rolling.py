"""Pods are replaced one after the other under load, and no request fails. `./run soak` does the same a hundred times."""

from tests.live.harness import Mesh
from tests.live.rolling import restart_all


def test_ten_rolling_restarts_fail_nothing(mesh: Mesh) -> None:
    restart_all(mesh, 10)
