"""Delegation: the HTTP routes of a VirtualService with those of its delegates put in their places.

Called by `mesh.virtual_services`, which finds the delegates. Source: Istio HTTPRoute.delegate: one level; a delegate's condition must lie within the root's.
"""

from collections.abc import Iterator, Mapping
from itertools import product

import msgspec

from lateen.config.kinds.istio.virtual_service import HttpMatch, HttpRoute, StringMatch
from lateen.config.kinds.values import Map

INHERITED = (
    "rewrite",
    "direct_response",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrors",
    "mirror_percent",
    "mirror_percentage",
    "cors_policy",
    "headers",
)
"""What a delegate's route takes from the root's, each as a whole, where it has none itself."""


def merged_routes(root: HttpRoute, delegated: tuple[HttpRoute, ...]) -> Iterator[HttpRoute]:
    """The delegate's routes as they count below `root`; one whose conditions contradict the root's is left out."""
    for route in delegated:
        match = merged_matches(root.match, route.match)
        if match is not None:
            inherited = {name: getattr(root, name) for name in INHERITED if getattr(route, name) in (None, ())}
            yield msgspec.structs.replace(route, match=match, name=_joined(root.name, route.name), delegate=None, **inherited)


def merged_matches(roots: tuple[HttpMatch, ...], leaves: tuple[HttpMatch, ...]) -> tuple[HttpMatch, ...] | None:
    """Both conditions at once, for each pair that can hold. None: some condition of the delegate is within none of the root's."""
    if not roots or not leaves:
        return roots or leaves
    found = [(leaf, _merged(root, leaf)) for leaf, root in product(leaves, roots) if not contradicts(root, leaf)]
    if any(all(leaf is not kept for kept, _ in found) for leaf in leaves):
        return None
    return tuple(match for _, match in found)


def _joined(first: str, second: str) -> str:
    return f"{first}-{second}" if first and second else first or second


def _united(root: Mapping[str, StringMatch], leaf: Mapping[str, StringMatch]) -> Map[StringMatch]:
    return Map({**root, **leaf})


def _merged(root: HttpMatch, leaf: HttpMatch) -> HttpMatch:
    return msgspec.structs.replace(
        leaf,
        name=_joined(root.name, leaf.name),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers=_united(root.headers, leaf.headers),
        without_headers=_united(root.without_headers, leaf.without_headers),
        query_params=_united(root.query_params, leaf.query_params),
        port=leaf.port or root.port,
        source_labels=Map({**root.source_labels, **leaf.source_labels}),
        source_namespace=leaf.source_namespace or root.source_namespace,
        gateways=leaf.gateways or root.gateways,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
    )


def contradicts(root: HttpMatch, leaf: HttpMatch) -> bool:
    """Whether the delegate's condition is not one within the root's."""
    simple = ((root.uri, leaf.uri), (root.scheme, leaf.scheme), (root.method, leaf.method), (root.authority, leaf.authority))
    keyed = ((root.headers, leaf.headers), (root.without_headers, leaf.without_headers), (root.query_params, leaf.query_params))
    pairs = (*simple, *((ours.get(key), value) for ours, theirs in keyed for key, value in theirs.items()))
    return (
        any(strings_contradict(ours, theirs) for ours, theirs in pairs)
        or root.ignore_uri_case != leaf.ignore_uri_case
        or bool(root.port and leaf.port and root.port != leaf.port)
        or any(root.source_labels.get(key, value) != value for key, value in leaf.source_labels.items())
        or bool(root.source_namespace and leaf.source_namespace != root.source_namespace)
        or bool(root.gateways and leaf.gateways and not set(leaf.gateways) <= set(root.gateways))
    )


def strings_contradict(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Whether values that `leaf` takes are not all ones that `root` takes, as far as can be told; regular expressions are never compared."""
    if root is None or leaf is None:
        return False
    if root.regex or leaf.regex:
        return bool(root.regex and leaf.regex) or any((root.exact, root.prefix, leaf.exact, leaf.prefix))
    if root.exact:
        return leaf.exact != root.exact
    if root.prefix:
        return not (leaf.exact or leaf.prefix or "").startswith(root.prefix)
    return True
