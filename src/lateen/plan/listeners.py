"""All listeners of a view, by name. The door of this plan: called by `xds.listeners`; the parts are in `outbound`, `inbound`,
`bound` and `gateway_listeners`."""

from lateen.base.names import VIRTUAL_INBOUND, VIRTUAL_OUTBOUND
from lateen.incremental import Db, query
from lateen.mesh.view import View
from lateen.plan.bound import bound_listener, bound_names
from lateen.plan.gateway_listeners import gateway_listener, gateway_names
from lateen.plan.inbound import virtual_inbound
from lateen.plan.intercept import is_captured, opens_all
from lateen.plan.listener import Listener
from lateen.plan.outbound import outbound_listener, outbound_names, virtual_outbound


@query
def listener_names(db: Db, view: View) -> frozenset[str]:
    """The names of all listeners of a view."""
    if view.is_router:
        return frozenset(gateway_names(db, view))
    whole = (*((VIRTUAL_OUTBOUND,) if opens_all(view) else ()), *((VIRTUAL_INBOUND,) if is_captured(view) else ()))
    return frozenset((*whole, *outbound_names(db, view), *bound_names(db, view)))


def listener(db: Db, view: View, name: str) -> Listener | None:
    """One listener by name; None: the view has none of that name. Not kept: what is emitted of it is."""
    if view.is_router:
        return gateway_listener(db, view, name)
    if name == VIRTUAL_OUTBOUND and opens_all(view):
        return virtual_outbound(db, view)
    if name == VIRTUAL_INBOUND and is_captured(view):
        return virtual_inbound(db, view)
    return outbound_listener(db, view, name) or bound_listener(db, view, name)
