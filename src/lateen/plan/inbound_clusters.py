"""The clusters of a workload's own ports: to the application as the caller addressed it, or where the Sidecar says. Called by `xds.clusters`.

Source: Istio, inbound clusters: settings of connections from the DestinationRule of the port's Service, replaced by the Sidecar's.
"""

from dataclasses import dataclass, replace

from lateen.base.names import INBOUND_PASSTHROUGH, ObjectRef, inbound_cluster
from lateen.config import store
from lateen.config.kinds.istio.mesh_config import InboundMode, InboundPolicy
from lateen.config.kinds.istio.sidecar import Sidecar
from lateen.config.kinds.istio.traffic_policy import ConnectionPool
from lateen.incremental import Db
from lateen.mesh.destination_rules import policy_of, rule_of
from lateen.mesh.inbound import InboundPort
from lateen.mesh.model import Locality
from lateen.mesh.services import service
from lateen.plan.assignment import Assignment, Group, Host
from lateen.plan.clients import Caller, Client, caller_of
from lateen.plan.cluster import Bind, Choice, Cluster, Discovery, Http, Hypertext, Simple
from lateen.plan.outbound_clusters import PASSTHROUGH_IDLE_S, mesh_keepalive
from lateen.plan.pools import breakers, connect_timeout_s, keepalive, pooled_http
from lateen.plan.stat_names import stat_name

SOURCE_V4, SOURCE_V6 = "127.0.0.6", "::6"
"""Where connections to the application come from, so that redirect rules know them. Source: Istio, InboundPassthroughCluster."""


@dataclass(frozen=True)
class Inbound:
    """What an inbound cluster depends on. `address`: the workload's own, for a Sidecar that names 0.0.0.0; empty where it does not count."""

    caller: Caller
    port: InboundPort
    sidecar: ObjectRef | None
    address: str = ""


def inbound_of(db: Db, client: Client, port: InboundPort, sidecar: Sidecar | None, addresses: tuple[str, ...]) -> Inbound:
    """The narrow key of one port of a workload."""
    version = "::" if port.endpoint.startswith("[::]") else "0.0.0.0"
    needs_own = port.endpoint.startswith(("0.0.0.0:", "[::]:"))
    own = next((one for one in addresses if (":" in one) == (version == "::")), "") if needs_own else ""
    caller = caller_of(db, client, port.namespace, port.host) if port.host else Caller(None, client.is_router, client.has_ipv4, client.has_ipv6)
    return Inbound(caller, port, store.ref(sidecar) if sidecar else None, own)


def _bind(client: Client | Caller) -> Bind:
    if not client.has_ipv4:
        return Bind(SOURCE_V6)
    return Bind(SOURCE_V4, SOURCE_V6 if client.has_ipv6 else "")


def _mesh_timeout_s(db: Db) -> float:
    said = store.mesh_field(db, "connect_timeout")
    return float(said) if isinstance(said, float) else 10.0


def passthrough_cluster(db: Db, client: Client) -> Cluster:
    """To the application, for ports no Service has."""
    return Cluster(
        INBOUND_PASSTHROUGH,
        Discovery.ORIGINAL_DST,
        _mesh_timeout_s(db),
        Http(Hypertext.CLIENT, idle_timeout_s=PASSTHROUGH_IDLE_S),
        Simple(Choice.PROVIDED),
        keepalive=keepalive(None, mesh_keepalive(db)),
        bind=_bind(client),
    )


def inbound_port_cluster(db: Db, inbound: Inbound) -> Cluster:
    """One port's cluster."""
    port = inbound.port
    rule = rule_of(db, inbound.caller.rule)
    pool = _sidecar_pool(db, inbound) or policy_of(db, rule, port.service_port, "").connection_pool
    said = pool.http if pool else None
    protocol = Hypertext.HTTP2 if port.protocol.is_http2 else Hypertext.CLIENT if port.protocol.is_detected else Hypertext.HTTP1
    if said is not None and said.use_client_protocol:
        protocol = Hypertext.CLIENT
    name = inbound_cluster(port.port)
    found = Cluster(
        name,
        Discovery.ORIGINAL_DST,
        connect_timeout_s(pool, _mesh_timeout_s(db)),
        pooled_http(Http(protocol), pool),
        Simple(Choice.PROVIDED),
        breakers(pool),
        keepalive=keepalive(pool, mesh_keepalive(db)),
        bind=_bind(inbound.caller),
        keeps_hosts=True,
        service=(port.host, port.namespace, port.host.partition(".")[0]) if port.host else None,
        origins=frozenset(one for one in (port.origin, inbound.sidecar, *(rule.origins if rule else ())) if one is not None),
        rule=rule.origins[0] if rule else None,
        stat_name=_stat_name(db, port),
    )
    host = _host(inbound) or _loopback(db, inbound)
    if host is None:
        return found
    assignment = Assignment(name, (Group(Locality(), 0, 1, (host,)),))
    return replace(found, discovery=Discovery.STATIC, balancer=Simple(Choice.ROUND_ROBIN), assignment=assignment, bind=None, keeps_hosts=False)


def _stat_name(db: Db, port: InboundPort) -> str:
    behind = service(db, port.namespace, port.host) if port.host else None
    of_service = behind.port(port.service_port) if behind else None
    return stat_name(db, "inbound_cluster_stat_name", behind, of_service, target=port.port) if behind and of_service else ""


def _sidecar_pool(db: Db, inbound: Inbound) -> ConnectionPool | None:
    """The pool a Sidecar gives the port: the listener's own, else that of all."""
    if inbound.port.connection_pool is not None:
        return inbound.port.connection_pool
    ref = inbound.sidecar
    sidecar = store.one(db, Sidecar, ref.namespace, ref.name) if ref else None
    return sidecar.spec.inbound_connection_pool if sidecar else None


def _loopback(db: Db, inbound: Inbound) -> Host | None:
    """The port at the loopback address, where applications listen on that alone; None: to the address the caller used.

    Source: Istio MeshConfig.inboundTrafficPolicy LOCALHOST."""
    policy = store.mesh_field(db, "inbound_traffic_policy")
    if inbound.port.endpoint or not isinstance(policy, InboundPolicy) or policy.mode is not InboundMode.LOCALHOST:
        return None
    return Host("127.0.0.1" if inbound.caller.has_ipv4 or not inbound.caller.has_ipv6 else "::1", inbound.port.port, 1)


def _host(inbound: Inbound) -> Host | None:
    """Where the Sidecar sends the port; None: to the address the caller used."""
    endpoint = inbound.port.endpoint
    if not endpoint:
        return None
    if endpoint.startswith("unix:"):
        return Host(endpoint if endpoint.startswith("unix://") else "unix://" + endpoint.removeprefix("unix:"), 0, 1)
    address, _, port = endpoint.rpartition(":")
    address = address.strip("[]")
    if not port.isdigit():
        return None
    if address in ("0.0.0.0", "::"):
        return Host(inbound.address or ("127.0.0.1" if address == "0.0.0.0" else "::1"), int(port), 1)
    return Host(address, int(port), 1)
