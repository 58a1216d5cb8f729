"""Ingress and IngressClass. Kubernetes: networking.k8s.io/v1."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.kubernetes.service import LoadBalancerStatus
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Int32, Json


class BackendPort(Spec, frozen=True):
    """One of both. Kubernetes: networking ServiceBackendPort."""

    name: str = ""
    number: Int32 = 0


class BackendService(Spec, frozen=True):
    """Kubernetes: networking IngressServiceBackend."""

    name: str = ""
    port: BackendPort | None = None


class IngressBackend(Spec, frozen=True):
    """Kubernetes: networking IngressBackend."""

    service: BackendService | None = None
    resource: Json | None = None


class HttpIngressPath(Spec, frozen=True):
    """Kubernetes: networking HTTPIngressPath."""

    path: str = ""
    path_type: str | None = None
    """`Exact`, `Prefix`, `ImplementationSpecific`."""
    backend: IngressBackend | None = None


class HttpIngressRule(Spec, frozen=True):
    """Kubernetes: networking HTTPIngressRuleValue."""

    paths: tuple[HttpIngressPath, ...] = ()


class IngressRule(Spec, frozen=True):
    """Kubernetes: networking IngressRule."""

    host: str = ""
    http: HttpIngressRule | None = None


class IngressTls(Spec, frozen=True):
    """Kubernetes: networking IngressTLS."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Spec, frozen=True):
    """Kubernetes: networking IngressSpec."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTls, ...] = ()
    rules: tuple[IngressRule, ...] = ()


class IngressStatus(Spec, frozen=True):
    """Kubernetes: networking IngressStatus."""

    load_balancer: LoadBalancerStatus | None = None


class Ingress(Object, frozen=True):
    """networking.k8s.io Ingress."""

    kind: ClassVar[str] = "Ingress"
    group: ClassVar[str] = "networking.k8s.io"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "ingresses"

    spec: IngressSpec = msgspec.field(default_factory=IngressSpec)
    status: IngressStatus | None = None


class IngressClassSpec(Spec, frozen=True):
    """Kubernetes: networking IngressClassSpec."""

    controller: str = ""
    parameters: Json | None = None


class IngressClass(Object, frozen=True):
    """networking.k8s.io IngressClass."""

    kind: ClassVar[str] = "IngressClass"
    group: ClassVar[str] = "networking.k8s.io"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    plural: ClassVar[str] = "ingressclasses"
    is_namespaced: ClassVar[bool] = False

    spec: IngressClassSpec = msgspec.field(default_factory=IngressClassSpec)
