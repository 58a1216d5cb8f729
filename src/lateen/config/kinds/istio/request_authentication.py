"""RequestAuthentication: which JSON web tokens workloads accept. Istio: security RequestAuthentication."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import LabelSelector, TargetRef
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Duration


class JwtHeader(Spec, frozen=True):
    """Istio: JWTHeader."""

    name: str = ""
    prefix: str = ""


class ClaimToHeader(Spec, frozen=True):
    """Istio: ClaimToHeader."""

    header: str = ""
    claim: str = ""


class JwtPresence(StrEnum):
    """Whether a request may come without a token. Istio: JWTRule.Presence."""

    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


class JwtRule(Spec, frozen=True):
    """Istio: JWTRule."""

    ALIASES: ClassVar[dict[str, str]] = {"jwks_uri": "jwksUri"}

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwks_uri: str = ""
    jwks: str = ""
    from_headers: tuple[JwtHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str = ""
    forward_original_token: bool = False
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    timeout: Duration | None = None
    space_delimited_claims: tuple[str, ...] = ()
    presence: JwtPresence = JwtPresence.OPTIONAL


class RequestAuthenticationSpec(Spec, frozen=True):
    """Istio: RequestAuthentication."""

    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: tuple[TargetRef, ...] = ()
    jwt_rules: tuple[JwtRule, ...] = ()


class RequestAuthentication(Object, frozen=True):
    """security.istio.io RequestAuthentication."""

    kind: ClassVar[str] = "RequestAuthentication"
    group: ClassVar[str] = "security.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    plural: ClassVar[str] = "requestauthentications"

    spec: RequestAuthenticationSpec = msgspec.field(default_factory=RequestAuthenticationSpec)
