"""Backends of routes of the Gateway API: the destinations they name, and whether they may. Called by `rules`."""

from lateen.config.kinds.gateway.routes import BackendReference, RouteBackend
from lateen.config.kinds.istio.selectors import PortSelector
from lateen.config.kinds.istio.virtual_service import Destination
from lateen.incremental import Db
from lateen.mesh.gateway_api.grants import is_granted
from lateen.mesh.services import service_hostname

NOWHERE = Destination()
"""A backend that may not be used: without a host, its share of requests gets 500."""


def destination(db: Db, kind: str, namespace: str, to: BackendReference | RouteBackend, *, needs_grant: bool) -> Destination:
    """The destination a backend of a route (of `kind`, in `namespace`) names. One that does not exist keeps its name: requests get 500 until it does."""
    home = to.namespace or namespace
    if (to.group, to.kind) == ("networking.istio.io", "Hostname"):
        return Destination(host=to.name, port=PortSelector(number=to.port)) if to.port else NOWHERE
    if (to.group, to.kind) != ("", "Service") or not to.port:
        return NOWHERE
    if needs_grant and not is_granted(db, kind, namespace, ("", "Service", home, to.name)):
        return NOWHERE
    return Destination(host=service_hostname(to.name, home), port=PortSelector(number=to.port))
