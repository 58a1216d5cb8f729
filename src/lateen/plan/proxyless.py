"""What a gRPC client without a proxy does (`xds:///host:port`): which destination a name is, with which routes, over which cluster. Called by `xds.proxyless`.

It reads what a sidecar of the same workload would be planned to do, and leaves out what gRPC has no notion of; `mesh.proxyless_findings` says so to users.

Source: Istio, proxyless gRPC (generator `grpc`); gRPC A27, A28, A31, A32, A33, A42, A44; servers A29, A36.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import re2

from lateen.base.names import GRPC_SERVER_LISTENERS, virtual_host_name
from lateen.incremental import Db, index
from lateen.mesh.destination_rules import rule_of
from lateen.mesh.model import MtlsMode, label_pairs
from lateen.mesh.peer_authentication import mtls_mode
from lateen.mesh.view import View
from lateen.plan.clients import Caller, is_all_strict
from lateen.plan.cluster import Choice, Cluster, Discovery, MeshTls, RingHash, Simple, Transport
from lateen.plan.destinations import hash_keys
from lateen.plan.domains import Audience
from lateen.plan.http_routes import default_route
from lateen.plan.load_assignments import ClientMode
from lateen.plan.outbound_clusters import Target, client_mode, outbound_cluster
from lateen.plan.route import NO_CHANGES, Form, Forward, HeaderMatch, Route, RouteMatch, TextMatch, VirtualHost
from lateen.plan.virtual_hosts import Entry, audience, layout, owned_host

_FIXED = {":method": "POST", ":scheme": "http"}
"""What every gRPC call has; gRPC itself does not match them."""


@dataclass(frozen=True)
class Destination:
    """What a client's name stands for: a host's port, its virtual host in the layout of a sidecar."""

    host: str
    port: int


def split_name(name: str) -> tuple[str, int] | None:
    """(host, port) of a name that a client dials; None: it is not of the form `host:port`."""
    host, mark, port = name.rpartition(":")
    return (host.strip("[]").lower(), int(port)) if mark and host and port.isdigit() and 0 < int(port) < 65536 else None


@index
def _by_domain(db: Db, to: Audience, port: int) -> Mapping[str, Entry]:
    """Domain → virtual host at a port, as a sidecar has them."""
    found: dict[str, Entry] = {}
    for entry in _entries(db, to, port):
        for domain in entry.domains:
            found.setdefault(domain.lower().strip("[]"), entry)
    return found


@index
def _by_host(db: Db, to: Audience, port: int) -> Mapping[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in _entries(db, to, port):
        found.setdefault(entry.host, entry)
    return found


def _entries(db: Db, to: Audience, port: int) -> tuple[Entry, ...]:
    found = layout(db, to, str(port))
    return tuple(entry for entry in found.entries if entry.port == port) if found is not None else ()


def destination(db: Db, view: View, name: str) -> Destination | None:
    """What `host:port` stands for: any name by which a sidecar's client may call a service, short ones too. None: nothing.

    A port that is declared as something other than HTTP is none of gRPC's."""
    parts = split_name(name)
    if parts is None:
        return None
    host, port = parts
    to = audience(db, view)
    labels = host.split(".")
    for candidate in (host, *("*." + ".".join(labels[at:]) for at in range(1, len(labels)))):
        entry = _by_domain.at(db, candidate, to, port)
        if entry is not None:
            return Destination(entry.host, port)
    return None


def destination_host(db: Db, view: View, to: Destination) -> VirtualHost | None:
    """The one virtual host of a destination, for whatever name it was dialled by. None: there is no such destination."""
    who = audience(db, view)
    entry = _by_host.at(db, to.host, who, to.port)
    if entry is None:
        return None
    if entry.owner is not None:
        routes = owned_host(db, who, entry, to.port).routes
    else:
        routes = (default_route(db, to.host, to.port, hash_keys(db, who.eyes, who.labels, to.host, to.port, "")),)
    domains = (to.host, virtual_host_name(to.host, to.port), "*")
    return VirtualHost(entry.name, tuple(dict.fromkeys(domains)), tuple(route for one in routes if (route := _route(one)) is not None))


def _route(route: Route) -> Route | None:
    """A route as gRPC reads it; None: no call ever takes it."""
    match = _match(route.match)
    if match is None:
        return None
    action = route.action
    if isinstance(action, Forward):
        targets = tuple(replace(target, request=NO_CHANGES, response=NO_CHANGES, authority="") for target in action.targets)
        keys = tuple(key for key in action.hash_keys if key.header)
        retries = action.retries and replace(action.retries, avoids_tried_hosts=False, prefers_other_priorities=False, host_attempts=0)
        action = replace(action, targets=targets, retries=retries, hash_keys=keys, prefix=None, regex=None, authority="", mirrors=())
    return replace(route, match=match, action=action, request=NO_CHANGES, response=NO_CHANGES, cors=None)


def _match(match: RouteMatch) -> RouteMatch | None:
    """Conditions that gRPC can compare. A call has no query, and no claims are known of it."""
    if match.query or match.claims:
        return None
    if any(not _holds(header, _FIXED[header.name]) for header in match.headers if header.name in _FIXED):
        return None
    headers = tuple(header for header in match.headers if header.name not in _FIXED)
    path = match.path
    if path.form is Form.SEGMENTS:
        path = TextMatch(Form.PREFIX, "/") if path.value == "/" else TextMatch(Form.REGEX, f"{re.escape(path.value)}(/.*)?")
    return replace(match, path=path, headers=headers)


def _holds(header: HeaderMatch, value: str) -> bool:
    match header.match.form:
        case Form.EXACT:
            is_match = value == header.match.value
        case Form.PREFIX:
            is_match = value.startswith(header.match.value)
        case Form.REGEX:
            is_match = re2.fullmatch(header.match.value, value) is not None
        case _:
            is_match = True
    return is_match is not header.inverts


def proxyless_cluster(db: Db, caller: Caller, target: Target) -> Cluster | None:
    """One cluster as a gRPC client has it: its endpoints by EDS, or one name to resolve. None: there is none, or names come with each call.

    Source: gRPC A27, A37. TLS: `_transport`."""
    planned = outbound_cluster(db, caller, target)
    if planned is None or planned.discovery is Discovery.FORWARD or target.is_sni:
        return None
    balancer = planned.balancer if isinstance(planned.balancer, RingHash) else Simple(Choice.ROUND_ROBIN)
    is_named = planned.discovery in (Discovery.STRICT_DNS, Discovery.LOGICAL_DNS)
    found = replace(planned, balancer=balancer, outlier=None, transport=_transport(db, caller, target, planned.transport))
    if not is_named or planned.assignment is None:
        return replace(found, discovery=Discovery.EDS, assignment=None, dns=None)
    group = next((one for one in planned.assignment.groups if one.hosts), None)
    if group is None:
        return None
    only = replace(planned.assignment, groups=(replace(group, priority=0, weight=group.hosts[0].weight, hosts=group.hosts[:1]),))
    return replace(found, discovery=Discovery.LOGICAL_DNS, assignment=only, balancer=Simple(Choice.ROUND_ROBIN))


def _transport(db: Db, caller: Caller, target: Target, planned: Transport) -> Transport:
    """Mesh TLS where a DestinationRule asks for it, as in Istio; and, ours, where every endpoint would refuse anything else. gRPC knows one security for all
    endpoints of a cluster, and a sidecar that takes both tells the mesh's clients by an ALPN that gRPC doesn't offer."""
    if not isinstance(planned.socket, MeshTls):
        return Transport()
    rule = rule_of(db, caller.rule)
    subset = rule.subset(target.subset) if rule and target.subset else None
    labels = label_pairs(subset.labels) if subset else ()
    service = target.service
    is_asked = client_mode(db, caller, target) is ClientMode.ALWAYS
    if is_asked or is_all_strict(db, service.namespace, service.hostname, target.port.name, labels):
        return Transport(planned.socket)
    return Transport()


def server_mode(db: Db, view: View, name: str) -> tuple[str, int, MtlsMode] | None:
    """(address, port, mode) of a server's listener by its name. None: not of that form.

    PERMISSIVE is plaintext there: gRPC serves one or the other. Source: Istio, inbound listeners of proxyless gRPC."""
    if not name.startswith(GRPC_SERVER_LISTENERS):
        return None
    parts = split_name(name.removeprefix(GRPC_SERVER_LISTENERS))
    return (*parts, mtls_mode(db, view.namespace, view.labels, parts[1])) if parts is not None else None
