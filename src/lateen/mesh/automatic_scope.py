"""Automatic scope: sidecars hold the clusters they use, and ask for one when the first request needs it. Off unless control is told otherwise.

What one proxy of a workload asked for is a fact of control's (`LEARNED`), and every proxy of that workload gets it without asking.
Called by `xds.clusters` (what is listed without being asked for), `xds.listeners` (who asks) and `control.learning` (what was asked for).
Listeners and route tables stay complete, so no address of the mesh is ever taken for an unknown one. Ours: ARCHITECTURE.md, Automatic scope.
"""

from dataclasses import dataclass
from enum import Enum

from lateen.base.names import MESH_GATEWAY
from lateen.config.kinds.istio.extension_providers import ExtensionProvider
from lateen.config.store import mesh_field
from lateen.incremental import Db, Input, query
from lateen.mesh.view import Proxy, View
from lateen.mesh.virtual_services import claims, mirrored_hosts
from lateen.mesh.visibility import Scope, service_seen


class ScopeMode(Enum):
    """What a sidecar holds: all it may see, or what it uses of that."""

    COMPLETE = "complete"
    AUTOMATIC = "automatic"


SCOPE: Input[str, ScopeMode] = Input("mesh.scope")
"""The mode in force. Key: always `mesh`. Not set: COMPLETE."""
WORKLOAD_NAME = "WORKLOAD_NAME"
"""Metadata: the Deployment or the like that a proxy's pod is of. Source: Istio, node metadata."""


@dataclass(frozen=True)
class Workload:
    """Those who learn together. `name` empty: proxies that don't say what they are of, all of a service account."""

    namespace: str
    service_account: str
    name: str


LEARNED: Input[Workload, frozenset[str]] = Input("mesh.learned")
"""Workload → names of the clusters that its proxies have asked for. Not set: none."""
PROXYLESS = "grpc"
"""Metadata GENERATOR of gRPC clients without a proxy: they ask for every cluster by name anyway."""


def is_automatic(db: Db, view: View) -> bool:
    """Whether a view's clusters come on demand. Gateways are left out: what they use is written in their routes."""
    return SCOPE.at(db, "mesh") is ScopeMode.AUTOMATIC and not view.is_router and dict(view.metadata).get("GENERATOR") != PROXYLESS


def workload_of(proxy: Proxy | View) -> Workload:
    """Who a proxy learns with."""
    return Workload(proxy.namespace, proxy.service_account, dict(proxy.metadata).get(WORKLOAD_NAME, ""))


def learned(db: Db, view: View) -> frozenset[str]:
    """The clusters that proxies of a view's workload have asked for, whether they exist or not."""
    return LEARNED.at(db, workload_of(view)) or frozenset()


@query
def pinned_hosts(db: Db, eyes: Scope) -> frozenset[str]:
    """Hosts whose clusters nothing asks for when they are missed: those that get copies of requests (Envoy drops a copy whose cluster is not there), and
    the services of extension providers, which filters and secrets name."""
    found: set[str] = set()
    for heading in claims(db, eyes.namespace, MESH_GATEWAY):
        found |= mirrored_hosts(db, heading.key)
    providers = mesh_field(db, "extension_providers")
    for provider in providers if isinstance(providers, tuple) else ():
        found |= _hosts_of(provider)
    for host in tuple(found):
        service = service_seen(db, eyes, host)
        if service is not None and service.external_name:
            found.add(service.external_name)
    return frozenset(found)


def _hosts_of(provider: ExtensionProvider) -> set[str]:
    """The hosts that a provider's settings name, `namespace/` left out."""
    settings = (getattr(provider, name) for name in provider.__struct_fields__)
    return {service.rpartition("/")[2] for one in settings if isinstance(service := getattr(one, "service", None), str) and service}
