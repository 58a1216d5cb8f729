"""What is wrong with VirtualServices in this mesh: targets that are not there, routes nobody reaches, gateways that don't know a host, fields without effect.

Each VirtualService is looked at by a query of its own; traffic is not touched by any of it. Called by `mesh.findings`. Codes: Istio's analyzers; LTN: ours.
"""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

import msgspec

from lateen.base.findings import Finding, Severity
from lateen.base.names import MESH_GATEWAY, ObjectRef
from lateen.config.kinds.istio.gateway import Gateway
from lateen.config.kinds.istio.virtual_service import Destination, HttpMatch, HttpRoute, StringMatch, TcpMatch, TlsMatch, VirtualService
from lateen.config.store import OBJECTS, one
from lateen.incremental import Db, query
from lateen.mesh.destination_rules import EffectiveRule, destination_rule
from lateen.mesh.header_values import MAX_VALUE_BYTES, header_text, is_format
from lateen.mesh.hosts import is_within, overlap
from lateen.mesh.model import Service
from lateen.mesh.services import services_by_host
from lateen.mesh.virtual_services import effective, gateway_name, resolved_host
from lateen.mesh.visibility import exported_services

Match = HttpMatch | TlsMatch | TcpMatch


@query
def route_findings(db: Db) -> tuple[Finding, ...]:
    """Of all VirtualServices, by namespace and name."""
    keys = sorted(OBJECTS.keys(db, (VirtualService.__name__,)))
    return tuple(finding for key in keys for finding in service_findings(db, key))


@query
def service_findings(db: Db, key: ObjectRef) -> tuple[Finding, ...]:
    """Of one VirtualService."""
    service = one(db, VirtualService, key.namespace, key.name)
    if service is None:
        return ()
    found = (*_targets(db, service, key), *_gateways(db, service, key), *_order(service, key), *_without_effect(service, key))
    return found if len(found) <= MOST_TOLD else (*found[:MOST_TOLD], _more(key, len(found) - MOST_TOLD))


MOST_TOLD = 200
"""Findings about one VirtualService: nobody reads more, and some are written by machines."""


def _more(key: ObjectRef, number: int) -> Finding:
    return Finding("LTN0304", Severity.WARNING, f"{number} more findings about this object are not told", key, "spec", "mend those before")


# Targets


def _written_targets(service: VirtualService) -> Iterator[tuple[str, Destination]]:
    for at, http in enumerate(service.spec.http):
        for index, to in enumerate(http.route):
            if to.destination:
                yield f"spec.http[{at}].route[{index}].destination", to.destination
        if http.mirror:
            yield f"spec.http[{at}].mirror", http.mirror
        for index, mirror in enumerate(http.mirrors):
            if mirror.destination:
                yield f"spec.http[{at}].mirrors[{index}].destination", mirror.destination
    streams = [(f"spec.tls[{at}]", route.route) for at, route in enumerate(service.spec.tls)]
    streams += [(f"spec.tcp[{at}]", route.route) for at, route in enumerate(service.spec.tcp)]
    for field, targets in streams:
        for index, target in enumerate(targets):
            if target.destination:
                yield f"{field}.route[{index}].destination", target.destination


def _targets(db: Db, service: VirtualService, key: ObjectRef) -> Iterator[Finding]:
    for field, to in _written_targets(service):
        if not to.host:
            continue
        host = resolved_host(to.host, key.namespace)
        found = _target(db, host, key.namespace)
        if found is None:
            yield Finding("IST0101", Severity.ERROR, f"no service has this host: `{to.host}`", key, f"{field}.host", _close(db, to.host, key.namespace))
            rule = destination_rule(db, key.namespace, key.namespace, host)
            yield from _subset(rule, to, key, field) if rule else ()
            continue
        for viewer in sorted(set(service.spec.export_to) - {"*", ".", "~", key.namespace}):
            if _target(db, host, viewer) is None:
                text = f"clients in `{viewer}` get this route and do not see the host: `{to.host}`"
                yield Finding("IST0101", Severity.ERROR, text, key, f"{field}.host", "export the service to them as well, or the route not")
        yield from _port(found, to, key, field)
        yield from _subset(destination_rule(db, key.namespace, found.namespace, found.hostname), to, key, field)


@query
def _target(db: Db, host: str, namespace: str) -> Service | None:
    """The service that a namespace's VirtualServices mean by a host; one with a wildcard covers others."""
    exact = _visible(services_by_host.at(db, host) or (), namespace)
    if exact is not None:
        return exact
    return _visible((service for service in _wildcards(db, namespace) if is_within(host, service.hostname)), namespace)


@query
def _wildcards(db: Db, namespace: str) -> tuple[Service, ...]:
    return tuple(service for service in exported_services(db, namespace) if service.hostname.startswith("*"))


def _visible(services: Iterable[Service], namespace: str) -> Service | None:
    seen = [service for service in services if {"*", namespace} & service.export_to]
    return next((service for service in seen if service.namespace == namespace), next(iter(seen), None))


def _close(db: Db, host: str, namespace: str) -> str:
    """A hint: the host that is most like it."""
    own = f".{namespace}.svc.cluster.local"
    names = [service.hostname for service in exported_services(db, namespace)]
    known = [name.removesuffix(own) for name in names] if "." not in host else names
    close = get_close_matches(host, known, 1)
    return f"did you mean `{close[0]}`?" if close else "requests get 503 until a Service or ServiceEntry has it"


def _port(found: Service, to: Destination, key: ObjectRef, field: str) -> Iterator[Finding]:
    numbers = [str(port.number) for port in found.ports]
    if to.port is not None and to.port.number and found.ports and found.port(to.port.number) is None:
        text = f"the service has no such port: `{to.port.number}`"
        yield Finding("IST0101", Severity.ERROR, text, key, f"{field}.port.number", f"it has {', '.join(numbers)}")
    if to.port is None and len(found.ports) > 1:
        text = f"the service has several ports and none is chosen: `{to.host}`"
        yield Finding("IST0112", Severity.ERROR, text, key, f"{field}.port", f"say which: {', '.join(numbers)}")


def _subset(rule: EffectiveRule | None, to: Destination, key: ObjectRef, field: str) -> Iterator[Finding]:
    if not to.subset:
        return
    names = [subset.name for subset in rule.subsets] if rule else []
    if to.subset not in names:
        close = get_close_matches(to.subset, names, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"its DestinationRule has {', '.join(names)}" if names else "add a DestinationRule that defines it"
        yield Finding("IST0101", Severity.ERROR, f"no DestinationRule of the host defines this subset: `{to.subset}`", key, f"{field}.subset", hint)


# Gateways


def _gateways(db: Db, service: VirtualService, key: ObjectRef) -> Iterator[Finding]:
    heading = effective(db, key)
    for at, written in enumerate(service.spec.gateways):
        name = gateway_name(written, key.namespace)
        if name == MESH_GATEWAY:
            continue
        home, _, short = name.partition("/")
        gateway = one(db, Gateway, home, short)
        if gateway is None:
            yield Finding("IST0101", Severity.ERROR, f"there is no such Gateway: `{name}`", key, f"spec.gateways[{at}]", _close_gateway(db, short, home))
    others = [name for written in service.spec.gateways if (name := gateway_name(written, key.namespace)) != MESH_GATEWAY]
    if heading is None or not others:
        return
    served = [host for name in others for host in _served(db, name, key.namespace)]
    lost = [host for host in heading.hosts if all(overlap(host, one) is None for one in served)]
    if lost and (served or all(one(db, Gateway, *name.split("/", 1)) for name in others)):
        text = f"none of its Gateways serves `{', '.join(lost)}`"
        yield Finding("IST0132", Severity.WARNING, text, key, "spec.hosts", f"they serve {', '.join(dict.fromkeys(served)) or 'no host of this namespace'}")
        return
    for name in others:
        hosts = _served(db, name, key.namespace)
        if hosts and not any(overlap(host, one) for host in heading.hosts for one in hosts):
            text = f"this Gateway serves none of the hosts: `{name}`"
            yield Finding("IST0132", Severity.WARNING, text, key, "spec.gateways", f"it serves {', '.join(hosts)}")


@query
def _served(db: Db, gateway: str, namespace: str) -> tuple[str, ...]:
    """The hosts a Gateway serves for VirtualServices of a namespace."""
    home, _, name = gateway.partition("/")
    found = one(db, Gateway, home, name)
    hosts = [host for server in found.spec.servers for host in server.hosts] if found else []
    parts = [(host.rpartition("/")[0], host.rpartition("/")[2]) for host in hosts]
    return tuple(host for space, host in parts if space in ("", "*", namespace) or (space == "." and home == namespace))


def _close_gateway(db: Db, name: str, namespace: str) -> str:
    names = [key.name for key in OBJECTS.keys(db, (Gateway.__name__, namespace))]
    close = get_close_matches(name, names, 1)
    return f"did you mean `{close[0]}`?" if close else "another namespace's is written `namespace/name`"


# Order


def _order(service: VirtualService, key: ObjectRef) -> Iterator[Finding]:
    """Routes, and single conditions, that an earlier one takes everything from."""
    yield from _dead("spec.http", [route.match for route in service.spec.http], key)
    yield from _dead("spec.tls", [route.match for route in service.spec.tls], key)
    yield from _dead("spec.tcp", [route.match for route in service.spec.tcp], key)


def _dead(field: str, routes: Sequence[tuple[Match, ...]], key: ObjectRef) -> Iterator[Finding]:
    earlier = _Earlier()
    for at, matches in enumerate(routes):
        place = f"{field}[{at}]"
        entries: tuple[Match | None, ...] = matches or (None,)
        covered = [earlier.coverer(entry) for entry in entries]
        if all(covered):
            yield Finding("IST0130", Severity.WARNING, f"never reached: {covered[0]} takes its requests", key, place, "put the narrower one first")
        own = _Earlier()
        for index, entry in enumerate(entries):
            inner = covered[index] or own.coverer(entry)
            if inner and entry is not None:
                text = f"never decides: {inner} takes its requests"
                yield Finding("IST0131", Severity.INFO, text, key, f"{place}.match[{index}]", "leave it out")
            own.add(f"{place}.match[{index}]" if entry is not None else place, entry)
        earlier.extend(own)


class _Earlier:
    """The conditions so far, by what they want of the path, so that a condition is held against those that may cover it only. Local to one query run."""

    LOOKED_AT = 100
    """Of the conditions that want the same of the path, the first so many: thousands that differ in a header only are not held against one another."""

    def __init__(self) -> None:
        self._groups: dict[object, list[tuple[int, str, Match | None]]] = {}
        self._prefix_lengths: set[int] = set()
        self._count = 0

    def add(self, place: str, entry: Match | None) -> None:
        """One more condition. None: a route without any."""
        uri = entry.uri if isinstance(entry, HttpMatch) else None
        key: object = entry if entry is not None and not isinstance(entry, HttpMatch) and entry != _nothing(entry) else uri and _uri_key(uri)
        if uri is not None and uri.prefix is not None:
            self._prefix_lengths.add(len(uri.prefix))
        group = self._groups.setdefault(key, [])
        if len(group) < self.LOOKED_AT:
            group.append((self._count, place, entry))
        self._count += 1

    def extend(self, other: "_Earlier") -> None:
        """All of another's, after those that are there."""
        for _, place, entry in sorted((item for group in other._groups.values() for item in group), key=lambda item: item[0]):
            self.add(place, entry)

    def coverer(self, entry: Match | None) -> str:
        """The first condition that holds whenever this one does; empty: none does."""
        found = [item for key in self._keys(entry) for item in self._groups.get(key, ()) if _covers(item[2], entry)]
        return f"`{min(found, key=lambda item: item[0])[1]}`" if found else ""

    def _keys(self, entry: Match | None) -> Iterator[object]:
        yield None
        if entry is not None and not isinstance(entry, HttpMatch):
            yield entry
            return
        uri = entry.uri if entry is not None else None
        text = (uri.exact or uri.prefix or "") if uri is not None and uri.regex is None else "/" if uri is None else ""
        yield from (("prefix", text[:length]) for length in sorted(self._prefix_lengths) if length <= len(text))
        if uri is not None and uri.prefix is None:
            yield _uri_key(uri)


def _uri_key(uri: StringMatch) -> object:
    return ("prefix", uri.prefix) if uri.prefix is not None else uri


def _covers(wide: Match | None, narrow: Match | None) -> bool:
    if wide is None:
        return True
    if narrow is None:
        return wide == _nothing(wide)
    if isinstance(wide, HttpMatch) and isinstance(narrow, HttpMatch):
        return _covers_http(wide, narrow)
    return _nameless(wide) == _nameless(narrow) or wide == _nothing(wide)


def _nothing(match: Match) -> Match:
    """The condition of its kind that always holds."""
    return type(match)(name=match.name, stat_prefix=match.stat_prefix) if isinstance(match, HttpMatch) else type(match)()


def _nameless(match: Match) -> Match:
    return msgspec.structs.replace(match, name="", stat_prefix="") if isinstance(match, HttpMatch) else match


def _covers_http(wide: HttpMatch, narrow: HttpMatch) -> bool:
    """Whether every request that `narrow` takes is one for `wide`, as far as can be told without comparing patterns."""
    if _nameless(wide) == _nameless(narrow):
        return True
    uris = _covers_text(wide.uri, narrow.uri) if wide.ignore_uri_case == narrow.ignore_uri_case else wide.uri is None
    simple = ((wide.method, narrow.method), (wide.scheme, narrow.scheme), (wide.authority, narrow.authority))
    return (
        uris
        and all(_covers_text(ours, theirs) for ours, theirs in simple)
        and all(narrow.headers.get(name) == value for name, value in wide.headers.items())
        and all(narrow.without_headers.get(name) == value for name, value in wide.without_headers.items())
        and all(narrow.query_params.get(name) == value for name, value in wide.query_params.items())
        and wide.port in (0, narrow.port)
        and wide.source_labels.items() <= narrow.source_labels.items()
        and wide.source_namespace in ("", narrow.source_namespace)
        and (not wide.gateways or (bool(narrow.gateways) and set(narrow.gateways) <= set(wide.gateways)))
    )


def _covers_text(wide: StringMatch | None, narrow: StringMatch | None) -> bool:
    if wide is None or wide == narrow:
        return True
    if narrow is None:
        return wide.prefix == "/"
    if wide.prefix is not None:
        return (narrow.exact or narrow.prefix or "").startswith(wide.prefix) and narrow.regex is None
    return False


# Without effect


def _without_effect(service: VirtualService, key: ObjectRef) -> Iterator[Finding]:
    """Fields that Envoy has nothing for; as in Istio they change nothing."""
    for at, route in enumerate(service.spec.http):
        delay = route.fault.delay if route.fault else None
        abort = route.fault.abort if route.fault else None
        if delay is not None and delay.exponential_delay is not None:
            yield _idle(key, f"spec.http[{at}].fault.delay.exponentialDelay", "use fixedDelay")
        if abort is not None and abort.http2_error is not None:
            yield _idle(key, f"spec.http[{at}].fault.abort.http2Error", "use httpStatus or grpcStatus")
        if delay is not None and delay.fixed_delay is not None and delay.percentage is None and not delay.percent:
            text = "without a percentage no request is delayed"
            yield Finding("LTN0302", Severity.WARNING, text, key, f"spec.http[{at}].fault.delay", "add `percentage: {value: 100}`")
        if abort is not None and abort.percentage is None:
            text = "without a percentage no request is aborted"
            yield Finding("LTN0302", Severity.WARNING, text, key, f"spec.http[{at}].fault.abort", "add `percentage: {value: 100}`")
        for field, value in _header_values(route):
            if header_text(value) is None:
                text = f"is left out: a header's value is one line of at most {MAX_VALUE_BYTES} bytes, this has {len(value.encode())}"
                yield Finding("LTN0305", Severity.WARNING, text, key, f"spec.http[{at}].{field}", "shorten it, and write no line breaks and no zero bytes")
            elif not is_format(value):
                text = f"is taken as plain text, it holds no command that the proxy knows: `{value}`"
                yield Finding("LTN0303", Severity.INFO, text, key, f"spec.http[{at}].{field}", "write a `%` that is one as `%%`")
    for at, tcp in enumerate(service.spec.tcp):
        for index, match in enumerate(tcp.match):
            if match.source_subnet:
                yield _idle(key, f"spec.tcp[{at}].match[{index}].sourceSubnet", "use sourceLabels or an AuthorizationPolicy")


def _header_values(route: HttpRoute) -> Iterator[tuple[str, str]]:
    headers = [("headers", route.headers), *((f"route[{index}].headers", to.headers) for index, to in enumerate(route.route))]
    for field, written in headers:
        for side, operations in (("request", written.request), ("response", written.response)) if written else ():
            for name, values in (("set", operations.set), ("add", operations.add)) if operations else ():
                yield from ((f"{field}.{side}.{name}[{header}]", value) for header, value in values.items())


def _idle(key: ObjectRef, field: str, hint: str) -> Finding:
    return Finding("LTN0301", Severity.WARNING, "has no effect, as in Istio", key, field, hint)
