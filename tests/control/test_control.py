"""The control process, alone, through its doors: who may come in, what is sent, what an edit does, what survives a kill."""

import asyncio
import json

import grpc
import grpc.aio
import pytest

from tests.control.harness import CDS, EDS, LDS, RDS, Control, Watcher, pod, service

WEB = "outbound|80||web.shop.svc.cluster.local"
pytestmark = pytest.mark.live


@pytest.fixture
def control():
    made = Control(
        base=service("web", "10.96.0.10") + service("api", "10.96.0.11") + pod("web-1", "10.1.0.1") + pod("web-2", "10.1.0.2"),
        other=service("far", "10.96.0.12", "other"),
    )
    made.start()
    yield made
    made.kill()


def channel(control: Control, account: str = "shop/web") -> grpc.aio.Channel:
    return grpc.aio.secure_channel(f"127.0.0.1:{control.port}", control.credentials(account))


async def connected(control: Control, watcher: Watcher, made: grpc.aio.Channel) -> asyncio.Task:
    task = asyncio.create_task(watcher.follow(made))
    await watcher.until(lambda: task.done() or (watcher.held(RDS) and watcher.endpoints(WEB)), "everything")
    if task.done():
        task.result()
    return task


async def test_a_proxy_gets_the_mesh_and_edits_as_they_happen(control):
    watcher = Watcher()
    async with channel(control) as made:
        task = await connected(control, watcher, made)
        assert watcher.endpoints(WEB) == {"10.1.0.1", "10.1.0.2"}
        assert {WEB, "outbound|80||api.shop.svc.cluster.local", "outbound|80||far.other.svc.cluster.local"} <= watcher.held(CDS)
        assert {"virtualInbound", "virtualOutbound"} <= watcher.held(LDS)
        assert [url for url, *_ in watcher.sent[:2]] == [CDS, EDS]
        await watcher.until(lambda: control.call("Status")["proxies"] == {"connected": 1, "synced": 1}, "synced")
        watcher.sent.clear()
        text = service("web", "10.96.0.10") + service("api", "10.96.0.11") + pod("web-1", "10.1.0.1")
        control.write("base", text)
        await watcher.until(lambda: watcher.endpoints(WEB) == {"10.1.0.1"}, "one endpoint fewer")
        assert watcher.sent == [(EDS, (WEB,), ())]
        control.write("base", text + "# a comment\n")
        control.write(
            "api-route",
            "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: api, namespace: shop}, spec: {hosts: [api], http: [{timeout: 3s, route: [{destination: {host: api}}]}]}}",
        )
        await watcher.until(lambda: len(watcher.sent) > 1, "a route")
        await watcher.until(lambda: control.call("Ledger")["changes"][-1]["final"], "acknowledged")
        await asyncio.sleep(0.3)
        assert [(url, names) for url, names, _ in watcher.sent[1:]] == [(RDS, ("80",))]
        changes = control.call("Ledger")["changes"]
        assert changes[-1]["objects"] == ["VirtualService shop/api"]
        assert (changes[-1]["proxies"], changes[-1]["of"], changes[-1]["final"]) == (1, 1, True)
        (shown,) = control.call("ProxyStatus")["proxies"]
        assert shown["name"] == "web-1.shop"
        assert {kind: state["state"] for kind, state in shown["types"].items()} == {
            "CDS": "SYNCED",
            "LDS": "SYNCED",
            "EDS": "SYNCED",
            "RDS": "SYNCED",
            "ECDS": "NOT SENT",
        }
        assert control.call("Oracle")["wrong"] == []
        task.cancel()


@pytest.mark.parametrize(
    ("account", "watcher", "reason"),
    [
        ("shop/other", Watcher(), "the certificate is for ns/shop/sa/other, the node says ns/shop/sa/web"),
        ("other/web", Watcher(), "the certificate is for ns/other/sa/web"),
        ("shop/web", Watcher(account=""), "the node says ns/shop/sa/(nothing)"),
        ("shop/web", Watcher(name="x.other"), None),
        ("shop/default", Watcher(account=7), "(nothing)"),
    ],
)
async def test_only_the_node_of_the_certificate_comes_in(control, account, watcher, reason):
    async with channel(control, account) as made:
        task = asyncio.create_task(watcher.follow(made))
        await watcher.until(lambda: task.done() or watcher.held(CDS), "an answer")
        if reason is None:
            assert watcher.held(CDS)
            task.cancel()
            return
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await task
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert reason in caught.value.details()
        assert not watcher.sent


async def test_without_a_mesh_certificate_nobody_comes_in(control):
    for credentials in (grpc.ssl_channel_credentials(), None):
        target = f"127.0.0.1:{control.port}"
        made = grpc.aio.secure_channel(target, credentials) if credentials else grpc.aio.insecure_channel(target)
        async with made:
            watcher = Watcher()
            with pytest.raises((grpc.aio.AioRpcError, TimeoutError)):
                async with asyncio.timeout(60):
                    await watcher.follow(made)
            assert not watcher.sent


async def test_the_node_cannot_change_within_a_stream(control):
    from lateen.wire.delta import DELTA_METHOD, DeltaRequest, encode_request

    async with channel(control) as made:
        call = made.stream_stream(DELTA_METHOD)()
        await call.write(encode_request(DeltaRequest(CDS, node=Watcher().client.node)))
        assert isinstance(await call.read(), bytes)
        await call.write(encode_request(DeltaRequest(LDS, node=Watcher(name="web-9").client.node)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while isinstance(await call.read(), bytes):
                pass
        assert "the node changed" in caught.value.details()


async def test_over_tcp_everyone_gets_their_own_certificate_and_no_other(control):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    csr = request.public_bytes(serialization.Encoding.PEM).decode()
    async with channel(control) as made:
        sign = made.unary_unary("/lateen.v1.Certificates/Sign")
        answer = json.loads(await sign(json.dumps({"csr": csr, "namespace": "shop", "serviceAccount": "web"}).encode()))
        leaf = x509.load_pem_x509_certificate(answer["chain"].encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)
        assert names == ["spiffe://cluster.local/ns/shop/sa/web"]
        with pytest.raises(grpc.aio.AioRpcError):
            await sign(json.dumps({"csr": csr, "namespace": "shop", "serviceAccount": "other"}).encode())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await made.unary_unary("/lateen.v1.Control/Status")(b"{}")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_killed_control_comes_back_and_sends_only_what_changed(control):
    watcher = Watcher()
    async with channel(control) as made:
        task = await connected(control, watcher, made)
        control.kill()
        with pytest.raises(grpc.aio.AioRpcError):
            await task
    control.write("base", service("web", "10.96.0.10") + service("api", "10.96.0.11") + pod("web-1", "10.1.0.1") + pod("web-3", "10.1.0.3"))
    watcher.sent.clear()
    control.start()
    async with channel(control) as made:
        task = asyncio.create_task(watcher.follow(made))
        await watcher.until(lambda: watcher.endpoints(WEB) == {"10.1.0.1", "10.1.0.3"}, "the new endpoints")
        await asyncio.sleep(0.3)
        assert [(url, names) for url, names, _ in watcher.sent if names] == [(EDS, (WEB,))]
        task.cancel()


async def test_bad_files_disturb_nothing_and_are_told(control):
    watcher = Watcher()
    async with channel(control) as made:
        task = await connected(control, watcher, made)
        watcher.sent.clear()
        control.write("other", "a: [1,\nb: }\n")
        await watcher.until(lambda: control.call("Findings")["findings"], "a finding")
        (finding, *_) = control.call("Findings")["findings"]
        assert finding["file"].endswith("other.yaml")
        assert finding["line"] == 2
        await asyncio.sleep(0.2)
        assert watcher.sent == []
        task.cancel()
