"""ProxyConfig, the kind: proxy settings of a namespace or workload. Istio: networking v1beta1 ProxyConfig. (`mesh_config` has the mesh's own.)"""

from typing import ClassVar

import msgspec

from lateen.config.kinds.istio.selectors import LabelSelector
from lateen.config.kinds.objects import Object, Spec
from lateen.config.kinds.values import Int32, Labels, Map


class ProxyImage(Spec, frozen=True):
    """Istio: ProxyImage."""

    image_type: str = ""


class ProxyConfigSpec(Spec, frozen=True):
    """Istio: networking v1beta1 ProxyConfig."""

    selector: LabelSelector | None = None
    concurrency: Int32 | None = None
    environment_variables: Labels = Map()
    image: ProxyImage | None = None


class ProxyConfig(Object, frozen=True):
    """networking.istio.io ProxyConfig."""

    kind: ClassVar[str] = "ProxyConfig"
    group: ClassVar[str] = "networking.istio.io"
    versions: ClassVar[tuple[str, ...]] = ("v1beta1",)
    plural: ClassVar[str] = "proxyconfigs"

    spec: ProxyConfigSpec = msgspec.field(default_factory=ProxyConfigSpec)
