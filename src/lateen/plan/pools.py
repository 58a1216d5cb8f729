"""Connection pools, outlier detection and balancers of a traffic policy as IR. Called by `outbound_clusters` and `inbound_clusters`.

Source: Istio ConnectionPoolSettings, OutlierDetection, LoadBalancerSettings; zero in an Istio number means: not set.
"""

from dataclasses import replace

from lateen.config.kinds.istio.traffic_policy import (
    ConnectionPool,
    LoadBalancer,
    OutlierDetection,
    RetryBudget,
    SimpleLb,
    TcpKeepalive,
)
from lateen.mesh.model import Protocol
from lateen.plan.cluster import UNLIMITED, Balancer, Breakers, Choice, Http, Keepalive, Maglev, Outlier, RingHash, Simple, SlowStart

DEFAULT_RING = 1024
MAX_RING = 8388608
MAX_TABLE = 5000011
"""The largest ring and Maglev table Envoy takes."""
DEFAULT_BUDGET_PERCENT = 20.0
_CHOICES = {
    SimpleLb.RANDOM: Choice.RANDOM,
    SimpleLb.ROUND_ROBIN: Choice.ROUND_ROBIN,
    SimpleLb.PASSTHROUGH: Choice.PROVIDED,
}


def breakers(pool: ConnectionPool | None, budget: RetryBudget | None = None) -> Breakers:
    """Limits of a pool; none of what is not set."""
    found = Breakers()
    if pool is not None and pool.tcp is not None and pool.tcp.max_connections > 0:
        found = replace(found, max_connections=pool.tcp.max_connections)
    http = pool.http if pool else None
    if http is not None:
        found = replace(
            found,
            max_pending_requests=http.http1_max_pending_requests if http.http1_max_pending_requests > 0 else found.max_pending_requests,
            max_requests=http.http2_max_requests if http.http2_max_requests > 0 else found.max_requests,
            max_retries=http.max_retries if http.max_retries > 0 else found.max_retries,
        )
    if budget is not None:
        percent = DEFAULT_BUDGET_PERCENT if budget.percent is None else budget.percent
        found = replace(found, retry_budget_percent=percent, min_retry_concurrency=budget.min_retry_concurrency or None)
        found = replace(found, retry_budget_interval_s=budget.budget_interval if budget.budget_interval and budget.budget_interval > 0 else None)
    return found


def pooled_http(http: Http, pool: ConnectionPool | None) -> Http:
    """`http` with what a pool says of connections and streams."""
    if pool is None:
        return http
    duration = pool.tcp.max_connection_duration if pool.tcp else None
    idle = pool.tcp.idle_timeout if pool.tcp else None
    said = pool.http
    if said is None:
        return replace(http, idle_timeout_s=_seconds(idle), max_connection_duration_s=_seconds(duration))
    keepalive = said.http2_keep_alive
    return replace(
        http,
        idle_timeout_s=_seconds(idle if said.idle_timeout is None else said.idle_timeout),
        max_connection_duration_s=_seconds(duration),
        max_requests_per_connection=said.max_requests_per_connection if said.max_requests_per_connection > 0 else None,
        max_concurrent_streams=said.max_concurrent_streams if said.max_concurrent_streams > 0 else None,
        keepalive_interval_s=_seconds(keepalive.interval) if keepalive else None,
        keepalive_timeout_s=_seconds(keepalive.timeout) if keepalive else None,
    )


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


def connect_timeout_s(pool: ConnectionPool | None, mesh_s: float) -> float:
    """The pool's, else the mesh's. A time of 0 or less is the mesh's: Envoy refuses it."""
    said = pool.tcp.connect_timeout if pool and pool.tcp else None
    return float(said) if said is not None and said > 0 else float(mesh_s)


def keepalive(pool: ConnectionPool | None, mesh: TcpKeepalive | None) -> Keepalive | None:
    """The pool's TCP keepalive, else the mesh's, field by field. None: neither asks for it; an empty block asks for the system's settings."""
    own = pool.tcp.tcp_keepalive if pool and pool.tcp else None
    if own is None and mesh is None:
        return None
    found = Keepalive()
    for said in (mesh, own):
        if said is not None:
            found = Keepalive(
                probes=said.probes or found.probes,
                time_s=min(int(said.time), UNLIMITED) if said.time else found.time_s,
                interval_s=min(int(said.interval), UNLIMITED) if said.interval else found.interval_s,
            )
    return found


def outlier(said: OutlierDetection | None) -> Outlier | None:
    """When an endpoint is ejected; None: never."""
    if said is None:
        return None
    local = said.consecutive_local_origin_failures or None
    return Outlier(
        consecutive_5xx=said.consecutive_5xx_errors,
        consecutive_gateway_errors=said.consecutive_gateway_errors,
        consecutive_local_failures=local if said.split_external_local_origin_errors else None,
        interval_s=_seconds(said.interval),
        base_ejection_s=_seconds(said.base_ejection_time),
        max_ejection_percent=said.max_ejection_percent if said.max_ejection_percent > 0 else None,
        splits_local_errors=said.split_external_local_origin_errors,
    )


def panic_percent(said: OutlierDetection | None, *, has_far_endpoints: bool = False) -> float:
    """Below which share of healthy endpoints Envoy uses them all: never, where a trafficDistribution says to spill over to others as health goes.

    Source: Istio OutlierDetection.minHealthPercent, 0 by default."""
    return float(max(0, said.min_health_percent)) if said and not has_far_endpoints else 0.0


def balancer(said: LoadBalancer | None, protocol: Protocol) -> Balancer:
    """How an endpoint is chosen. Redis is sharded by Maglev whatever is set."""
    hashing = said.consistent_hash if said else None
    if hashing is not None:
        if hashing.maglev is not None:
            return Maglev(_prime(hashing.maglev.table_size) if hashing.maglev.table_size else None)
        size = hashing.minimum_ring_size or (hashing.ring_hash.minimum_ring_size if hashing.ring_hash else 0)
        return RingHash(min(size or DEFAULT_RING, MAX_RING))
    choice = _CHOICES.get(said.simple, Choice.LEAST_REQUEST) if said and said.simple else Choice.LEAST_REQUEST
    can_warm = choice in (Choice.LEAST_REQUEST, Choice.ROUND_ROBIN)
    return Simple(choice, _slow_start(said) if said and can_warm else None)


def _prime(size: int) -> int:
    """The smallest prime from `size` on, within Envoy's limit: a table of another size would be refused."""
    if size >= MAX_TABLE:
        return MAX_TABLE
    return next(number for number in range(max(size, 2), MAX_TABLE + 1) if all(number % factor for factor in range(2, int(number**0.5) + 1)))


def _slow_start(said: LoadBalancer) -> SlowStart | None:
    if said.warmup is not None and said.warmup.duration:
        return SlowStart(float(said.warmup.duration), said.warmup.aggression, said.warmup.minimum_percent)
    return SlowStart(float(said.warmup_duration_secs)) if said.warmup_duration_secs else None
