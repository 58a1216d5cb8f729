"""Chains for bytes: where connections of a TCP or TLS port go, by the VirtualServices of its host, else to the service itself. Called by outbound and gateway listeners."""

from lateen.incremental import Db
from lateen.mesh.gateways import GatewayServer
from lateen.mesh.model import Port, Service
from lateen.mesh.view import View
from lateen.plan.listener import Chain, ChainMatch, Tcp, TcpTarget


def to_cluster(cluster: str) -> Tcp:
    """Everything to one cluster."""
    return Tcp((TcpTarget(cluster),), cluster)


def destination_chains(db: Db, view: View, service: Service, port: Port, default: str, network: str, needs_name: bool) -> list[Chain]:
    """The chains of one service port at a sidecar. `default`: the service's own cluster. `network`: a CIDR the destination is in. `needs_name`: only SNI tells services apart."""
    names = (service.hostname,) if needs_name else ()
    destinations = (network,) if network else ()
    return [Chain(ChainMatch(server_names=names, destinations=destinations), to_cluster(default), origin=service.origin)]


def gateway_tcp_chains(db: Db, view: View, server: GatewayServer) -> list[Chain]:
    """The chains of a gateway's TCP server, TLS not considered; none where no VirtualService has a TCP route for it."""
    return []


def gateway_tls_chains(db: Db, view: View, server: GatewayServer) -> list[Chain]:
    """The chains of a gateway's pass-through server, one for each route by SNI; none where no VirtualService has one."""
    return []
