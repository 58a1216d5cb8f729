"""`lateen proxy-config`: what a pod's Envoy really holds, read from its own admin socket."""

import http.client
import json
import socket
from collections.abc import Callable, Iterable
from typing import Any

import click

from lateen.base.errors import LateenError
from lateen.base.names import ClusterName
from lateen.base.paths import MeshPaths
from lateen.cli.options import mesh_paths, name_option, namespace_option, output_option
from lateen.cli.pods import one_pod
from lateen.cli.rpc import Json, call
from lateen.cli.tables import print_table
from lateen.node.grpc_bootstrap import VARIABLE

ADMIN_TIMEOUT_S = 20.0
KINDS = ("cluster", "listener", "route", "endpoint", "secret", "bootstrap", "all")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("envoy", timeout=ADMIN_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ADMIN_TIMEOUT_S)
        self.sock.connect(self._path)


def admin(state: Json, path: str) -> Any:  # JSON
    """A JSON answer of a pod's Envoy. Raises LateenError."""
    if not state.get("envoy"):
        is_grpc = any(VARIABLE in one["env"] for one in state["containers"])
        why = "its gRPC library is configured itself; `lateen proxy-status` shows it" if is_grpc else "its namespace or an annotation says so"
        raise LateenError(f"{state['namespace']}/{state['name']} has no proxy: {why}")
    connection = _UnixConnection(state["envoy"]["admin"])
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    except OSError as error:
        raise LateenError(f"the proxy of {state['namespace']}/{state['name']} does not answer: {error}") from None
    finally:
        connection.close()


def sections(dump: Json, word: str) -> Iterable[Json]:
    """The parts of a config dump whose type ends in `word`."""
    return (part for part in dump["configs"] if part["@type"].endswith(word))


@click.command("proxy-config")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("pod", metavar="POD|deploy/NAME")
@namespace_option
@name_option
@output_option()
def proxy_config_command(kind: str, pod: str, namespace: str | None, name: str, output: str) -> None:
    """What a proxy's Envoy really holds."""
    target, _, dotted = pod.partition(".")
    state = one_pod(mesh_paths(name), target, namespace or dotted or None)
    dump = admin(state, "/config_dump?include_eds")
    for part in KINDS[:-1] if kind == "all" else (kind,):
        body = TABLES[part](dump, state)
        if part == "cluster":
            body = _with_learned(*body, _learned(mesh_paths(name), state))
        if output == "json" or part == "bootstrap":
            click.echo(json.dumps(JSON[part](dump), indent=2))
        else:
            print_table(*body)
        if kind == "all":
            click.echo()


def _clusters(dump: Json) -> list[Json]:
    return [
        item["cluster"] for part in sections(dump, "ClustersConfigDump") for key in ("static_clusters", "dynamic_active_clusters") for item in part.get(key, [])
    ]


def _listeners(dump: Json) -> list[Json]:
    found = []
    for part in sections(dump, "ListenersConfigDump"):
        found += [item["listener"] for item in part.get("static_listeners", [])]
        found += [item["active_state"]["listener"] for item in part.get("dynamic_listeners", []) if "active_state" in item]
    return found


def _routes(dump: Json) -> list[Json]:
    return [
        item["route_config"]
        for part in sections(dump, "RoutesConfigDump")
        for key in ("static_route_configs", "dynamic_route_configs")
        for item in part.get(key, [])
    ]


def _endpoints(dump: Json) -> list[Json]:
    return [
        item["endpoint_config"]
        for part in sections(dump, "EndpointsConfigDump")
        for key in ("static_endpoint_configs", "dynamic_endpoint_configs")
        for item in part.get(key, [])
    ]


def _secrets(dump: Json) -> list[Json]:
    return [
        item
        for part in sections(dump, "SecretsConfigDump")
        for key in ("static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets")
        for item in part.get(key, [])
    ]


def _cluster_table(dump: Json, _: Json) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for cluster in _clusters(dump):
        name = ClusterName.parse(cluster["name"])
        kind = cluster.get("type") or cluster.get("cluster_type", {}).get("name", "STATIC")
        rule = cluster.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("config", "").rpartition("/")[2]
        rows.append([name.host or cluster["name"], name.port, name.subset, name.direction, kind, rule] if name else [cluster["name"], "", "", "", kind, rule])
    return ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"], sorted(rows, key=str)


def _learned(paths: MeshPaths, state: Json) -> frozenset[tuple[str, str, str]] | None:
    """Host, port and subset of what the pod's workload has learned in automatic scope; None: scope is complete, or control does not say."""
    try:
        scope = call(paths, "Status")["scope"]
    except LateenError:
        return None
    if scope["mode"] != "automatic":
        return None
    own = (state["namespace"], (state["workload"] or state["name"]).rpartition("/")[2])
    names = [name for one in scope["learned"] if (one["namespace"], one["workload"]) == own for name in one["clusters"]]
    return frozenset((found.host, str(found.port), found.subset) for name in names if (found := ClusterName.parse(name)))


def _with_learned(head: list[str], rows: list[list[object]], learned: frozenset[tuple[str, str, str]] | None) -> tuple[list[str], list[list[object]]]:
    """The table of clusters with a column that says which are there because somebody asked."""
    if learned is None:
        return head, rows
    return [*head, "LEARNED"], [[*row, "yes" if tuple(map(str, row[:3])) in learned and row[3] == "outbound" else ""] for row in rows]


def _address(listener: Json) -> tuple[str, object]:
    address = listener.get("address", {})
    socket_address = address.get("socket_address", {})
    return socket_address.get("address") or address.get("pipe", {}).get("path", ""), socket_address.get("port_value", "")


def _listener_table(dump: Json, _: Json) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for listener in _listeners(dump):
        address, port = _address(listener)
        chains = [*listener.get("filter_chains", []), *([listener["default_filter_chain"]] if "default_filter_chain" in listener else [])]
        rows += [[address, port, _match(chain), _destination(chain)] for chain in chains]
    return ["ADDRESSES", "PORT", "MATCH", "DESTINATION"], rows


def _match(chain: Json) -> str:
    match = chain.get("filter_chain_match", {})
    words = {"destination_port": "port", "server_names": "SNI", "transport_protocol": "trans", "application_protocols": "app", "prefix_ranges": "addr"}
    shown = []
    for key, word in words.items():
        value = match.get(key)
        if value:
            texts = [item["address_prefix"] if isinstance(item, dict) else str(item) for item in (value if isinstance(value, list) else [value])]
            shown.append(f"{word}: {','.join(texts)}")
    return "; ".join(shown) or "ALL"


def _destination(chain: Json) -> str:
    for item in chain.get("filters", []):
        config = item.get("typed_config", {})
        if "rds" in config:
            return f"Route: {config['rds']['route_config_name']}"
        if "route_config" in config:
            return f"Inline Route: {config['route_config'].get('name', '')}"
        if "cluster" in config:
            return f"Cluster: {config['cluster']}"
        if "weighted_clusters" in config:
            return "Clusters: " + ", ".join(f"{one['name']} {one['weight']}" for one in config["weighted_clusters"]["clusters"])
    return "none"


def _route_table(dump: Json, _: Json) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for config in _routes(dump):
        for host in config.get("virtual_hosts", []):
            for route in host.get("routes", [{}]):
                source = route.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("config", "")
                parts = source.split("/")
                owner = f"{parts[-1]}.{parts[-3]}" if len(parts) > 3 else ""
                rows.append([config.get("name", ""), host["name"], ", ".join(host["domains"]), _route_match(route.get("match", {})), _target(route), owner])
    return ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "TARGET", "VIRTUAL SERVICE"], rows


def _route_match(match: Json) -> str:
    path = next((f"{match[key]}{'*' if 'prefix' in key else ''}" for key in ("prefix", "path", "path_separated_prefix") if key in match), "")
    path = path or match.get("safe_regex", {}).get("regex", "")
    return " ".join([path, *(f"{header['name']}" for header in match.get("headers", []))]) or "/*"


def _target(route: Json) -> str:
    forward = route.get("route", {})
    if "weighted_clusters" in forward:
        return ", ".join(f"{one['name']} {one.get('weight', 0)}" for one in forward["weighted_clusters"]["clusters"])
    if "redirect" in route:
        return "redirect"
    if "direct_response" in route:
        return f"response {route['direct_response'].get('status')}"
    return str(forward.get("cluster", ""))


def _endpoint_table(_: Json, state: Json) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for cluster in admin(state, "/clusters?format=json").get("cluster_statuses", []):
        for host in cluster.get("host_statuses", []):
            address = host["address"].get("socket_address", {})
            place = f"{address.get('address')}:{address.get('port_value')}" if address else host["address"].get("pipe", {}).get("path", "")
            health = host.get("health_status", {})
            rows.append([place, health.get("eds_health_status", "HEALTHY"), "FAILED" if health.get("failed_outlier_check") else "OK", cluster["name"]])
    return ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], rows


def _secret_table(dump: Json, state: Json) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = [[item["name"], "", "", ""] for item in _secrets(dump)]
    for certificate in admin(state, "/certs").get("certificates", []):
        for kind, key in (("Cert Chain", "cert_chain"), ("CA", "ca_cert")):
            rows += [[one.get("path", ""), kind, one.get("serial_number", ""), one.get("expiration_time", "")] for one in certificate.get(key, [])]
    unique = list({json.dumps(row): row for row in rows}.values())
    return ["RESOURCE NAME", "TYPE", "SERIAL NUMBER", "NOT AFTER"], unique


JSON: dict[str, Callable[[Json], Any]] = {
    "cluster": _clusters,
    "listener": _listeners,
    "route": _routes,
    "endpoint": _endpoints,
    "secret": _secrets,
    "bootstrap": lambda dump: next(iter(sections(dump, "BootstrapConfigDump")))["bootstrap"],
}
TABLES: dict[str, Callable[[Json, Json], tuple[list[str], list[list[object]]]]] = {
    "cluster": _cluster_table,
    "listener": _listener_table,
    "route": _route_table,
    "endpoint": _endpoint_table,
    "secret": _secret_table,
    "bootstrap": lambda _dump, _state: ([], []),
}
