"""The files of a case's answers: each call evaluated, and each route, cluster, chain and filter that an answer names. Called by `case`."""

from dataclasses import dataclass, field

from lateen.insight.simulate.call import Call, Outcome
from lateen.insight.simulate.chain_summary import chain_summary, filters_summary, names_summary
from lateen.insight.simulate.cluster_summary import cluster_summary
from lateen.insight.simulate.emitted import Chain, Emitted
from lateen.insight.simulate.evaluate import Result, evaluate
from lateen.insight.simulate.messages import Json, protojson
from lateen.insight.simulate.route_summary import route_summary
from lateen.wire.pb.envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

NAMED_BY_RESULT = ("cluster", "weighted_clusters", "stat_prefix", "access_log", "access_log_options", "metadata_match")


@dataclass
class Answers:
    """Collects what the answers name while calls are evaluated one by one."""

    emitted: Emitted
    results: list[Json] = field(default_factory=list)
    routes: dict[str, Json] = field(default_factory=dict)
    clusters: dict[str, Json] = field(default_factory=dict)
    chains: dict[str, Json] = field(default_factory=dict)
    filters: dict[str, Json] = field(default_factory=dict)
    _routes_seen: dict[tuple[str, str, int, int], str] = field(default_factory=dict)
    _filters_seen: dict[bytes, str] = field(default_factory=dict)

    def add(self, given: Json) -> None:
        """Evaluates one `call` of `calls.json`."""
        self.results.append({"call": given, "result": self._written(evaluate(self.emitted, Call.read(given)))})

    def files(self) -> dict[str, Json]:
        """File name → content, but for `rejected.json`."""
        return {
            "calls.json": self.results,
            "routes.json": self.routes,
            "clusters.json": dict(sorted(self.clusters.items())),
            "chains.json": dict(sorted(self.chains.items())),
            "filters.json": self.filters,
            "names.json": names_summary(self.emitted),
        }

    def _written(self, result: Result) -> Json:
        found: dict[str, Json] = {"outcome": result.outcome.value}
        for key, value in (("route_config", result.route_config), ("virtual_host", result.virtual_host)):
            if value is not None:
                found[key] = value
        info: dict[str, Json] = {"reason": result.reason} if result.reason else {}
        if result.chain is not None:
            info["chain"] = self._chain(result.chain)
        if result.requires_client_certificate:
            info["client_certificate_required"] = True
        if result.route is not None:
            info["route_index"] = result.route.index
            if result.route.route.name:
                info["route_name"] = result.route.route.name
            found["route"] = self._route(result)
        if result.outcome is Outcome.CLUSTER:
            found["cluster"] = result.clusters[0][0]
        elif result.outcome is Outcome.WEIGHTED_CLUSTERS:
            found["weighted_clusters"] = [list(one) for one in result.clusters]
        for name, _ in result.clusters:
            self._cluster(name)
        if result.tcp_proxy is not None and (options := _options(result.tcp_proxy)):
            found["tcp_proxy"] = options
        return found | ({"info": info} if info else {})

    def _route(self, result: Result) -> str:
        assert result.route is not None and result.manager is not None and result.chain is not None
        place = (result.chain.key, result.route.virtual_host.name, result.route.index, id(result.route.config))
        if place not in self._routes_seen:
            entry = route_summary(result.manager, result.route)
            known = next((key for key, value in self.routes.items() if value == entry), None)
            self._routes_seen[place] = known or f"r{len(self.routes)}"
            self.routes.setdefault(self._routes_seen[place], entry)
            for mirror in entry["route"].get("request_mirror_policies", []):
                self._cluster(mirror.get("cluster", ""))
        return self._routes_seen[place]

    def _cluster(self, name: str) -> None:
        if name and name not in self.clusters:
            self.clusters[name] = cluster_summary(self.emitted, name)

    def _chain(self, chain: Chain) -> str:
        if chain.key not in self.chains:
            packed = b"".join(one.SerializeToString(deterministic=True) for one in chain.message.filters)
            if packed not in self._filters_seen:
                self._filters_seen[packed] = f"f{len(self.filters)}"
                self.filters[self._filters_seen[packed]] = filters_summary(self.emitted, chain)
            self.chains[chain.key] = {**chain_summary(chain), "filters": self._filters_seen[packed]}
        return chain.key


def _options(proxy: tcp_proxy_pb2.TcpProxy) -> dict[str, Json]:
    return {key: value for key, value in protojson(proxy).items() if key not in NAMED_BY_RESULT}
