"""Certificates on disk: made, rotated under a real Envoy, kept while control is away."""

import asyncio
import json
import os
import ssl
import subprocess
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509

from lateen.base.spiffe import SpiffeId
from lateen.identity import ca
from lateen.identity.subject import WorkloadAttributes
from lateen.node.certificates import CertificateKeeper, Signed, SigningFailed, read_bundle, write_bundle
from lateen.node.signer import METHOD, ControlSigner
from tests.ports import free_port

WEB = SpiffeId("cluster.local", "default", "web")
ATTRIBUTES = (("app", "web"), ("version", "v1"), ("workload", "web-v1"))


class Authority:
    """Signs as control does; can be away."""

    def __init__(self, ttl_s=3600.0):
        self.root = ca.new_authority("cluster.local", time.time())
        self.ttl_s = ttl_s
        self.is_away = False
        self.asked = 0

    async def sign(self, request):
        self.asked += 1
        if self.is_away:
            raise SigningFailed("away")
        issued = ca.sign(self.root, request.csr_pem, request.identity, WorkloadAttributes(**dict(request.attributes)), self.ttl_s, time.time())
        return Signed(issued.chain, issued.root)


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
async def kept():
    tasks = []

    def keep(keeper):
        tasks.append(asyncio.create_task(keeper.run()))
        return keeper

    yield keep
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_first_certificate(tmp_path, authority, kept):
    keeper = kept(CertificateKeeper(tmp_path, WEB, ATTRIBUTES, authority.sign))
    await asyncio.wait_for(keeper.ready(), 60)
    leaf = read_bundle(tmp_path / "certs").leaf()
    assert leaf.subject.rfc4514_string() == "UID=v1,CN=web-v1,OU=web,O=default"
    assert keeper.state.serial == f"{leaf.serial_number:x}"
    for path in (tmp_path / "certs").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "certs").stat().st_mode & 0o777 == 0o700


async def test_a_new_node_uses_what_is_there_even_without_control(tmp_path, authority, kept):
    await asyncio.wait_for(kept(CertificateKeeper(tmp_path, WEB, ATTRIBUTES, authority.sign)).ready(), 60)
    authority.is_away = True
    again = kept(CertificateKeeper(tmp_path, WEB, ATTRIBUTES, authority.sign))
    await asyncio.wait_for(again.ready(), 60)
    assert authority.asked == 1
    other = kept(CertificateKeeper(tmp_path, SpiffeId("cluster.local", "default", "other"), ATTRIBUTES, authority.sign))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(other.ready(), 0.5)
    assert other.state.problem == "away"


async def test_short_lives_are_renewed_in_time(tmp_path, kept):
    authority = Authority(ttl_s=4.0)
    keeper = kept(CertificateKeeper(tmp_path, WEB, ATTRIBUTES, authority.sign))
    await asyncio.wait_for(keeper.ready(), 60)
    deadline = time.time() + 60
    while keeper.state.rotations < 3 and time.time() < deadline:
        assert keeper.state.not_after_s > time.time() - 3  # it is asked for at half of its life; the rest is for a machine that is busy
        await asyncio.sleep(0.05)
    assert keeper.state.rotations >= 3
    assert len([path for path in (tmp_path / "certs").glob("..*") if not path.is_symlink()]) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
async def test_a_full_disk_keeps_what_works(tmp_path, authority):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        bundle = await _bundle(authority)
        write_bundle(tmp_path / "certs", bundle)
        (tmp_path / "filler").write_bytes(b"x" * _free(tmp_path))
        with pytest.raises(OSError, match="No space"):
            write_bundle(tmp_path / "certs", await _bundle(authority))
        assert read_bundle(tmp_path / "certs") == bundle
        (tmp_path / "filler").unlink()
        newer = await _bundle(authority)
        write_bundle(tmp_path / "certs", newer)
        assert read_bundle(tmp_path / "certs") == newer
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def _free(path):
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


async def _bundle(authority):
    return await CertificateKeeper(Path("/nowhere"), WEB, ATTRIBUTES, authority.sign)._next()


async def test_the_signer_speaks_to_control(tmp_path, authority):
    socket = tmp_path / "control.sock"
    seen = []

    async def sign(request, _):
        body = json.loads(request)
        seen.append(body)
        issued = ca.sign(authority.root, body["csr"].encode(), WEB, WorkloadAttributes(**body["attributes"]), 60.0, time.time())
        return json.dumps({"chain": issued.chain.decode(), "root": issued.root.decode(), "ttl_s": 60}).encode()

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(sign) if details.method == METHOD else None

    async with ControlSigner(socket) as signer:
        keeper = CertificateKeeper(tmp_path, WEB, ATTRIBUTES, signer)
        with pytest.raises(SigningFailed):
            await keeper._next()
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Handler(),))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        try:
            deadline = time.time() + 60
            while True:
                try:
                    bundle = await keeper._next()
                    break
                except SigningFailed:
                    assert time.time() < deadline
                    await asyncio.sleep(0.1)
        finally:
            await server.stop(0)
    assert bundle.leaf().subject.rfc4514_string() == "UID=v1,CN=web-v1,OU=web,O=default"
    assert seen[-1]["namespace"] == "default" and seen[-1]["serviceAccount"] == "web"
    assert bundle.key.reveal().decode() not in json.dumps(seen)


TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def https_listener(port):
    def source(path):
        return {"path_config_source": {"path": path}, "resource_api_version": "V3"}

    context = {
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": source("certs/sds-default.json")}],
        "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": source("certs/sds-rootca.json")},
    }
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]
    manager = {
        "@type": MANAGER,
        "stat_prefix": "https",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    return {
        "name": "https",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": {"name": "tls", "typed_config": {"@type": TLS, "require_client_certificate": True, "common_tls_context": context}},
                "filters": [{"name": "http", "typed_config": manager}],
            }
        ],
    }


def client_context(directory, authority):
    client = SpiffeId("cluster.local", "default", "client")
    issued, key = ca.issue(authority.root, client, WorkloadAttributes(), 3600.0, time.time())
    (directory / "client.pem").write_bytes(issued.chain + key.reveal())
    (directory / "root.pem").write_bytes(issued.root)
    context = ssl.create_default_context(cafile=directory / "root.pem")
    context.load_cert_chain(directory / "client.pem")
    context.check_hostname = False
    return context


@pytest.mark.live
async def test_three_rotations_drop_nothing(kit, tmp_path, authority, envoy, kept):
    keeper = kept(CertificateKeeper(envoy.directory, WEB, ATTRIBUTES, authority.sign))
    await asyncio.wait_for(keeper.ready(), 60)
    port = free_port()
    config = {"node": {"id": "a", "cluster": "a"}, "static_resources": {"listeners": [https_listener(port)]}}
    config["admin"] = {"address": {"pipe": {"path": "admin.sock"}}}
    (envoy.directory / "envoy.json").write_text(json.dumps(config))
    argv = [kit.envoy_path(), "-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart", "-l", "warning", "--log-path", "envoy.log"]
    envoy.process = subprocess.Popen(argv, cwd=envoy.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await envoy.live()
    context = client_context(tmp_path, authority)
    kept_reader, kept_writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    served, answers = set(), 0

    async def ask(reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        assert await reader.readexactly(2) == b"ok"

    async def ask_anew():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        leaf = writer.get_extra_info("ssl_object").getpeercert(True)
        await ask(reader, writer)
        writer.close()
        return f"{x509.load_der_x509_certificate(leaf).serial_number:x}"

    served.add(await ask_anew())
    for _ in range(3):
        before = keeper.state.serial
        keeper.renew_now()
        deadline = time.time() + 60
        while (serial := await ask_anew()) == before:
            assert time.time() < deadline
            await ask(kept_reader, kept_writer)
            answers += 1
        served.add(serial)
    await ask(kept_reader, kept_writer)
    kept_writer.close()
    assert len(served) == 4 and envoy.process.poll() is None
