"""AuthorizationPolicy: who may call what. Istio: security AuthorizationPolicy."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import LabelSelector, TargetRef
from lateen.config.kinds.objects import Object, Spec


class Source(Spec, frozen=True):
    """Fields are ANDed, values ORed. Istio: Source."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: Annotated[tuple[str, ...], msgspec.Meta(max_length=16)] = ()
    not_service_accounts: Annotated[tuple[str, ...], msgspec.Meta(max_length=16)] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class Operation(Spec, frozen=True):
    """Fields are ANDed, values ORed. Istio: Operation."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class RuleFrom(Spec, frozen=True):
    """Istio: Rule.From."""

    source: Source | None = None


class RuleTo(Spec, frozen=True):
    """Istio: Rule.To."""

    operation: Operation | None = None


class Condition(Spec, frozen=True):
    """Istio: Condition."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("key",)

    key: str = ""
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class Rule(Spec, frozen=True):
    """Istio: Rule."""

    from_: Annotated[tuple[RuleFrom, ...], msgspec.Meta(max_length=512)] = msgspec.field(default=(), name="from")
    to: tuple[RuleTo, ...] = ()
    when: tuple[Condition, ...] = ()


class Action(StrEnum):
    """Istio: AuthorizationPolicy.Action."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class AuthorizationProvider(Spec, frozen=True):
    """Istio: AuthorizationPolicy.ExtensionProvider."""

    name: str = ""


class AuthorizationPolicySpec(Spec, frozen=True):
    """Istio: AuthorizationPolicy."""

    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: Annotated[tuple[TargetRef, ...], msgspec.Meta(max_length=16)] = ()
    rules: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=512)] = ()
    """Empty: matches nothing (so ALLOW denies all)."""
    action: Action = Action.ALLOW
    provider: AuthorizationProvider | None = None


class AuthorizationPolicy(Object, frozen=True):
    """security.istio.io AuthorizationPolicy."""

    kind: ClassVar[str] = "AuthorizationPolicy"
    group: ClassVar[str] = "security.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    plural: ClassVar[str] = "authorizationpolicies"

    spec: AuthorizationPolicySpec = msgspec.field(default_factory=AuthorizationPolicySpec)
