"""Every kind of cluster, with every kind of policy, is taken by the real Envoy: none rejected, none warned of as deprecated."""

import subprocess
import time
from itertools import product

import pytest

from lateen.config.kinds.istio.mesh_config import MeshConfig, MeshOutboundMode, MeshOutboundPolicy
from lateen.config.kinds.istio.mesh_proxy import ConnectionSettings, MeshProxyConfig
from lateen.config.kinds.istio.traffic_policy import ClientTls, ClientTlsMode
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.binary import envoy_path
from lateen.wire.pb.envoy.config.bootstrap.v3 import bootstrap_pb2
from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names

POLICIES = (
    "{}",
    "{connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s, idleTimeout: 5s, maxConnectionDuration: 9s, tcpKeepalive: {probes: 2, time: 7s}}}}",
    "{connectionPool: {http: {http2MaxRequests: 2, maxRetries: 1, maxConcurrentStreams: 9, idleTimeout: 1s, h2UpgradePolicy: UPGRADE}}}",
    "{connectionPool: {http: {useClientProtocol: true, maxRequestsPerConnection: 1, http2KeepAlive: {interval: 5s, timeout: 1s}}}}",
    "{outlierDetection: {consecutive5xxErrors: 0, interval: 1s, baseEjectionTime: 3s, maxEjectionPercent: 100, minHealthPercent: 40}}",
    "{outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, outlierDetectionHttpErrorCodes: [429]}}",
    "{loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 5, aggression: 2}}}",
    "{loadBalancer: {simple: PASSTHROUGH}}",
    "{loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {tableSize: 100}}}}",
    "{loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 90000000}}}}",
    "{loadBalancer: {localityLbSetting: {distribute: [{from: 'a/*', to: {'b/*': 100}}]}}}",
    "{loadBalancer: {zoneAwareLbSetting: {minClusterSize: 4294967295, failover: [{from: a, to: b}]}}}",
    "{loadBalancer: {consistentHash: {useSourceIp: true}, zoneAwareLbSetting: {enabled: false}}}",
    "{tls: {mode: SIMPLE}}",
    "{tls: {mode: SIMPLE, sni: x.example.com, caCertificates: /c/ca.pem, subjectAltNames: [x.example.com]}}",
    "{tls: {mode: MUTUAL, clientCertificate: /c/c.pem, privateKey: /c/k.pem, insecureSkipVerify: true}}",
    "{tls: {mode: ISTIO_MUTUAL}, proxyProtocol: {version: V2}}",
    "{retryBudget: {percent: 25, minRetryConcurrency: 3}}",
)
SERVICES = {
    "kubernetes": "apiVersion: v1\nkind: Service\nmetadata: {name: NAME, namespace: aa}\nspec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [PORTS]}",
    "headless": "apiVersion: v1\nkind: Service\nmetadata: {name: NAME, namespace: aa}\nspec: {clusterIP: None, selector: {app: web}, ports: [PORTS]}",
}
ENTRY = (
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: NAME, namespace: aa}\nspec: {hosts: ['HOST'], resolution: HOW, ports: [PORTS]}"
)
POD = """apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: aa, labels: {app: web, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: web, containers: [{name: a}]}
status: {podIP: 10.1.0.1, conditions: [{type: Ready, status: 'True'}]}"""


CONFIG = MeshConfig(
    outbound_cluster_stat_name="%SERVICE%",
    outbound_traffic_policy=MeshOutboundPolicy(mode=MeshOutboundMode.ALLOW_ANY_DYNAMIC_DNS, tls=ClientTls(mode=ClientTlsMode.SIMPLE)),
    default_config=MeshProxyConfig(connection_settings=ConnectionSettings(cluster_per_connection_buffer_limit_bytes=65536)),
)


def written():
    """A service of every kind under every policy."""
    yield POD
    for (kind, text), (at, policy) in product(SERVICES.items(), enumerate(POLICIES)):
        name = f"{kind}{at}"
        ports = "{name: http, port: 80}, {name: grpc, port: 81}, {name: tcp, port: 82}, {name: any, port: 83}"
        yield text.replace("NAME", name).replace("PORTS", ports)
        yield rule(name, f"{name}.aa.svc.cluster.local", policy)
    for how, (at, policy) in product(("STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS", "NONE"), enumerate(POLICIES)):
        name = f"{how.lower().replace('_', '-')}{at}"
        host = f"*.{name}.example.com" if how in ("DYNAMIC_DNS", "NONE") else f"{name}.example.com"
        ports = "{name: http, number: 80, protocol: HTTP}, {name: grpc, number: 81, protocol: GRPC}, {name: tls, number: 82, protocol: TLS}"
        yield ENTRY.replace("NAME", name).replace("HOST", host).replace("HOW", how).replace("PORTS", ports)
        yield rule(name, host, policy)


def rule(name, host, policy):
    meta = f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: aa}}\n"
    return f"{meta}spec: {{host: '{host}', trafficPolicy: {policy}, subsets: [{{name: v1, labels: {{app: web}}}}]}}"


@pytest.mark.live
@pytest.mark.parametrize(("kind", "addresses"), [(ProxyType.SIDECAR, ("10.1.0.1", "fd00::1")), (ProxyType.ROUTER, ("10.1.0.2",))])
def test_envoy_takes_all_of_them(mesh, tmp_path, kind, addresses):
    db = mesh("\n---\n".join(written()), CONFIG)
    view = view_of(db, Proxy(kind, "web-0.aa", "aa", addresses=addresses))
    names = sorted(resource_names(db, view, ResourceType.CLUSTER))
    assert len(names) > 600
    answer = discovery_pb2.DiscoveryResponse(version_info="1", type_url=ResourceType.CLUSTER.value)
    for name in names:
        found = resource(db, view, ResourceType.CLUSTER, name)
        assert found is not None
        answer.resources.add(type_url=found.type.value, value=found.body)
    output, numbers = offered(answer, tmp_path)
    assert numbers.get("cluster_manager.cds.update_success") == 1, output[-2000:]
    assert numbers["cluster_manager.cluster_added"] == len(names) + 1
    assert "deprecated" not in output.lower()


def offered(answer, folder):
    """Envoy's output and statistics once it has taken, or refused, the clusters from a file. Their ADS never answers."""
    (folder / "cds.pb").write_bytes(answer.SerializeToString())
    (folder / "certs").mkdir()
    for name in ("sds-default", "sds-rootca"):
        (folder / "certs" / f"{name}.json").write_text('{"resources": []}')
    bootstrap = bootstrap_pb2.Bootstrap()
    bootstrap.node.id = bootstrap.node.cluster = "test"
    ads = bootstrap.static_resources.clusters.add(name="ads")
    ads.connect_timeout.seconds = 1
    bootstrap.dynamic_resources.ads_config.api_type = 2
    bootstrap.dynamic_resources.ads_config.transport_api_version = 2
    bootstrap.dynamic_resources.ads_config.grpc_services.add().envoy_grpc.cluster_name = "ads"
    bootstrap.dynamic_resources.cds_config.path_config_source.path = str(folder / "cds.pb")
    bootstrap.dynamic_resources.cds_config.resource_api_version = 2
    bootstrap.admin.address.pipe.path = str(folder / "admin.sock")
    (folder / "bootstrap.pb").write_bytes(bootstrap.SerializeToString())
    argv = [str(envoy_path()), "--disable-hot-restart", "--concurrency", "1", "-c", str(folder / "bootstrap.pb"), "-l", "warning"]
    with (folder / "out").open("w") as out, subprocess.Popen(argv, cwd=folder, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            numbers = settled(process, folder)
        finally:
            process.kill()
    return (folder / "out").read_text(), numbers


def settled(process, folder):
    for _ in range(900):
        if process.poll() is not None:
            return {}
        argv = ["curl", "-s", "--unix-socket", str(folder / "admin.sock"), "http://x/stats?filter=cluster_manager"]
        lines = subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout.splitlines()
        numbers = {name: int(value) for name, _, value in (line.partition(": ") for line in lines) if value.isdigit()}
        if numbers.get("cluster_manager.cds.update_success") or numbers.get("cluster_manager.cds.update_rejected"):
            return numbers
        time.sleep(0.1)
    return {}
