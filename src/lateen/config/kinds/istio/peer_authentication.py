"""PeerAuthentication: whether workloads accept plaintext, mutual TLS, or both. Istio: security PeerAuthentication."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import LabelSelector
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Map


class MutualTlsMode(StrEnum):
    """Istio: PeerAuthentication.MutualTLS.Mode."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


class MutualTls(Spec, frozen=True):
    """Istio: PeerAuthentication.MutualTLS."""

    mode: MutualTlsMode = MutualTlsMode.UNSET


class PeerAuthenticationSpec(Spec, frozen=True):
    """Istio: PeerAuthentication."""

    selector: LabelSelector | None = None
    mtls: MutualTls | None = None
    port_level_mtls: Map[MutualTls] = Map()
    """Port number, as text → mode."""


class PeerAuthentication(Object, frozen=True):
    """security.istio.io PeerAuthentication."""

    kind: ClassVar[str] = "PeerAuthentication"
    group: ClassVar[str] = "security.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    plural: ClassVar[str] = "peerauthentications"

    spec: PeerAuthenticationSpec = msgspec.field(default_factory=PeerAuthenticationSpec)
