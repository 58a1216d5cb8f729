"""Cases through real listeners of the real Envoy, in a namespace of this process: `python real_envoy CASE…` prints one JSON object a case.

Each case gets an Envoy of its own, with the resources its proxy would get, unmodified; the access log is switched on through the mesh configuration, as a user would. Every call is made
as a connection. Exit 1: some call went another way than the simulator says, or Envoy refused a resource.
"""

import asyncio
import json
import shutil
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import arena
import grpc
import msgspec
from ads import Ads
from client import Identity, Seen, can_be_made, made
from judge import FORMAT, Logged, disagreement

from lateen.base.spiffe import SpiffeId
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.insight.simulate.call import Call, Outcome
from lateen.insight.simulate.case import read_case, resources_of
from lateen.insight.simulate.emitted import Emitted
from lateen.insight.simulate.evaluate import evaluate
from lateen.wire.binary import envoy_path

READY_S, STOP_S, LOG_S = 30.0, 3.0, 2.0
AT_ONCE = 24


def bootstrap(socket_path: Path) -> dict[str, Any]:
    """Who it is, where its configuration comes from, and the mark that keeps its own connections from being captured."""
    ads = {"ads": {}, "resource_api_version": "V3"}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    relay = {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(socket_path)}}}}]}], "cluster_name": "xds"}
    mark = {"level": 1, "name": 36, "int_value": 1337, "state": "STATE_PREBIND"}
    return {
        "node": {"id": "sidecar~1.1.1.1~x.y~y.svc.cluster.local", "cluster": "x"},
        "admin": {"address": {"pipe": {"path": "admin.sock"}}},
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "load_assignment": relay,
                    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
                }
            ]
        },
        "cluster_manager": {"upstream_bind_config": {"socket_options": [mark]}},
    }


class Court:
    """The arena's authority, its ADS server, and one Envoy at a time."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.certs = scratch / "certs"
        self.ads, self.identity = self._identities()

    def _identities(self) -> tuple[Ads, Identity]:
        from lateen.identity.ca import new_authority

        authority = new_authority("cluster.local", time.time())
        mesh, client, other = (_issued(authority, name) for name in ("server", "client", "other"))
        self.certs.mkdir(parents=True)
        for name, content in (
            ("chain.pem", mesh[0]),
            ("key.pem", mesh[1]),
            ("root.pem", authority.certificate),
            ("client.pem", client[0]),
            ("client-key.pem", client[1]),
        ):
            (self.certs / name).write_bytes(content)
        for name, secret in _file_secrets(self.certs).items():
            (self.certs / name).write_text(json.dumps(secret))
        der = ssl.PEM_cert_to_DER_cert(mesh[0].decode().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
        return Ads(*other, authority.certificate), Identity(str(self.certs / "client.pem"), str(self.certs / "client-key.pem"), der)

    async def judged(self, folder: Path) -> dict[str, Any]:
        """One case. `wrong`: its disagreements; `refused`: what Envoy does not take."""
        case = read_case(folder)
        found: dict[str, Any] = {"case": f"{folder.parent.name}/{folder.name}", "calls": len(case.calls), "wrong": [], "refused": []}
        if case.unknown_features:
            return found | {"skipped": list(case.unknown_features)}
        serialized = list(resources_of(case, _with_our_log))
        self.ads.load(serialized)
        place = Path(tempfile.mkdtemp(dir=self.scratch))
        shutil.copytree(self.certs, place / "certs")
        (place / "boot.json").write_text(json.dumps(bootstrap(self.scratch / "ads.sock")))
        began = time.monotonic()
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            command = (str(envoy_path()), "-c", "boot.json", "--concurrency", "1", "--disable-hot-restart", "-l", "warning", "--file-flush-interval-msec", "20")
            process = await asyncio.create_subprocess_exec(*command, cwd=place, stdout=out, stderr=err)
            try:
                is_ready = await _ready(place, process)
                found["ready_s"] = round(time.monotonic() - began, 2)
                found["refused"] = list(self.ads.refused)
                if not is_ready:
                    found["refused"].append("not ready: " + (place / "err").read_text()[-600:])
                else:
                    calls = [Call.read(one) for one in case.calls]
                    possible = [call for call in calls if can_be_made(call)]
                    found["left_out"] = len(calls) - len(possible)
                    found["wrong"] = await self._called(Emitted.decoded(serialized), possible, place)
            finally:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        shutil.rmtree(place)
        return found

    async def _called(self, emitted: Emitted, calls: list[Call], place: Path) -> list[Any]:
        said = [evaluate(emitted, call) for call in calls]
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(call: Call) -> Seen:
            async with at_once:
                return await made(call, self.identity)

        seen = await asyncio.gather(*(one(call) for call in calls))
        logged = await _logged(place, {one.port for one, result in zip(seen, said, strict=True) if result.tcp_proxy or result.manager})
        wrong = []
        for index, (call, result, one) in enumerate(zip(calls, said, seen, strict=True)):
            if result.outcome is not Outcome.UNSUPPORTED and (why := disagreement(emitted, call, result, one, logged.get(one.port, []))):
                wrong.append({"call": index, "said": f"{result.outcome.value} {[name for name, _ in result.clusters]}", "why": why})
        chains = sum(result.outcome is Outcome.NO_FILTER_CHAIN for result in said)
        counted = await _counted(place)
        if chains != counted:
            wrong.append({"call": None, "said": f"{chains} calls without a filter chain", "why": f"Envoy counts {counted}"})
        return wrong


def _with_our_log(mesh: MeshConfig) -> MeshConfig:
    """The case's mesh configuration with the one access log that `judge` reads."""
    return msgspec.structs.replace(
        mesh, access_log_file="/dev/stdout", access_log_format=FORMAT, access_log_encoding=MeshConfig().access_log_encoding, default_providers=None
    )


def _issued(authority: Any, account: str) -> tuple[bytes, bytes]:
    """A chain and its key, PEM."""
    from lateen.identity.ca import issue
    from lateen.identity.subject import WorkloadAttributes

    issued, key = issue(authority, SpiffeId("cluster.local", "arena", account), WorkloadAttributes(workload=account), 86400.0, time.time())
    return issued.chain, key.reveal()


def _file_secrets(folder: Path) -> dict[str, Any]:
    secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    pair = {"certificate_chain": {"filename": "certs/chain.pem"}, "private_key": {"filename": "certs/key.pem"}}
    return {
        "sds-default.json": {"resources": [{"@type": secret, "name": "default", "tls_certificate": pair}]},
        "sds-rootca.json": {"resources": [{"@type": secret, "name": "ROOTCA", "validation_context": {"trusted_ca": {"filename": "certs/root.pem"}}}]},
    }


async def _admin(place: Path, path: str) -> str:
    reader, writer = await asyncio.open_unix_connection(str(place / "admin.sock"))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
    content = await reader.read(-1)
    writer.close()
    return content.decode(errors="replace")


async def _ready(place: Path, process: asyncio.subprocess.Process) -> bool:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.returncode is None:
        try:
            if "LIVE" in (await _admin(place, "/ready")):
                return True
        except OSError:
            pass
        await asyncio.sleep(0.02)
    return False


async def _counted(place: Path) -> int:
    """Connections that found no filter chain, over all listeners."""
    text = await _admin(place, "/stats?filter=no_filter_chain_match")
    return sum(int(line.rpartition(":")[2]) for line in text.splitlines() if "no_filter_chain_match:" in line)


async def _logged(place: Path, ports: set[int]) -> dict[int, list[Logged]]:
    """The access log by client port, once it names all of `ports` or has had its time."""
    deadline = time.monotonic() + LOG_S
    while True:
        found: dict[int, list[Logged]] = {}
        for line in (place / "out").read_text(errors="replace").splitlines():
            if entry := Logged.read(line):
                found.setdefault(entry[0], []).append(entry[1])
        if ports <= found.keys() or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.05)


async def main(folders: list[Path]) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        court = Court(Path(scratch))
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((court.ads,))
        server.add_insecure_port(f"unix:{scratch}/ads.sock")
        await server.start()
        sink = await asyncio.start_server(arena.sink, "0.0.0.0", arena.SINK)
        sink6 = await asyncio.start_server(arena.sink, "::1", arena.SINK)
        bad = 0
        for folder in folders:
            try:
                found = await court.judged(folder)
            except Exception as error:
                found = {"case": str(folder), "calls": 0, "wrong": [], "refused": [f"{type(error).__name__}: {error}"]}
            bad += bool(found["wrong"] or found["refused"])
            print(json.dumps(found), flush=True)
        sink.close()
        sink6.close()
        await server.stop(0)
        return 1 if bad else 0


if __name__ == "__main__":
    arena.enter()
    sys.exit(asyncio.run(main([Path(one) for one in sys.argv[1:]])))
