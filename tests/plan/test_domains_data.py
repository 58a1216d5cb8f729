"""By which names a host is reached, as Istio's own table says it, for many client domains."""

import ipaddress
import json
import os
from pathlib import Path

import pytest

from lateen.base.names import ObjectRef
from lateen.mesh.model import Resolution, Service
from lateen.mesh.visibility import Scope
from lateen.plan.domains import Audience, service_domains

CONFORMANCE = Path(os.environ.get("LATEEN_CONFORMANCE", Path(__file__).resolve().parents[3] / "shared" / "conformance"))
TABLE = CONFORMANCE / "vhost_domains.json"
pytestmark = pytest.mark.skipif(not TABLE.exists() and os.environ.get("CI") != "true", reason=f"no conformance data: {CONFORMANCE}")


def rows():
    return json.loads(TABLE.read_text()) if TABLE.exists() else []


def address(name):
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return None


def test_there_are_rows():
    assert len(rows()) > 10


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["name"])
def test_the_domains_of_a_virtual_host(row):
    """Addresses and aliases of the service are not in the table but for its answers: an address as it is, an alias by its full name with a dot at the end."""
    own = {row["host"], f"{row['host']}."}
    addresses = tuple(found for name in row["want"] if name not in own and (found := address(name)))
    aliases = tuple(name[:-1] for name in row["want"] if name.endswith(".") and not name.startswith("*") and name not in own)
    resolution = Resolution.HEADLESS if any(name.startswith("*.") for name in row["want"]) else Resolution.STATIC
    service = Service(row["host"], "default", "x", (), ObjectRef("Service", "default", "x"), addresses=addresses, aliases=aliases, resolution=resolution)
    audience = Audience(Scope("default"), (), row["domain"], has_ipv6=any(":" in one for one in addresses))
    assert set(service_domains(service, audience)[0]) == set(row["want"])
