"""Networks of a mesh that spans several, ConfigMap `istio`, key `meshNetworks`. Istio: MeshNetworks."""

from lateen.config.kinds.objects import Spec
from lateen.config.kinds.values import Map, UInt32


class NetworkEndpoints(Spec, frozen=True):
    """One of both. Istio: Network.NetworkEndpoints."""

    from_cidr: str | None = None
    from_registry: str | None = None


class NetworkGateway(Spec, frozen=True):
    """Istio: Network.IstioNetworkGateway."""

    registry_service_name: str | None = None
    address: str | None = None
    port: UInt32 = 0
    locality: str = ""


class Network(Spec, frozen=True):
    """Istio: Network."""

    endpoints: tuple[NetworkEndpoints, ...] = ()
    gateways: tuple[NetworkGateway, ...] = ()


class MeshNetworks(Spec, frozen=True):
    """Istio: MeshNetworks."""

    networks: Map[Network] = Map()
