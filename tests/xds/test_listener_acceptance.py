"""Listeners of random Gateways, Sidecars, services and TCP routes, hostile values among them, are all taken by one real Envoy, one after the other."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time

import pytest

from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.binary import envoy_path
from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names

COUNT, WAIT_S = 250, 60.0
HOSTS = ("a.example.com", "*.example.com", "*", "B.Example.com", "cart.shop.svc.cluster.local", "./x.example.com", "shop/y.example.com", "*le.com")
PROTOCOLS = ("HTTP", "HTTPS", "TLS", "TCP", "GRPC", "HTTP2", "MONGO", "nonsense")
TLS = (
    "{mode: SIMPLE, credentialName: c}",
    "{mode: MUTUAL, credentialName: c, cipherSuites: [NONSENSE, ECDHE-RSA-AES128-GCM-SHA256], subjectAltNames: [x, 'spiffe://a/ns/b/sa/c']}",
    "{mode: OPTIONAL_MUTUAL, serverCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem}",
    "{mode: SIMPLE, credentialNames: [c, d], minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}",
    "{mode: MUTUAL, credentialName: c, verifyCertificateHash: [short], verifyCertificateSpki: [short]}",
    "{mode: PASSTHROUGH}",
    "{mode: AUTO_PASSTHROUGH}",
    "{mode: ISTIO_MUTUAL}",
    "{httpsRedirect: true}",
)
NETWORKS = ("10.0.0.0/8", "10.0.0.0/33", "nowhere", "10.1.2.3", "2001:db8::/32")
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {{name: s{0}, namespace: shop}}\n"
    "spec: {{clusterIP: {1}, selector: {{app: cart}}, ports: [{{name: {2}, port: {3}}}, {{name: {4}, port: 7000}}]}}"
)
ENTRY = (
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{0}, namespace: shop}}\n"
    "spec: {{hosts: ['{1}'], addresses: [{2}], resolution: {3}, ports: [{{name: p, number: {4}, protocol: {5}}}]}}"
)
SIDECAR = (
    "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s, namespace: shop}}\nspec:\n"
    "  egress:\n  - {{port: {{number: {0}, protocol: {1}, name: a}}, bind: {2}, captureMode: {3}, hosts: ['*/*']}}\n  - {{hosts: ['./*']}}\n"
    "  ingress:\n  - {{port: {{number: {4}, protocol: {1}, name: b}}, defaultEndpoint: '127.0.0.1:80', captureMode: {3}}}"
)
ROUTES = (
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{0}, namespace: shop}}\nspec:\n"
    "  hosts: ['{1}']\n  gateways: [mesh, g0, g1]\n"
    "  tcp:\n  - match: [{{destinationSubnets: ['{2}']}}]\n    route: [{{destination: {{host: s0}}, weight: 3}}, {{destination: {{host: s1}}, weight: 0}}]\n"
    "  - route: [{{destination: {{host: s1, port: {{number: 7000}}}}}}]\n"
    "  tls:\n  - match: [{{sniHosts: ['{1}']}}]\n    route: [{{destination: {{host: s0}}}}]"
)
PORTS = (80, 443, 7000, 8443, 15001, 15006, 15021, 31400)


def written(draw: random.Random) -> str:
    """One mesh."""
    texts = []
    for at in range(2):
        address = draw.choice(("None", f"10.96.0.{at + 1}", "10.96.0.9"))
        texts.append(
            SERVICE.format(at, address, draw.choice(("http", "tcp", "any", "https", "grpc-web")), draw.choice(PORTS), draw.choice(("udp", "tls-x", "x")))
        )
        addresses = draw.choice(("", "10.97.0.1", "10.96.0.0/16", "10.97.0.1, 10.97.0.2", "'2001:db8::1'"))
        how = draw.choice(("STATIC", "DNS", "NONE", "DYNAMIC_DNS"))
        texts.append(ENTRY.format(at, draw.choice(HOSTS[:4]), addresses, how, draw.choice(PORTS), draw.choice(PROTOCOLS)))
        servers = [
            f"{{port: {{number: {draw.choice(PORTS)}, name: n{n}, protocol: {draw.choice(PROTOCOLS)}}}, hosts: {json.dumps(draw.sample(HOSTS, 2))}"
            f"{draw.choice(('', ', bind: 127.0.0.1', ', bind: 0.0.0.0', ', bind: nowhere'))}{draw.choice(('', f', tls: {draw.choice(TLS)}'))}}}"
            for n in range(4)
        ]
        head = f"apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g{at}, namespace: shop}}\n"
        texts.append(f"{head}spec: {{selector: {{app: cart}}, servers: [{', '.join(servers)}]}}")
        texts.append(ROUTES.format(at, draw.choice(HOSTS), draw.choice(NETWORKS)))
    if draw.random() < 0.5:
        bind = draw.choice(("''", "127.0.0.1", "0.0.0.0", "nowhere"))
        texts.append(SIDECAR.format(draw.choice(PORTS), draw.choice(PROTOCOLS), bind, draw.choice(("DEFAULT", "NONE")), draw.choice(PORTS)))
    return "\n---\n".join(texts)


class Envoy:
    """One Envoy that reads its listeners from a file, and says through its admin socket whether it took them."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "certs").mkdir()
        for name in ("sds-default", "sds-rootca"):
            (folder / "certs" / f"{name}.json").write_text('{"resources": []}')
        ads = {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "nobody"}}]}
        source = {"path_config_source": {"path": str(folder / "lds.pb")}, "resource_api_version": "V3"}
        bootstrap = {
            "node": {"id": "x", "cluster": "x"},
            "admin": {"address": {"pipe": {"path": str(folder / "admin.sock")}}},
            "dynamic_resources": {"ads_config": ads, "lds_config": source},
            "static_resources": {"clusters": [{"name": "nobody", "type": "STATIC", "typed_extension_protocol_options": HTTP2}]},
        }
        (folder / "envoy.json").write_text(json.dumps(bootstrap))
        self.offer([])
        options = ["-c", "envoy.json", "-l", "warning", "--concurrency", "1", "--use-dynamic-base-id"]
        command = ["unshare", "-n", sys.executable, "-c", LOOPBACK_UP, str(envoy_path()), *options]
        self.process = subprocess.Popen(command, cwd=folder, stderr=(folder / "log").open("w"))

    def offer(self, resources):
        """New listeners, all at once."""
        answer = discovery_pb2.DiscoveryResponse(version_info=str(time.monotonic_ns()), type_url=ResourceType.LISTENER.value)
        for found in resources:
            answer.resources.add(type_url=found.type.value, value=found.body)
        (self.folder / "new.pb").write_bytes(answer.SerializeToString())
        os.replace(self.folder / "new.pb", self.folder / "lds.pb")

    def updates(self) -> dict[str, int]:
        """`success` and `rejected` so far."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.folder / "admin.sock"))
            admin.sendall(b"GET /stats?filter=lds.update_ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
            lines = (line.split(": ") for line in text.splitlines() if line.startswith("listener_manager.lds.update_"))
            return {name.rpartition("_")[2]: int(value) for name, value in lines if value.isdigit()}
        return {}

    def took(self, before: dict[str, int]) -> bool:
        """Whether it took what was offered last."""
        deadline = time.monotonic() + WAIT_S
        again = time.monotonic() + 1
        while time.monotonic() < deadline:
            now = self.updates()
            if time.monotonic() > again:  # a rename that came while it was reading the last one goes unseen
                again += 1
                (self.folder / "new.pb").write_bytes((self.folder / "lds.pb").read_bytes())
                os.replace(self.folder / "new.pb", self.folder / "lds.pb")
            if now.get("rejected", 0) > before.get("rejected", 0):
                return False
            if now.get("success", 0) > before.get("success", 0):
                return True
            time.sleep(0.005)
        raise AssertionError(f"Envoy says nothing, {self.process.poll()}, {self.updates()}: " + (self.folder / "log").read_text()[-2000:])


LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))
os.execv(sys.argv[1], sys.argv[1:])
"""
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


@pytest.mark.live
@pytest.mark.parametrize("kind", list(ProxyType))
def test_envoy_takes_listeners_of_random_meshes(mesh, tmp_path, kind):
    if os.geteuid() and not os.environ.get("CI"):
        pytest.skip("needs root: its Envoy listens in a network of its own")
    envoy = Envoy(tmp_path)
    try:
        assert envoy.took({"success": 0})
        for seed in range(COUNT):
            text = written(random.Random(f"{kind.value}{seed}"))
            db = mesh(text)
            metadata = (("INTERCEPTION_MODE", "NONE"),) if seed % 5 == 0 and kind is ProxyType.SIDECAR else ()
            proxy = Proxy(kind, "cart-0.shop", "shop", labels=(("app", "cart"),), addresses=("127.0.0.1",), metadata=metadata)
            view = view_of(db, proxy)
            listeners = [resource(db, view, ResourceType.LISTENER, name) for name in sorted(resource_names(db, view, ResourceType.LISTENER))]
            before = envoy.updates()
            envoy.offer(listeners)
            assert envoy.took(before), f"seed {seed}: {(tmp_path / 'log').read_text()[-1500:]}\n{text}"
    finally:
        envoy.process.terminate()
        envoy.process.wait(10)
