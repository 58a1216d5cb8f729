"""PeerAuthentication, RequestAuthentication, AuthorizationPolicy. Source: Istio, pkg/config/validation and pkg/config/security."""

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from lateen.base.addresses import is_range
from lateen.base.findings import Finding
from lateen.config.kinds.istio.authorization_policy import Action, AuthorizationPolicy, Condition, Operation, Rule, Source
from lateen.config.kinds.istio.peer_authentication import PeerAuthentication
from lateen.config.kinds.istio.request_authentication import JwtRule, RequestAuthentication
from lateen.config.validate.attachment import check_attachment
from lateen.config.validate.names import check_duration, check_port, check_selector, is_header_token
from lateen.config.validate.report import Report

DRY_RUN = "istio.io/dry-run"
"""Annotation: count what a policy would do, do nothing."""
_BOOLEANS = frozenset({"1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"})
_KEYS = frozenset(
    {
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
    }
)
_KEY_FORMS = ("request.headers[", "request.auth.claims[", "experimental.envoy.filters.")


def check_peer_authentication(item: PeerAuthentication) -> tuple[Finding, ...]:
    """All findings about one PeerAuthentication."""
    report = Report(item)
    spec = item.spec
    labels = spec.selector.match_labels if spec.selector is not None else {}
    if spec.port_level_mtls and not labels:
        report.error("spec.portLevelMtls", "modes of ports need a selector with labels")
    for port in spec.port_level_mtls:
        if not port.isdigit():
            report.error(f"spec.portLevelMtls[{port}]", f"not a port: `{port}`")
        else:
            check_port(report, f"spec.portLevelMtls[{port}]", int(port))
    if spec.selector is not None:
        check_selector(report, "spec.selector.matchLabels", labels)
    return report.findings


def check_request_authentication(item: RequestAuthentication) -> tuple[Finding, ...]:
    """All findings about one RequestAuthentication."""
    report = Report(item)
    spec = item.spec
    check_attachment(report, spec.selector, spec.target_refs, spec.target_ref)
    for index, rule in enumerate(spec.jwt_rules):
        _jwt_rule(report, f"spec.jwtRules[{index}]", rule)
    return report.findings


def _jwt_rule(report: Report, field: str, rule: JwtRule) -> None:
    if not rule.issuer and not rule.jwks_uri:
        report.error(f"{field}.issuer", "neither an issuer nor a jwksUri")
    if rule.jwks and rule.jwks_uri:
        report.error(f"{field}.jwks", "either jwks or jwksUri")
    if rule.jwks_uri:
        _jwks_uri(report, f"{field}.jwksUri", rule.jwks_uri)
    elif rule.jwks:
        _jwks(report, f"{field}.jwks", rule.jwks)
    for name, values in (
        ("audiences", rule.audiences),
        ("fromParams", rule.from_params),
        ("fromCookies", rule.from_cookies),
        ("spaceDelimitedClaims", rule.space_delimited_claims),
    ):
        for index, value in enumerate(values):
            if not value:
                report.error(f"{field}.{name}[{index}]", "must not be empty")
    for index, header in enumerate(rule.from_headers):
        if not header.name:
            report.error(f"{field}.fromHeaders[{index}].name", "must not be empty")
    for index, claim in enumerate(rule.output_claim_to_headers):
        here = f"{field}.outputClaimToHeaders[{index}]"
        if not claim.claim:
            report.error(f"{here}.claim", "must not be empty")
        if not is_header_token(claim.header):
            report.error(f"{here}.header", f"not a header's name: `{claim.header}`")
    check_duration(report, f"{field}.timeout", rule.timeout)


def _jwks_uri(report: Report, field: str, uri: str) -> None:
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 raises for a bad one
    except ValueError:
        report.error(field, f"not a URL: `{uri}`")
        return
    if parts.scheme not in ("http", "https") or not parts.hostname:
        report.error(field, f"must begin with http:// or https://: `{uri}`")


def _jwks(report: Report, field: str, text: str) -> None:
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        report.error(field, "not JSON")
        return
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        report.error(field, "not a JSON Web Key Set", 'of the form {"keys": [...]}')


def check_authorization_policy(item: AuthorizationPolicy) -> tuple[Finding, ...]:
    """All findings about one AuthorizationPolicy."""
    report = Report(item)
    spec = item.spec
    check_attachment(report, spec.selector, spec.target_refs, spec.target_ref)
    dry_run = item.meta.annotations.get(DRY_RUN)
    if dry_run is not None:
        field = f"metadata.annotations[{DRY_RUN}]"
        if spec.action not in (Action.ALLOW, Action.DENY):
            report.error(field, f"a dry run is for ALLOW and DENY: {spec.action}")
        if dry_run not in _BOOLEANS:
            report.error(field, f"true or false: `{dry_run}`")
    if spec.action in (Action.DENY, Action.CUSTOM) and not spec.rules:
        report.error("spec.rules", f"{spec.action} without rules is never triggered", "add an empty rule `{}` to mean every request")
    if spec.action is Action.CUSTOM and not (spec.provider and spec.provider.name):
        report.error("spec.provider.name", "CUSTOM needs a provider")
    if spec.action is not Action.CUSTOM and spec.provider is not None:
        report.error("spec.provider", f"a provider is for CUSTOM only, not for {spec.action}")
    for index, rule in enumerate(spec.rules):
        _rule(report, f"spec.rules[{index}]", rule)
        if spec.action is Action.CUSTOM:
            _custom(report, f"spec.rules[{index}]", rule)
    return report.findings


def _rule(report: Report, field: str, rule: Rule) -> None:
    for index, came in enumerate(rule.from_):
        here = f"{field}.from[{index}].source"
        if came.source is None:
            report.error(here, "a source is missing")
        else:
            _source(report, here, came.source)
    for index, goes in enumerate(rule.to):
        here = f"{field}.to[{index}].operation"
        if goes.operation is None:
            report.error(here, "an operation is missing")
        else:
            _operation(report, here, goes.operation)
    for index, condition in enumerate(rule.when):
        _condition(report, f"{field}.when[{index}]", condition)


def _lists(part: Source | Operation) -> list[tuple[str, Sequence[str]]]:
    names = {name: getattr(part, name) for name in part.__struct_fields__}
    encoded = dict(zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True))
    return [(encoded[name], values) for name, values in names.items()]


def _not_empty(report: Report, field: str, part: Source | Operation, word: str) -> None:
    if not any(values for _, values in _lists(part)):
        report.error(field, f"the {word} says nothing")
    for name, values in _lists(part):
        for index, value in enumerate(values):
            if not value:
                report.error(f"{field}.{name}[{index}]", "must not be empty")


def _source(report: Report, field: str, source: Source) -> None:
    _not_empty(report, field, source, "source")
    if (source.service_accounts or source.not_service_accounts) and (source.principals or source.not_principals or source.namespaces or source.not_namespaces):
        report.error(f"{field}.serviceAccounts", "service accounts do not go with principals or namespaces", "make two sources")
    for name, accounts in (("serviceAccounts", source.service_accounts), ("notServiceAccounts", source.not_service_accounts)):
        for index, account in enumerate(accounts):
            parts = account.split("/")
            if len(parts) > 2 or not all(parts):
                report.error(f"{field}.{name}[{index}]", f"must be of the form name or namespace/name: `{account}`")
            elif "*" in account:
                report.error(f"{field}.{name}[{index}]", f"no wildcards here: `{account}`")
    blocks = (
        ("ipBlocks", source.ip_blocks),
        ("notIpBlocks", source.not_ip_blocks),
        ("remoteIpBlocks", source.remote_ip_blocks),
        ("notRemoteIpBlocks", source.not_remote_ip_blocks),
    )
    for name, values in blocks:
        _blocks(report, f"{field}.{name}", values)


def _blocks(report: Report, field: str, values: Sequence[str]) -> None:
    for index, value in enumerate(values):
        if value and not is_range(value):
            report.error(f"{field}[{index}]", f"not an IP address or CIDR block: `{value}`")


def _ports(report: Report, field: str, values: Sequence[str]) -> None:
    for index, value in enumerate(values):
        if not value.isdigit() or not 1 <= int(value) <= 65535:
            report.error(f"{field}[{index}]", f"a port is between 1 and 65535: `{value}`")


def _operation(report: Report, field: str, operation: Operation) -> None:
    _not_empty(report, field, operation, "operation")
    _ports(report, f"{field}.ports", operation.ports)
    _ports(report, f"{field}.notPorts", operation.not_ports)
    for name, paths in (("paths", operation.paths), ("notPaths", operation.not_paths)):
        for index, path in enumerate(paths):
            if problem := template_problem(path):
                report.error(f"{field}.{name}[{index}]", problem)


def template_problem(path: str) -> str:
    """Why a path with `{*}` or `{**}` is no path template; empty: it is one, or has no templates. Source: Istio, CheckValidPathTemplate."""
    if "{" not in path and "}" not in path:
        return ""
    if "{*}" not in path and "{**}" not in path:
        return f"braces stand only around `*` and `**`: `{path}`"
    parts = path.strip("/").split("/")
    for index, part in enumerate(parts):
        if part in ("{*}", "{**}"):
            if part == "{**}" and "{**}" in parts[:index]:
                return f"`{{**}}` at most once: `{path}`"
            if "{**}" in parts[:index] and part == "{*}":
                return f"`{{*}}` does not follow `{{**}}`: `{path}`"
        elif "{" in part or "}" in part:
            return f"`{{*}}` and `{{**}}` stand alone between slashes: `{path}`"
        elif "*" in part:
            return f"`*` does not go with `{{*}}` and `{{**}}`: `{path}`"
    return ""


def _condition(report: Report, field: str, condition: Condition) -> None:
    key = condition.key
    if not key:
        report.error(f"{field}.key", "must not be empty")
    elif key not in _KEYS and not key.startswith(_KEY_FORMS):
        report.error(f"{field}.key", f"no such attribute: `{key}`", "one of " + ", ".join((*sorted(_KEYS), *_KEY_FORMS)))
    elif key.endswith("[") or (key.startswith(_KEY_FORMS[:2]) and not key.endswith("]")) or "[]" in key:
        report.error(f"{field}.key", f"names nothing: `{key}`")
    if not condition.values and not condition.not_values:
        report.error(field, "needs values or notValues")
    for name, values in (("values", condition.values), ("notValues", condition.not_values)):
        for index, value in enumerate(values):
            if not value:
                report.error(f"{field}.{name}[{index}]", "must not be empty")
        if key in ("source.ip", "remote.ip", "destination.ip"):
            _blocks(report, f"{field}.{name}", values)
        if key == "destination.port":
            _ports(report, f"{field}.{name}", values)


def _custom(report: Report, field: str, rule: Rule) -> None:
    """CUSTOM is decided before identities are known: nothing may depend on them. Source: Istio, ValidateAuthorizationPolicy."""
    for index, came in enumerate(rule.from_):
        source = came.source
        if source is None:
            continue
        forbidden = {
            "namespaces": source.namespaces,
            "notNamespaces": source.not_namespaces,
            "principals": source.principals,
            "notPrincipals": source.not_principals,
            "requestPrincipals": source.request_principals,
            "notRequestPrincipals": source.not_request_principals,
            "serviceAccounts": source.service_accounts,
            "notServiceAccounts": source.not_service_accounts,
        }
        for name, values in forbidden.items():
            if values:
                report.error(f"{field}.from[{index}].source.{name}", "does not go with CUSTOM")
    for index, condition in enumerate(rule.when):
        if condition.key.startswith(("source.namespace", "source.principal", "source.serviceAccount", "request.auth.")):
            report.error(f"{field}.when[{index}].key", f"does not go with CUSTOM: `{condition.key}`")
