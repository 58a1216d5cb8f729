"""Caches of names looked up while traffic flows, for services whose addresses are found that way and for unknown hosts. Called by the planners of listeners.

Source: Istio ServiceEntry DYNAMIC_DNS, outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS. The cluster of each cache says the same of it: `outbound_clusters`.
"""

from lateen.mesh.model import Resolution, Service
from lateen.mesh.view import View
from lateen.plan.listener import NameCache

ANY_HOST = "allow_any_dfp_dns_cache"
_MAX_UNKNOWN = 1024


def _family(view: View) -> str:
    return ("ALL" if view.has_ipv4 else "V6_ONLY") if view.has_ipv6 else "V4_ONLY"


def unknown_names(view: View) -> NameCache:
    """The cache of hosts of no known service."""
    return NameCache(ANY_HOST, _family(view), _MAX_UNKNOWN)


def names_of(service: Service, view: View) -> NameCache | None:
    """The cache of a service's names; None: its addresses are found in another way."""
    return NameCache(f"{service.hostname}_dfp_dns_cache", _family(view)) if service.resolution is Resolution.DYNAMIC_DNS else None
