"""A mesh from a few lines of YAML, for tests of plans."""

import pytest

from lateen.config.decode import decode, ref_of
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.incremental import Db


def mesh_of(text: str, config: MeshConfig | None = None) -> Db:
    db = Db()
    MESH_CONFIG.set(db, "mesh", config or MeshConfig())
    decoded = decode(text, "in.yaml")
    assert not decoded.is_broken, decoded.findings
    for item in decoded.objects:
        OBJECTS.set(db, ref_of(item), item)
    return db


@pytest.fixture
def mesh():
    return mesh_of
