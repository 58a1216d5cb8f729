"""Extensions by name (ECDS) and secrets (SDS) that listeners and clusters ask for. Called by `xds.resources`."""

from lateen.incremental import Db
from lateen.mesh.view import View
from lateen.xds.resources import Resource


def extension_names(db: Db, view: View) -> frozenset[str]:
    """No extension is served by name yet: no policy is in force."""
    return frozenset()


def extension_resource(db: Db, view: View, name: str) -> Resource | None:
    """None: see `extension_names`."""
    return None


def secret_names(db: Db, view: View) -> frozenset[str]:
    """The secrets a gateway's servers name; subscribed to by name."""
    return frozenset()


def secret_resource(db: Db, view: View, name: str) -> Resource | None:
    """One secret."""
    return None
