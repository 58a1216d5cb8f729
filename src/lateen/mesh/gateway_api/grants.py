"""ReferenceGrants: whether an object may refer to one of another namespace. Called by `listeners` (secrets) and `backends`."""

from lateen.config.kinds.gateway.gateways import GROUP
from lateen.config.kinds.gateway.policies import ReferenceGrant
from lateen.config.store import in_namespace
from lateen.incremental import Db, query


@query
def is_granted(db: Db, kind: str, namespace: str, to: tuple[str, str, str, str]) -> bool:
    """Whether a Gateway API object of `kind` in `namespace` may refer to (group, kind, namespace, name). Always, within its own namespace."""
    group, to_kind, home, name = to
    if home == namespace:
        return True
    for grant in in_namespace(db, ReferenceGrant, home):
        asks = any((one.group, one.kind, one.namespace) == (GROUP, kind, namespace) for one in grant.spec.from_)
        if asks and any((one.group, one.kind) == (group, to_kind) and one.name in (None, name) for one in grant.spec.to):
            return True
    return False
