"""ReferenceGrant and BackendTLSPolicy of the Gateway API."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.gateway.gateways import GROUP, ObjectReference
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Labels, Map


class GrantFrom(Spec, frozen=True):
    """Gateway API: ReferenceGrantFrom."""

    group: str = ""
    kind: str = ""
    namespace: str = ""


class GrantTo(Spec, frozen=True):
    """Gateway API: ReferenceGrantTo."""

    group: str = ""
    kind: str = ""
    name: str | None = None
    """None: every one."""


class ReferenceGrantSpec(Spec, frozen=True):
    """Gateway API: ReferenceGrantSpec."""

    from_: tuple[GrantFrom, ...] = msgspec.field(default=(), name="from")
    to: tuple[GrantTo, ...] = ()


class ReferenceGrant(Object, frozen=True):
    """gateway.networking.k8s.io ReferenceGrant: who may refer to objects of its namespace."""

    kind: ClassVar[str] = "ReferenceGrant"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1", "v1alpha2")
    plural: ClassVar[str] = "referencegrants"

    spec: ReferenceGrantSpec = msgspec.field(default_factory=ReferenceGrantSpec)


class PolicyTarget(Spec, frozen=True):
    """Gateway API: LocalPolicyTargetReferenceWithSectionName."""

    group: str = ""
    kind: str = ""
    name: str = ""
    section_name: str | None = None


class SubjectAltName(Spec, frozen=True):
    """Gateway API: SubjectAltName."""

    type: str = ""
    hostname: str | None = None
    uri: str | None = None


class BackendTlsValidation(Spec, frozen=True):
    """Gateway API: BackendTLSPolicyValidation."""

    ca_certificate_refs: tuple[ObjectReference, ...] = msgspec.field(default=(), name="caCertificateRefs")
    well_known_ca_certificates: str | None = msgspec.field(default=None, name="wellKnownCACertificates")
    hostname: str = ""
    subject_alt_names: tuple[SubjectAltName, ...] = ()


class BackendTlsPolicySpec(Spec, frozen=True):
    """Gateway API: BackendTLSPolicySpec."""

    target_refs: tuple[PolicyTarget, ...] = ()
    validation: BackendTlsValidation | None = None
    options: Labels = Map()


class BackendTLSPolicy(Object, frozen=True):
    """gateway.networking.k8s.io BackendTLSPolicy."""

    kind: ClassVar[str] = "BackendTLSPolicy"
    group: ClassVar[str] = GROUP
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1alpha3")
    plural: ClassVar[str] = "backendtlspolicies"

    spec: BackendTlsPolicySpec = msgspec.field(default_factory=BackendTlsPolicySpec)
