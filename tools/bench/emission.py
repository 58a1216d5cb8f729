"""What it costs to check each resource before it is sent: everything a proxy gets, emitted with and without the check, in pairs."""

import gc
import time
from statistics import median
from typing import Any
from unittest.mock import patch

from lateen.config.decode import decode, ref_of
from lateen.config.defaults import mesh_config_of, with_defaults
from lateen.config.kinds.objects import Object
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.incremental import Db
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.xds.check import CONSTRAINTS
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names
from tools.bench.control_plane import ENDPOINTS
from tools.bench.mesh_yaml import services

PAIRS, SERVICES = 15, 1000
VIEWER = Proxy(ProxyType.SIDECAR, "bench.ns0", "ns0", "default", addresses=("10.254.0.1",), dns_domain="ns0.svc.cluster.local")


def check() -> dict[str, Any]:
    """Processor time of emitting a mesh of 1000 services × 10 endpoints from objects, and the share of it that checking adds (median of pairs)."""
    objects = [with_defaults(one) for one in decode(services(SERVICES, ENDPOINTS, 20), "bench").objects]
    _emission_s(objects)  # what is compiled once is not what is asked for
    pairs = [(_emission_s(objects), _unchecked_s(objects)) for _ in range(PAIRS)]
    return {
        "services": SERVICES,
        "emission_ms": round(1000 * median(bare for _, bare in pairs)),
        "check_percent": round(100 * median(whole / bare - 1 for whole, bare in pairs), 1),
        "pairs": [round(100 * (whole / bare - 1), 1) for whole, bare in pairs],
    }


def _unchecked_s(objects: list[Object]) -> float:
    with (
        patch.object(CONSTRAINTS, "problem", lambda _: ""),
        patch("lateen.xds.endpoints._is_plain", lambda _: True),
        patch("lateen.xds.routes.shared_domain", lambda _: ""),
    ):
        return _emission_s(objects)


def _emission_s(objects: list[Object]) -> float:
    db = Db()
    MESH_CONFIG.set(db, "mesh", mesh_config_of(None)[0])
    for one in objects:
        OBJECTS.set(db, ref_of(one), one)
    gc.collect()
    began = time.process_time()
    view = view_of(db, VIEWER)
    for type_ in ResourceType:
        for name in resource_names(db, view, type_):
            resource(db, view, type_, name)
    return time.process_time() - began
