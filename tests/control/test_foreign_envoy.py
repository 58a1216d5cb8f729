"""Envoys that somebody else started, with a bootstrap of their own and a certificate of `lateen ca issue`: one joins a WorkloadGroup, the other calls it."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lateen.base.secrets import Secret
from lateen.node.certificates import Bundle, write_bundle
from lateen.wire.binary import envoy_path
from tests.control.harness import Control, bootstrap
from tests.live.harness import until
from tests.ports import free_port
from tests.servers import JsonServer

pytestmark = pytest.mark.live
ADDRESS = "127.9.0.1"
"""Where the machine's proxy serves; every address of 127.0.0.0/8 is this host's."""
MESH = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: istio-system}}
spec: {{mtls: {{mode: STRICT}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: vms, namespace: shop}}
spec: {{metadata: {{labels: {{app: machine}}}}, template: {{serviceAccount: vm}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: machine, namespace: shop}}
spec: {{clusterIP: 10.96.0.20, selector: {{app: machine}}, ports: [{{name: http, port: {service}, targetPort: {port}}}]}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: machine, namespace: shop}}
spec:
  workloadSelector: {{labels: {{app: machine}}}}
  ingress: [{{port: {{number: {port}, name: http, protocol: HTTP}}, bind: {address}, captureMode: NONE, defaultEndpoint: "127.0.0.1:{app}"}}]
  egress: [{{hosts: ["~/*"]}}]
"""


class ForeignEnvoy:
    """An Envoy in a folder of its own, fed over control's TCP port. `certificate`: the account it has one for; `variant`: of discovery; `metadata`: what it says of itself."""

    def __init__(self, control: Control, name: str, address: str, certificate: str, variant: str = "DELTA_GRPC", **metadata: object) -> None:
        self.folder = control.home / f"envoy-{name}"
        self.folder.mkdir()
        control.credentials(certificate)
        parts = control.home / certificate.replace("/", "-")
        chain, key, root = ((parts / file).read_bytes() for file in ("cert-chain.pem", "key.pem", "root-cert.pem"))
        write_bundle(self.folder / "certs", Bundle(chain, Secret(key), root))
        config = bootstrap(self.folder / "unused", self.folder)
        said = {"NAMESPACE": "shop", "INSTANCE_IPS": address, "INTERCEPTION_MODE": "NONE", **metadata}
        config["node"] = {"id": f"sidecar~{address}~{name}.shop~shop.svc.cluster.local", "cluster": name, "metadata": said}
        config["dynamic_resources"]["ads_config"]["api_type"] = variant
        (cluster,) = config["static_resources"]["clusters"]
        target = {"socket_address": {"address": "127.0.0.1", "port_value": control.port}}
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = target
        cluster["transport_socket"] = {"name": "tls", "typed_config": _tls(parts)}
        log = (self.folder / "log").open("wb")
        command = [str(envoy_path()), "--config-yaml", json.dumps(config), "--use-dynamic-base-id", "--concurrency", "1", "-l", "info"]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


def _tls(parts: Path) -> dict:
    own = {"certificate_chain": {"filename": str(parts / "cert-chain.pem")}, "private_key": {"filename": str(parts / "key.pem")}}
    context = {"alpn_protocols": ["h2"], "tls_certificates": [own], "validation_context": {"trusted_ca": {"filename": str(parts / "root-cert.pem")}}}
    return {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": context}


class Rig:
    """Control, the application and ports."""

    def __init__(self) -> None:
        self.app, self.service, self.port = JsonServer(lambda _, headers: (200, headers)), free_port(), free_port()
        self.control = Control(mesh=MESH.format(service=self.service, port=self.port, app=self.app.port, address=ADDRESS)).start()
        self.envoys: list[ForeignEnvoy] = []

    def envoy(self, *arguments: str, **metadata: object) -> ForeignEnvoy:
        self.envoys.append(ForeignEnvoy(self.control, *arguments, **metadata))
        return self.envoys[-1]

    def logs(self) -> str:
        return "\n".join([self.control.log(), *(one.log()[-3000:] for one in self.envoys)])

    def close(self) -> None:
        for one in self.envoys:
            one.close()
        self.control.kill()
        self.app.server.shutdown()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    try:
        yield made
    finally:
        made.close()


def asked(host: str, port: int) -> tuple[int, dict]:
    """(status, headers that the application got); status 0: no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/", headers={"host": "machine.shop.svc.cluster.local"})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else {}
    except (OSError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()


def test_a_machine_joins_and_serves_mesh_tls(rig):
    """Its client speaks the state-of-the-world variant, as older proxies do."""
    machine = rig.envoy("vm-1", ADDRESS, "shop/vm", SERVICE_ACCOUNT="vm", AUTO_REGISTER_GROUP="vms")
    rig.envoy("client-1", "127.9.0.2", "shop/client", "GRPC", SERVICE_ACCOUNT="client")
    status, headers = until(lambda: (got := asked("127.0.0.1", rig.service))[0] == 200 and got, 60, f"an answer through both\n{rig.logs()}")
    assert status == 200
    peer = headers["x-forwarded-client-cert"]
    assert "By=spiffe://cluster.local/ns/shop/sa/vm" in peer
    assert "URI=spiffe://cluster.local/ns/shop/sa/client" in peer
    assert asked(ADDRESS, rig.port)[0] == 0, "STRICT: nothing without mesh TLS"
    machine.close()
    until(lambda: asked("127.0.0.1", rig.service)[0] == 503, 60, "it has left")


def test_an_envoy_with_anothers_certificate_gets_nothing(rig):
    stranger = rig.envoy("vm-1", ADDRESS, "shop/other", SERVICE_ACCOUNT="vm", AUTO_REGISTER_GROUP="vms")
    until(lambda: "the certificate is for ns/shop/sa/other, the node says ns/shop/sa/vm" in rig.control.log(), 60, "a refusal")
    assert asked(ADDRESS, rig.port)[0] == 0
    assert rig.control.call("Status")["proxies"]["connected"] == 0
    assert not [one for one in rig.control.call("Objects")["objects"] if one["kind"] == "WorkloadEntry"]
    assert stranger.process.poll() is None, "Envoy itself runs, and asks again"


def test_a_certificate_of_another_authority_or_past_its_life_opens_nothing(rig):
    import grpc

    strange = Control()
    strange.start()
    try:
        foreign = strange.credentials("shop/vm")
    finally:
        strange.kill()
    rig.control.credentials("shop/vm")
    own = rig.control.home / "shop-vm"
    command = ["ca", "issue", "shop/vm", "--out", str(rig.control.home / "short"), "--ttl", "1s", "--name", "t"]
    subprocess.run([sys.executable, "-m", "lateen", *command], env=rig.control.environment, check=True, capture_output=True, timeout=60)
    short = rig.control.home / "short"
    theirs = strange.home / "shop-vm"
    mixed = grpc.ssl_channel_credentials((own / "root-cert.pem").read_bytes(), (theirs / "key.pem").read_bytes(), (theirs / "cert-chain.pem").read_bytes())
    expired = grpc.ssl_channel_credentials((own / "root-cert.pem").read_bytes(), (short / "key.pem").read_bytes(), (short / "cert-chain.pem").read_bytes())
    good = rig.control.credentials("shop/vm")
    until(lambda: not answers(rig.control.port, expired), 60, "past its life")
    assert not answers(rig.control.port, mixed)
    assert not answers(rig.control.port, foreign)
    assert answers(rig.control.port, good)


def answers(port: int, credentials: object) -> bool:
    """Whether control sends clusters to a client with these credentials."""
    import grpc

    from lateen.wire.client import node
    from lateen.wire.delta import DELTA_METHOD, DeltaRequest, encode_request
    from tests.control.harness import CDS

    said = node(f"sidecar~{ADDRESS}~vm-1.shop~shop.svc.cluster.local", {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "vm"})
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        call = channel.stream_stream(DELTA_METHOD)(iter([encode_request(DeltaRequest(CDS, node=said))]), timeout=60)
        try:
            return bool(next(call, None))
        except grpc.RpcError:
            return False
