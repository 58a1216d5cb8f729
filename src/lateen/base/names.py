"""Names: objects, hosts, clusters, listeners, route configurations. Built and parsed here and nowhere else.

Cluster, route-configuration and virtual-host names are Istio's: dashboards, users' EnvoyFilters and tools depend on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
MESH_GATEWAY = "mesh"
"""The reserved gateway name that stands for all sidecars. Source: Istio VirtualService.gateways."""
ROOT_NAMESPACE = "istio-system"
SDS_DEFAULT = "default"
SDS_ROOT = "ROOTCA"
SDS_DEFAULT_PATH = "certs/sds-default.json"
SDS_ROOT_PATH = "certs/sds-rootca.json"
"""Where an Envoy reads its workload certificate and the mesh's root, relative to its working directory: equal bytes for every proxy."""
GRPC_SERVER_LISTENERS = "xds.istio.io/grpc/lds/inbound/"
"""Listeners of gRPC servers without a proxy: followed by the address they listen at. Source: Istio, `server_listener_resource_name_template`."""
LONGEST_NAME = 253
"""Of an object. Source: Kubernetes."""
INJECT_TEMPLATES = "inject.istio.io/templates"
"""The annotation of a pod that says what injection adds to it, comma-separated."""
PROXYLESS_TEMPLATES = frozenset({"grpc-agent", "grpc-simple"})
"""Nothing but what a gRPC library needs that is configured itself. Source: Istio, injection templates."""
PROXY_MARK = 1337
"""The socket mark (SO_MARK) of what a proxy sends: redirect rules let it pass."""


@dataclass(frozen=True, order=True)
class ObjectRef:
    """Names one object of the configuration. `namespace`: empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def injection_templates(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The injection templates that a pod's annotations ask for; empty: the usual one."""
    return tuple(name for part in str(annotations.get(INJECT_TEMPLATES, "")).split(",") if (name := part.strip()))


def is_proxyless(annotations: Mapping[str, str]) -> bool:
    """Whether a pod's gRPC library is configured itself, and no proxy stands beside it."""
    return not PROXYLESS_TEMPLATES.isdisjoint(injection_templates(annotations))


def registered_name(group: str, address: str, network: str = "") -> str:
    """Name of the WorkloadEntry that a workload at `address` becomes in a WorkloadGroup. Source: Istio, automatic WorkloadEntries."""
    name = "-".join(part for part in (group, address.replace(":", "-"), network) if part)
    return name if len(name) <= LONGEST_NAME else name[len(name) - LONGEST_NAME :].lstrip("-.")


@dataclass(frozen=True, order=True)
class ClusterName:
    """An Istio cluster name. `direction`: outbound or inbound; `subset` and `host` may be empty."""

    direction: str
    port: int
    subset: str
    host: str

    def __str__(self) -> str:
        return f"{self.direction}|{self.port}|{self.subset}|{self.host}"

    @property
    def sni(self) -> str:
        """The server name of mesh TLS to it; also the name of its auto-passthrough cluster."""
        return f"{self.direction}_.{self.port}_.{self.subset}_.{self.host}"

    @staticmethod
    def parse(name: str) -> "ClusterName | None":
        """None: not a name of that form (PassthroughCluster, …)."""
        for mark in ("|", "_."):
            parts = name.split(mark, 3)
            if len(parts) == 4 and parts[0] in ("outbound", "inbound") and parts[1].isdigit():
                return ClusterName(parts[0], int(parts[1]), parts[2], parts[3])
        return None


def outbound_cluster(port: int, subset: str, host: str) -> str:
    """Source: Istio, names of outbound clusters."""
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster(port: int) -> str:
    """`port`: the workload's own (target) port."""
    return f"inbound|{port}||"


def listener_name(address: str, port: int) -> str:
    """`address`: an IP address; an outbound listener's name."""
    return f"{address}_{port}"


def bound_listener_name(address: str, port: int) -> str:
    """The same for a listener of a sidecar that Envoy opens itself. It has a name of its own: Envoy 1.40 dies when a listener that it had not opened is
    replaced by one of its name and address that it is to open."""
    return f"{listener_name(address, port)}_bound"


def virtual_host_name(host: str, port: int) -> str:
    """A virtual host of a service's host and port."""
    return f"{host}:{port}"


def full_host(host: str, namespace: str, domain: str = "cluster.local") -> str:
    """A short host (no dot, no wildcard) with its namespace and domain; any other host as it is. Source: Istio, host names of destinations."""
    return host if "." in host or "*" in host or not host else f"{host}.{namespace}.svc.{domain}"


def spiffe_id(trust_domain: str, namespace: str, service_account: str) -> str:
    """The identity of a workload, a URI."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


FILE_ROOT, FILE_REVOCATIONS = "file-root:", "~crl:"


def root_name(path: str, revocations: str = "") -> str:
    """The secret of a root in a file where the proxy runs, with the file of its revocation list; empty: none."""
    return f"{FILE_ROOT}{path}{FILE_REVOCATIONS}{revocations}" if revocations else f"{FILE_ROOT}{path}"
