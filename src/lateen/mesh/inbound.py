"""The ports a workload serves: those of its Services, or, where its Sidecar lists ingress listeners, those alone.

Called by `plan` for inbound listeners and clusters."""

from dataclasses import dataclass, replace
from ipaddress import ip_address

from lateen.base.names import ObjectRef
from lateen.config.kinds.istio.gateway import ServerTls
from lateen.config.kinds.istio.sidecar import CaptureMode, IngressListener
from lateen.config.kinds.istio.traffic_policy import ConnectionPool
from lateen.config.store import ref
from lateen.incremental import Db, query
from lateen.mesh.model import Protocol
from lateen.mesh.protocols import declared_protocol
from lateen.mesh.services import service
from lateen.mesh.view import ServiceTarget, View
from lateen.mesh.visibility import sidecar_of


@dataclass(frozen=True)
class InboundPort:
    """One port of a workload. `port`: its own number, the one connections arrive for. `host`, `service_port`: of the oldest Service behind it;
    empty host: no Service.

    `endpoint`: where the Sidecar sends it, `address:port` or `unix://path`; empty: to the application at the same port.
    `is_bound`: Envoy opens it at `bind`."""

    port: int
    protocol: Protocol
    name: str = ""
    host: str = ""
    namespace: str = ""
    service_port: int = 0
    endpoint: str = ""
    bind: str = ""
    is_bound: bool = False
    tls: ServerTls | None = None
    connection_pool: ConnectionPool | None = None
    origin: ObjectRef | None = None


@query
def _of_services(db: Db, targets: tuple[ServiceTarget, ...]) -> tuple[InboundPort, ...]:
    found: dict[int, InboundPort] = {}
    for target in targets:
        behind = service(db, target.namespace, target.hostname)
        port = behind.port(target.service_port) if behind else None
        if behind is None or port is None or target.port in found:
            continue
        protocol = Protocol.TCP if port.protocol is Protocol.UDP else port.protocol
        found[target.port] = InboundPort(target.port, protocol, port.name, behind.hostname, behind.namespace, port.number, origin=behind.origin)
    return tuple(found.values())


def _of_listener(written: IngressListener, sidecar: ObjectRef, services: tuple[InboundPort, ...]) -> InboundPort | None:
    port = written.port
    if port is None:
        return None
    behind = next((one for one in services if one.port == port.number), None)
    return InboundPort(
        port.number,
        declared_protocol(port.protocol),
        port.name,
        behind.host if behind else "",
        behind.namespace if behind else "",
        behind.service_port if behind else port.number,
        written.default_endpoint,
        written.bind,
        written.capture_mode is CaptureMode.NONE,
        written.tls,
        written.connection_pool,
        sidecar,
    )


def _application(view: View) -> str | None:
    """Where the application of a proxy without capture listens: its proxy has the workload's own address, so it has the loopback address. None: traffic is
    captured, or the workload's address is the loopback address itself."""
    if dict(view.metadata).get("INTERCEPTION_MODE") != "NONE" or not view.addresses:
        return None
    try:
        own = ip_address(view.addresses[0])
    except ValueError:
        return None
    loopback = "127.0.0.1" if own.version == 4 else "::1"
    return None if str(own) == loopback else loopback if own.version == 4 else f"[{loopback}]"


def inbound_ports(db: Db, view: View) -> tuple[InboundPort, ...]:
    """The ports of a view's workload, each number once, the oldest Service's first; none for a gateway. Source: Istio IstioIngressListener.

    Without capture the application is at the loopback address. Istio opens no port there that no Sidecar lists; ours: docs/recipes/outside.md."""
    if view.is_router:
        return ()
    services = _of_services(db, view.targets)
    if (application := _application(view)) is not None:
        services = tuple(replace(one, endpoint=f"{application}:{one.port}") for one in services)
    sidecar = sidecar_of(db, view)
    if sidecar is None or not sidecar.spec.ingress:
        return services
    found: dict[int, InboundPort] = {}
    for written in sidecar.spec.ingress:
        port = _of_listener(written, ref(sidecar), services)
        if port is not None:
            found.setdefault(port.port, port)
    return tuple(found.values())
