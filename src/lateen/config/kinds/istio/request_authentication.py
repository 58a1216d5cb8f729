"""RequestAuthentication: which JSON web tokens workloads accept. Istio: security RequestAuthentication."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import LabelSelector, TargetRef
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Duration


class JwtHeader(Spec, frozen=True):
    """Istio: JWTHeader."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("name",)

    name: Annotated[str, msgspec.Meta(min_length=1)] = ""
    prefix: str = ""


class ClaimToHeader(Spec, frozen=True):
    """Istio: ClaimToHeader."""

    REQUIRED: ClassVar[tuple[str, ...]] = (
        "claim",
        "header",
    )

    header: Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[-_A-Za-z0-9]+$")] = ""
    claim: Annotated[str, msgspec.Meta(min_length=1)] = ""


class JwtPresence(StrEnum):
    """Whether a request may come without a token. Istio: JWTRule.Presence."""

    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


class JwtRule(Spec, frozen=True):
    """Istio: JWTRule."""

    ALIASES: ClassVar[dict[str, str]] = {"jwks_uri": "jwksUri"}

    issuer: Annotated[str, msgspec.Meta(min_length=1)] = ""
    audiences: tuple[str, ...] = ()
    jwks_uri: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)] = ""
    jwks: str = ""
    from_headers: tuple[JwtHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str = ""
    forward_original_token: bool = False
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    timeout: Duration | None = None
    space_delimited_claims: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()
    presence: JwtPresence = JwtPresence.OPTIONAL


class RequestAuthenticationSpec(Spec, frozen=True):
    """Istio: RequestAuthentication."""

    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: Annotated[tuple[TargetRef, ...], msgspec.Meta(max_length=16)] = ()
    jwt_rules: Annotated[tuple[JwtRule, ...], msgspec.Meta(max_length=4096)] = ()


class RequestAuthentication(Object, frozen=True):
    """security.istio.io RequestAuthentication."""

    kind: ClassVar[str] = "RequestAuthentication"
    group: ClassVar[str] = "security.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    plural: ClassVar[str] = "requestauthentications"

    spec: RequestAuthenticationSpec = msgspec.field(default_factory=RequestAuthenticationSpec)
