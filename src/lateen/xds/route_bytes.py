"""Virtual hosts as Envoy's messages. Called by `xds.routes`; the values come from `plan.route`.

Source: Envoy config.route.v3; the spelling of each field (what is set explicitly, what is left to defaults) is the one Istio's tools and users know.
"""

from google.protobuf.message import Message

from lateen.base.names import ObjectRef
from lateen.plan.route import (
    Cors,
    Fault,
    Form,
    Forward,
    Fraction,
    HashKey,
    HeaderChanges,
    Mirror,
    Redirect,
    RegexRewrite,
    Respond,
    Retries,
    Route,
    RouteMatch,
    Target,
    TextMatch,
    VirtualHost,
)
from lateen.wire.pb.envoy.config.core.v3 import base_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2 as components
from lateen.wire.pb.envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_fault_pb2
from lateen.wire.pb.envoy.extensions.filters.http.cors.v3 import cors_pb2
from lateen.wire.pb.envoy.extensions.filters.http.fault.v3 import fault_pb2
from lateen.wire.pb.envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from lateen.wire.pb.envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from lateen.wire.pb.envoy.type.matcher.v3 import metadata_pb2, regex_pb2, string_pb2, value_pb2
from lateen.wire.pb.envoy.type.v3 import percent_pb2
from lateen.wire.pb.google.protobuf import any_pb2, duration_pb2

FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"
JWT = "envoy.filters.http.jwt_authn"
PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
PREVIOUS_PRIORITIES = "envoy.retry_priorities.previous_priorities"
TYPE_PREFIX = "type.googleapis.com/"
_DENOMINATORS = {
    100: percent_pb2.FractionalPercent.HUNDRED,
    10_000: percent_pb2.FractionalPercent.TEN_THOUSAND,
    1_000_000: percent_pb2.FractionalPercent.MILLION,
}
_CODES = {
    301: components.RedirectAction.MOVED_PERMANENTLY,
    302: components.RedirectAction.FOUND,
    303: components.RedirectAction.SEE_OTHER,
    307: components.RedirectAction.TEMPORARY_REDIRECT,
    308: components.RedirectAction.PERMANENT_REDIRECT,
}


def _any(message: Message) -> any_pb2.Any:
    return any_pb2.Any(type_url=TYPE_PREFIX + message.DESCRIPTOR.full_name, value=message.SerializeToString(deterministic=True))


def _duration(seconds: float) -> duration_pb2.Duration:
    whole, rest = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    return duration_pb2.Duration(seconds=whole, nanos=rest)


def _percent(share: Fraction) -> percent_pb2.FractionalPercent:
    return percent_pb2.FractionalPercent(numerator=share.numerator, denominator=_DENOMINATORS[share.of])


def _regex(pattern: str) -> regex_pb2.RegexMatcher:
    return regex_pb2.RegexMatcher(regex=pattern)


def _string(match: TextMatch) -> string_pb2.StringMatcher:
    match match.form:
        case Form.EXACT:
            return string_pb2.StringMatcher(exact=match.value)
        case Form.PREFIX:
            return string_pb2.StringMatcher(prefix=match.value)
        case _:
            return string_pb2.StringMatcher(safe_regex=_regex(match.value if match.form is Form.REGEX else ".*"))


def _substitution(rewrite: RegexRewrite) -> regex_pb2.RegexMatchAndSubstitute:
    return regex_pb2.RegexMatchAndSubstitute(pattern=_regex(rewrite.pattern), substitution=rewrite.substitution)


def _match(match: RouteMatch) -> components.RouteMatch:
    """A match of everything is a bare prefix, as a route without conditions has it."""
    message = components.RouteMatch()
    match match.path.form:
        case Form.EXACT:
            message.path = match.path.value
        case Form.REGEX:
            message.safe_regex.regex = match.path.value
        case Form.SEGMENTS:
            message.path_separated_prefix = match.path.value
        case _:
            message.prefix = match.path.value
    if not match.is_case_sensitive:
        message.case_sensitive.value = False
    for header in match.headers:
        one = message.headers.add(name=header.name, invert_match=header.inverts, treat_missing_header_as_empty=header.missing_is_empty)
        if header.match.form is Form.PRESENT:
            one.present_match = True
        else:
            one.string_match.CopyFrom(_string(header.match))
    for parameter in match.query:
        query = message.query_parameters.add(name=parameter.name)
        if parameter.match.form is Form.PRESENT:
            query.present_match = True
        else:
            query.string_match.CopyFrom(_string(parameter.match))
    for claim in match.claims:
        message.dynamic_metadata.add().CopyFrom(_claim(claim.path, claim.match, claim.inverts))
    return message


def _claim(path: tuple[str, ...], match: TextMatch, inverts: bool) -> metadata_pb2.MetadataMatcher:
    """A claim that is the text, or a list that holds it."""
    value = value_pb2.ValueMatcher(present_match=True)
    if match.form is not Form.PRESENT:
        text = value_pb2.ValueMatcher(string_match=_string(match))
        either = value_pb2.OrMatcher(value_matchers=(text, value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=text))))
        value = value_pb2.ValueMatcher(or_match=either)
    segments = [metadata_pb2.MetadataMatcher.PathSegment(key=key) for key in ("payload", *path)]
    return metadata_pb2.MetadataMatcher(filter=JWT, path=segments, value=value, invert=inverts)


def _changes(changes: HeaderChanges, add: list[base_pb2.HeaderValueOption], remove: list[str]) -> None:
    for name, value in changes.put:
        option = base_pb2.HeaderValueOption(append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
        option.header.key, option.header.value = name, value
        add.append(option)
    for name, value in changes.added:
        option = base_pb2.HeaderValueOption()
        option.header.key, option.header.value = name, value
        add.append(option)
    remove.extend(changes.removed)


def _retries(policy: Retries) -> components.RetryPolicy:
    message = components.RetryPolicy(retry_on=policy.on, retriable_status_codes=policy.codes, host_selection_retry_max_attempts=policy.host_attempts)
    message.num_retries.value = policy.attempts
    if policy.per_try_timeout_s is not None:
        message.per_try_timeout.CopyFrom(_duration(policy.per_try_timeout_s))
    if policy.base_interval_s is not None:
        message.retry_back_off.base_interval.CopyFrom(_duration(policy.base_interval_s))
    if policy.avoids_tried_hosts:
        message.retry_host_predicate.add(name=PREVIOUS_HOSTS).typed_config.CopyFrom(_any(previous_hosts_pb2.PreviousHostsPredicate()))
    if policy.prefers_other_priorities:
        config = previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=2)
        message.retry_priority.name = PREVIOUS_PRIORITIES
        message.retry_priority.typed_config.CopyFrom(_any(config))
    return message


def _hash_policy(key: HashKey) -> components.RouteAction.HashPolicy:
    message = components.RouteAction.HashPolicy()
    if key.header:
        message.header.header_name = key.header
    elif key.cookie:
        message.cookie.name, message.cookie.path = key.cookie, key.cookie_path
        if key.cookie_ttl_s is not None:
            message.cookie.ttl.CopyFrom(_duration(key.cookie_ttl_s))
        for name, value in key.cookie_attributes:
            message.cookie.attributes.add(name=name, value=value)
    elif key.query:
        message.query_parameter.name = key.query
    else:
        message.connection_properties.source_ip = key.is_source_ip
    return message


def _mirror(mirror: Mirror) -> components.RouteAction.RequestMirrorPolicy:
    message = components.RouteAction.RequestMirrorPolicy(cluster=mirror.cluster, disable_shadow_host_suffix_append=True)
    message.runtime_fraction.default_value.CopyFrom(_percent(mirror.share))
    message.trace_sampled.value = False
    return message


def _target(target: Target) -> components.WeightedCluster.ClusterWeight:
    message = components.WeightedCluster.ClusterWeight(name=target.cluster, host_rewrite_literal=target.authority)
    message.weight.value = target.weight
    _add_changes(message, target.request, target.response)
    return message


def _add_changes(message: components.Route | components.WeightedCluster.ClusterWeight, request: HeaderChanges, response: HeaderChanges) -> None:
    for changes, to_add, to_remove in (
        (request, message.request_headers_to_add, message.request_headers_to_remove),
        (response, message.response_headers_to_add, message.response_headers_to_remove),
    ):
        add: list[base_pb2.HeaderValueOption] = []
        remove: list[str] = []
        _changes(changes, add, remove)
        to_add.extend(add)
        to_remove.extend(remove)


def _forward(action: Forward) -> components.RouteAction:
    message = components.RouteAction(host_rewrite_literal=action.authority) if action.authority else components.RouteAction()
    if action.is_split:
        message.weighted_clusters.clusters.extend(_target(target) for target in action.targets)
        if action.hash_keys:  # the same hash chooses the side, so that a client stays with it
            message.weighted_clusters.use_hash_policy.value = True
    else:
        message.cluster = action.targets[0].cluster
    message.timeout.CopyFrom(_duration(action.timeout_s))
    message.max_grpc_timeout.CopyFrom(_duration(action.timeout_s))
    if action.fails_with_500:
        message.cluster_not_found_response_code = components.RouteAction.INTERNAL_SERVER_ERROR
    if action.retries is not None:
        message.retry_policy.CopyFrom(_retries(action.retries))
    if action.prefix is not None:
        message.prefix_rewrite = action.prefix
    if action.regex is not None:
        message.regex_rewrite.CopyFrom(_substitution(action.regex))
    message.request_mirror_policies.extend(_mirror(mirror) for mirror in action.mirrors)
    message.hash_policy.extend(_hash_policy(key) for key in action.hash_keys)
    return message


def _redirect(action: Redirect) -> components.RedirectAction:
    message = components.RedirectAction(host_redirect=action.host, port_redirect=action.port, response_code=_CODES[action.code])
    if action.scheme:
        message.scheme_redirect = action.scheme
    if action.regex is not None:
        message.regex_rewrite.CopyFrom(_substitution(action.regex))
    elif action.prefix is not None:
        message.prefix_rewrite = action.prefix
    else:
        message.path_redirect = action.path
    return message


def _respond(action: Respond) -> components.DirectResponseAction:
    message = components.DirectResponseAction(status=action.status)
    if action.text:
        message.body.inline_string = action.text
    elif action.data:
        message.body.inline_bytes = action.data
    return message


def _fault(fault: Fault) -> fault_pb2.HTTPFault:
    message = fault_pb2.HTTPFault()
    if fault.delay_s is not None:
        delay = common_fault_pb2.FaultDelay(fixed_delay=_duration(fault.delay_s))
        if fault.delay_share is not None:
            delay.percentage.CopyFrom(_percent(fault.delay_share))
        message.delay.CopyFrom(delay)
    if fault.http_status is not None:
        message.abort.http_status = fault.http_status
    elif fault.grpc_status is not None:
        message.abort.grpc_status = fault.grpc_status
    if fault.abort_share is not None:
        message.abort.percentage.CopyFrom(_percent(fault.abort_share))
    return message


def _cors(policy: Cors) -> cors_pb2.CorsPolicy:
    message = cors_pb2.CorsPolicy(allow_methods=policy.methods, allow_headers=policy.headers, expose_headers=policy.exposed, max_age=policy.max_age_s)
    message.allow_origin_string_match.extend(_string(origin) for origin in policy.origins)
    message.filter_enabled.default_value.CopyFrom(_percent(Fraction(100, 100)))
    if policy.credentials is not None:
        message.allow_credentials.value = policy.credentials
    message.forward_not_matching_preflights.value = policy.forwards_unmatched_preflights
    return message


def config_path(origin: ObjectRef) -> str:
    """How metadata names the object that decided something. Source: Istio, `filter_metadata.istio.config`."""
    kind = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in origin.kind).lstrip("-")
    return f"/apis/networking.istio.io/v1/namespaces/{origin.namespace}/{kind}/{origin.name}"


def route_message(route: Route) -> components.Route:
    """One route."""
    message = components.Route(name=route.name, match=_match(route.match), stat_prefix=route.stat_prefix)
    match route.action:
        case Forward():
            message.route.CopyFrom(_forward(route.action))
        case Redirect():
            message.redirect.CopyFrom(_redirect(route.action))
        case Respond():
            message.direct_response.CopyFrom(_respond(route.action))
    _add_changes(message, route.request, route.response)
    if route.fault is not None:
        message.typed_per_filter_config[FAULT].CopyFrom(_any(_fault(route.fault)))
    if route.cors is not None:
        message.typed_per_filter_config[CORS].CopyFrom(_any(_cors(route.cors)))
    if route.operation:
        message.decorator.operation = route.operation
    if route.origin is not None:
        message.metadata.filter_metadata["istio"]["config"] = config_path(route.origin)
    return message


def virtual_host_message(host: VirtualHost) -> components.VirtualHost:
    """One virtual host."""
    message = components.VirtualHost(name=host.name, domains=host.domains, include_request_attempt_count=host.counts_attempts)
    message.routes.extend(route_message(route) for route in host.routes)
    if host.requires_tls:
        message.require_tls = components.VirtualHost.ALL
    return message
