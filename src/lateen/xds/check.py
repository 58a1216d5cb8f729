"""What Envoy would refuse is found before it is sent: the constraints of its descriptors, and the rules that its code has beside them.

Called wherever a resource is made, once for each; a resource with a problem is never sent (`serve.catalog` keeps the last good one). Source: Envoy's
descriptors; what else it refuses, by asking it: the tests offer it each of these hazards.
"""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_network
from itertools import chain, product
from typing import Any

import re2
from google.protobuf.message import Message

from lateen.base.addresses import is_plain_ip
from lateen.config.validate.names import CIPHER_SUITES
from lateen.mesh import log_formats
from lateen.mesh.header_values import is_format
from lateen.plan.http_match import MAX_PROGRAM
from lateen.plan.server_tls import CURVES
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.xds.constraints import Constraints, Test

MAX_DIRECT_RESPONSE_BYTES = 1024 * 1024
LONGEST_SOCKET_PATH = 107
"""Of a unix socket. Source: Linux."""
LONGEST_ALPN = 255
"""Bytes of a protocol's name. Source: RFC 7301."""
_MOST = 2**32 - 1
_LONGEST_S = 9223372036
"""Of a duration: what fits into 64 bits of nanoseconds."""
_FIXED_HEADERS = frozenset({"host"})
_MOST_KEYS = 100_000
"""Combinations of one listener's conditions that are compared; beyond, Envoy decides."""


def problem(message: Message) -> str:
    """The first thing in a message that Envoy would refuse, with its place; empty: nothing."""
    return CONSTRAINTS.problem(message)


def shared_domain(hosts: Iterable[Iterable[str]]) -> str:
    """A problem of virtual hosts of one table together: a domain that two have. Empty: none has."""
    seen: set[str] = set()
    for domain in chain.from_iterable(hosts):
        lowered = domain.lower()
        if lowered in seen:
            return f"virtual_hosts: the domain {domain!r} twice"
        seen.add(lowered)
    return ""


@lru_cache(4096)
def _pattern(pattern: str) -> str:
    """What RE2 says against a pattern."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        return f": RE2 refuses {pattern[:80]!r}: {error.args[0].decode(errors='replace') if isinstance(error.args[0], bytes) else error}"
    if compiled.programsize > MAX_PROGRAM:
        return f": {pattern[:80]!r} makes a program of {compiled.programsize}, at most {MAX_PROGRAM}"
    return ""


def _regex(matcher: Any) -> str:
    return _pattern(matcher.regex)


def _duration(value: Any) -> str:
    if value.seconds < 0 or value.nanos < 0 or value.nanos >= 10**9 or value.seconds >= _LONGEST_S:
        return ": out of range"
    return ""


def _weights(clusters: Any) -> str:
    total = sum(one.weight.value for one in clusters.clusters)
    return "" if 0 < total <= _MOST else f".clusters: the sum of their weights, {total}, must be 1 to {_MOST}"


def _table(configuration: Any) -> str:
    why = shared_domain(host.domains for host in configuration.virtual_hosts)
    return f".{why}" if why else ""


def _removed(message: Any) -> str:
    for field in ("request_headers_to_remove", "response_headers_to_remove"):
        for name in getattr(message, field):
            if name.startswith(":") or name.lower() in _FIXED_HEADERS:
                return f".{field}: {name!r} may not be removed"
    return ""


def _share(weight: Any) -> str:
    return _removed(weight) if weight.name or weight.cluster_header else ".name: empty"


def _mirror(policy: Any) -> str:
    return "" if policy.cluster or policy.cluster_header else ".cluster: empty"


def _virtual_host(host: Any) -> str:
    why = shared_domain((host.domains,))
    return f".domains{why.removeprefix('virtual_hosts')}" if why else _removed(host)


def _header(option: Any) -> str:
    key = option.header.key
    if key.startswith(":") or key.lower() in _FIXED_HEADERS:
        return f".header.key: {key!r} may not be modified"
    return "" if "%" not in option.header.value or is_format(option.header.value) else f".header.value: no format: {option.header.value[:80]!r}"


def _retries(policy: Any) -> str:
    backoff = policy.retry_back_off
    if not policy.HasField("retry_back_off") or not backoff.HasField("max_interval"):
        return ""
    is_less = (backoff.max_interval.seconds, backoff.max_interval.nanos) < (backoff.base_interval.seconds, backoff.base_interval.nanos)
    return ".retry_back_off: the longest interval is below the first one" if is_less else ""


def _direct(action: Any) -> str:
    size = len(action.body.inline_string.encode()) + len(action.body.inline_bytes)
    return "" if size <= MAX_DIRECT_RESPONSE_BYTES else f".body: {size} bytes, at most {MAX_DIRECT_RESPONSE_BYTES}"


def _pipe(pipe: Any) -> str:
    size = len(pipe.path.encode())
    return "" if size <= LONGEST_SOCKET_PATH else f".path: {size} bytes, at most {LONGEST_SOCKET_PATH}"


def _range(cidr: Any) -> str:
    if not is_plain_ip(cidr.address_prefix):
        return f".address_prefix: {cidr.address_prefix!r} is no address"
    return "" if cidr.prefix_len.value <= (128 if ":" in cidr.address_prefix else 32) else f".prefix_len: {cidr.prefix_len.value}"


def nameless(assignment: Any) -> str:
    """A problem of an assignment whose endpoints must be addresses (EDS, static clusters): one is a name. Empty: none is."""
    for index, group in enumerate(assignment.endpoints):
        for at, one in enumerate(group.lb_endpoints):
            address = one.endpoint.address
            if address.HasField("socket_address") and not is_plain_ip(address.socket_address.address):
                return f"endpoints[{index}].lb_endpoints[{at}]: {address.socket_address.address!r} is no address"
    return ""


def _assignment(assignment: Any) -> str:
    """Sums that must fit into 32 bits. Source: Envoy, load_balancing_weight of endpoints and localities."""
    totals: Counter[int] = Counter()
    for index, group in enumerate(assignment.endpoints):
        totals[group.priority] += group.load_balancing_weight.value
        if sum(one.load_balancing_weight.value for one in group.lb_endpoints) > _MOST:
            return f".endpoints[{index}].lb_endpoints: the sum of their weights is above {_MOST}"
    return next((f".endpoints: the sum of the weights at priority {one} is above {_MOST}" for one, total in totals.items() if total > _MOST), "")


def _bound(binding: Any) -> str:
    address = binding.source_address.address
    return f".source_address: {address!r} is no address" if binding.HasField("source_address") and not is_plain_ip(address) else ""


def _client_tls(context: Any) -> str:
    common = context.common_tls_context
    if len(common.tls_certificates) + len(common.tls_certificate_sds_secret_configs) > 1:
        return ".common_tls_context: more than one certificate"
    return ".sni: a zero byte" if "\0" in context.sni else ""


def _common_tls(context: Any) -> str:
    long = next((name for name in context.alpn_protocols if len(name.encode()) > LONGEST_ALPN), None)
    return f".alpn_protocols: more than {LONGEST_ALPN} bytes: {long[:80]!r}" if long is not None else ""


def _maglev(config: Any) -> str:
    size = config.table_size.value
    is_prime = size > 1 and all(size % factor for factor in range(2, int(size**0.5) + 1))
    return "" if is_prime or not config.HasField("table_size") else f".table_size: no prime: {size}"


def _text_format(format_: Any) -> str:
    why = log_formats.problem(format_.text_format_source.inline_string)
    return f".text_format_source: {why}" if why else ""


def _tunnel(config: Any) -> str:
    return "" if "%" not in config.hostname or is_format(config.hostname) else f".hostname: no format: {config.hostname[:80]!r}"


def _parameters(parameters: Any) -> str:
    if unknown := next((one for one in parameters.cipher_suites if one not in CIPHER_SUITES), ""):
        return f".cipher_suites: no suite that Envoy knows: {unknown[:80]!r}"
    curves = parameters.ecdh_curves
    if unknown := next((one for one in curves if one not in CURVES), ""):
        return f".ecdh_curves: no curve that Envoy knows: {unknown!r}"
    return "" if len(set(curves)) == len(curves) else ".ecdh_curves: the same twice"


def _cluster(cluster: Any) -> str:
    ring = cluster.ring_hash_lb_config
    if cluster.HasField("ring_hash_lb_config") and ring.HasField("maximum_ring_size") and ring.minimum_ring_size.value > ring.maximum_ring_size.value:
        return ".ring_hash_lb_config: the smallest ring is above the largest"
    is_static = cluster.HasField("load_assignment") and not cluster.HasField("cluster_type") and cluster.type == cluster_pb2.Cluster.STATIC
    return f".load_assignment.{why}" if is_static and (why := nameless(cluster.load_assignment)) else ""


def _listener(listener: Any) -> str:
    for place in (listener.address, *(one.address for one in listener.additional_addresses)):
        if place.HasField("socket_address") and not is_plain_ip(place.socket_address.address):
            return f".address: {place.socket_address.address!r} is no address"
    seen: set[tuple[Any, ...]] = set()
    for index, one in enumerate(listener.filter_chains):
        match = one.filter_chain_match
        if any("*" in name.removeprefix("*.") for name in match.server_names):
            return f".filter_chains[{index}].filter_chain_match.server_names: a part of a label as a wildcard"
        sides = _sides(match)
        size = 1
        for side in sides:
            size *= len(side)
        if size + len(seen) > _MOST_KEYS:
            return ""
        keys = set(product(*sides))
        if len(keys) < size or not seen.isdisjoint(keys):
            return f".filter_chains[{index}].filter_chain_match: another filter chain matches the same"
        seen |= keys
    return ""


def _sides(match: Any) -> tuple[tuple[Any, ...], ...]:
    """What a filter chain matches, by each condition; one that is not there is one of its own."""
    return (
        (match.destination_port.value,),
        _networks(match.prefix_ranges),
        tuple(name.lower() for name in match.server_names) or ("",),
        (match.transport_protocol,),
        tuple(match.application_protocols) or ("",),
        _networks(match.direct_source_prefix_ranges),
        (match.source_type,),
        _networks(match.source_prefix_ranges),
        tuple(match.source_ports) or (0,),
    )


def _networks(ranges: Any) -> tuple[object, ...]:
    return tuple(ip_network(f"{one.address_prefix}/{one.prefix_len.value}", strict=False) for one in ranges) or (None,)


_ENVOY = "envoy.config."
_TLS = "envoy.extensions.transport_sockets.tls.v3."
RULES: dict[str, Test] = {
    "google.protobuf.Duration": _duration,
    "envoy.type.matcher.v3.RegexMatcher": _regex,
    f"{_ENVOY}route.v3.WeightedCluster": _weights,
    f"{_ENVOY}route.v3.WeightedCluster.ClusterWeight": _share,
    f"{_ENVOY}route.v3.RouteAction.RequestMirrorPolicy": _mirror,
    f"{_ENVOY}route.v3.RouteConfiguration": _table,
    f"{_ENVOY}route.v3.VirtualHost": _virtual_host,
    f"{_ENVOY}route.v3.Route": _removed,
    f"{_ENVOY}route.v3.RetryPolicy": _retries,
    f"{_ENVOY}route.v3.DirectResponseAction": _direct,
    f"{_ENVOY}core.v3.HeaderValueOption": _header,
    f"{_ENVOY}core.v3.Pipe": _pipe,
    f"{_ENVOY}core.v3.SubstitutionFormatString": _text_format,
    f"{_ENVOY}core.v3.CidrRange": _range,
    f"{_ENVOY}core.v3.BindConfig": _bound,
    f"{_TLS}UpstreamTlsContext": _client_tls,
    f"{_TLS}CommonTlsContext": _common_tls,
    f"{_TLS}TlsParameters": _parameters,
    f"{_ENVOY}cluster.v3.Cluster.MaglevLbConfig": _maglev,
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig": _tunnel,
    f"{_ENVOY}endpoint.v3.ClusterLoadAssignment": _assignment,
    f"{_ENVOY}cluster.v3.Cluster": _cluster,
    f"{_ENVOY}listener.v3.Listener": _listener,
}
"""What Envoy's code refuses beside the constraints, by message type. A type that is not here has none that our configuration could break."""
CONSTRAINTS = Constraints(RULES)
