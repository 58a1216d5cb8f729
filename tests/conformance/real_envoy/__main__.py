"""Cases through real listeners of the real Envoy, in a namespace of this process: `python real_envoy CASE…` prints one JSON object a case.

A case without `calls.json` is a golden case: each of its proxies is a case, and its own routes say what is called. Each case gets an Envoy of its own, with the resources its proxy would get, unmodified; the access log is switched on through the mesh configuration, as a user would. Every call is made
as a connection. Exit 1: some call went another way than the simulator says, or Envoy refused a resource.
"""

import asyncio
import json
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import arena
import grpc
from ads import Ads, secret_servers
from client import CALL_TIMEOUT_S, Identity, Manner, Seen, made, spoken
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from goldens import Trial, golden_trials
from judge import Logged, capture_ports, disagreement, with_our_log

from lateen.base.spiffe import SpiffeId
from lateen.identity.ca import Authority, issue, new_authority
from lateen.identity.subject import WorkloadAttributes
from lateen.insight.simulate.call import Call, Outcome
from lateen.insight.simulate.case import read_case, resources_of
from lateen.insight.simulate.connection import listener_for
from lateen.insight.simulate.emitted import Emitted
from lateen.insight.simulate.evaluate import Result, evaluate
from lateen.wire.binary import envoy_path
from lateen.wire.pb.envoy.extensions.filters.http.fault.v3 import fault_pb2 as http_fault_pb2

READY_S, STOP_S, LOG_S = 30.0, 3.0, 2.0
FAULT, LONGEST_DELAY_S = "envoy.filters.http.fault", 30.0
AT_ONCE = 12


def bootstrap(socket_path: Path, secret_servers: Iterable[str]) -> dict[str, Any]:
    """Who it is, where its configuration comes from, and the mark that keeps its own connections from being captured. `secret_servers`: clusters where it asks for secrets, here this one."""
    ads = {"ads": {}, "resource_api_version": "V3"}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    relay = [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(socket_path)}}}}]}]
    options = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}
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
                {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": relay}, "typed_extension_protocol_options": options}
                for name in ("xds", *secret_servers)
            ]
        },
        "cluster_manager": {"upstream_bind_config": {"socket_options": [mark]}},
    }


class Court:
    """The arena's authority, its ADS server, and one Envoy at a time."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.certs = scratch / "certs"
        self.authority = new_authority("cluster.local", time.time())
        self.ads, self._identities = self._own_secrets(), dict[str, Identity]()

    def _own_secrets(self) -> Ads:
        server, other = (_issued(self.authority, name) for name in ("server", "other"))
        self.certs.mkdir(parents=True)
        for name, content in (
            ("chain.pem", server[0]),
            ("key.pem", server[1]),
            ("root.pem", self.authority.certificate),
        ):
            (self.certs / name).write_bytes(content)
        for name, secret in _file_secrets(self.certs).items():
            (self.certs / name).write_text(json.dumps(secret))
        return Ads(*other, self.authority.certificate, _no_revocations(self.authority))

    def _identity(self, trust_domain: str) -> Identity:
        """A client of the mesh. Its trust domain is the mesh's: servers look at it."""
        if trust_domain not in self._identities:
            chain, key = _issued(self.authority, "client", trust_domain)
            files = [self.certs / f"client-{len(self._identities)}{suffix}.pem" for suffix in ("", "-key")]
            for path, content in zip(files, (chain, key), strict=True):
                path.write_bytes(content)
            leaf = (self.certs / "chain.pem").read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
            self._identities[trust_domain] = Identity(str(files[0]), str(files[1]), ssl.PEM_cert_to_DER_cert(leaf))
        return self._identities[trust_domain]

    async def judged(self, trial: Trial) -> dict[str, Any]:
        """One trial. `wrong`: its disagreements; `refused`: what Envoy does not take."""
        found: dict[str, Any] = {"case": trial.name, "calls": len(trial.calls), "wrong": [], "refused": [], "unreached": list(trial.unreached)}
        if not trial.serialized:
            return found
        self.ads.load(list(trial.serialized))
        emitted = Emitted.decoded(trial.serialized)
        place = Path(tempfile.mkdtemp(dir=self.scratch))
        shutil.copytree(self.certs, place / "certs")
        (place / "boot.json").write_text(json.dumps(bootstrap(self.scratch / "ads.sock", secret_servers(emitted))))
        began = time.monotonic()
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            command = (str(envoy_path()), "-c", "boot.json", "--concurrency", "1", "--disable-hot-restart", "-l", "warning", "--file-flush-interval-msec", "20")
            process = await asyncio.create_subprocess_exec(*command, cwd=place, stdout=out, stderr=err)
            try:
                is_ready = await _ready(place, process)
                found["ready_s"] = round(time.monotonic() - began, 2)
                found["refused"] = list(self.ads.refused)
                arena.capture(*capture_ports(emitted))
                if not is_ready:
                    found["refused"].append("not ready: " + (place / "err").read_text()[-600:])
                else:
                    found["wrong"] = await self._called(emitted, [spoken(call) for call in trial.calls], place, self._identity(trial.trust_domain))
            finally:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        shutil.rmtree(place)
        return found

    async def _called(self, emitted: Emitted, calls: list[Call], place: Path, identity: Identity) -> list[Any]:
        said = [evaluate(emitted, call) for call in calls]
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(call: Call, result: Result) -> Seen:
            async with at_once:
                return await made(call, identity, _manner(emitted, call, result))

        seen = await asyncio.gather(*map(one, calls, said))
        logged = await _logged(
            place, {one.port for one, result in zip(seen, said, strict=True) if result.tcp_proxy or result.manager or result.outcome is Outcome.NO_FILTER_CHAIN}
        )
        wrong = []
        for index, (call, result, one) in enumerate(zip(calls, said, seen, strict=True)):
            if result.outcome is not Outcome.UNSUPPORTED and (why := disagreement(emitted, call, result, one, logged.get(one.port, []))):
                wrong.append({"call": index, "said": f"{result.outcome.value} {[name for name, _ in result.clusters]}", "why": why})
        chains = sum(result.outcome is Outcome.NO_FILTER_CHAIN for result in said)
        counted = await _counted(place)
        if chains != counted:
            wrong.append({"call": None, "said": f"{chains} calls without a filter chain", "why": f"Envoy counts {counted}"})
        return wrong


def _manner(emitted: Emitted, call: Call, said: Result) -> Manner:
    """How a client that wants this answer goes about it: what the listener and the server want of it, and a delay that the route asks for."""
    listener = listener_for(emitted, call)
    greets = listener is not None and any(one.typed_config.type_url.endswith(".ProxyProtocol") for one in listener.message.listener_filters)
    fault = http_fault_pb2.HTTPFault()
    if said.route is not None and FAULT in said.route.route.typed_per_filter_config:
        said.route.route.typed_per_filter_config[FAULT].Unpack(fault)
    delay_s = fault.delay.fixed_delay.ToTimedelta().total_seconds()
    return Manner(greets, not said.requires_client_certificate, CALL_TIMEOUT_S + min(delay_s, LONGEST_DELAY_S))


def _issued(authority: Authority, account: str, trust_domain: str = "cluster.local") -> tuple[bytes, bytes]:
    """A chain and its key, PEM."""
    issued, key = issue(authority, SpiffeId(trust_domain, "arena", account), WorkloadAttributes(workload=account), 86400.0, time.time())
    return issued.chain, key.reveal()


def _no_revocations(authority: Authority) -> bytes:
    """The authority's revocation list, empty, PEM."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.public().subject)
        .last_update(now - timedelta(days=1))
        .next_update(now + timedelta(days=1))
    )
    return builder.sign(load_pem_private_key(authority.key.reveal(), None), hashes.SHA256()).public_bytes(Encoding.PEM)


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


def trials(folder: Path) -> Iterator[Trial]:
    """Of a case folder with calls one; of a golden case one for each proxy. A case whose features Lateen does not have: nothing to serve, nothing to ask."""
    if not (folder / "calls.json").exists():
        yield from golden_trials(folder)
        return
    case = read_case(folder)
    name = f"{folder.parent.name}/{folder.name}"
    calls = tuple(Call.read(one) for one in case.calls)
    yield Trial(name, () if case.unknown_features else tuple(resources_of(case, with_our_log)), calls)


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
                for trial in trials(folder):
                    found = {"folder": str(folder)} | await court.judged(trial)
                    bad += bool(found["wrong"] or found["refused"])
                    print(json.dumps(found), flush=True)
            except Exception as error:
                bad += 1
                print(
                    json.dumps({"folder": str(folder), "case": str(folder), "calls": 0, "wrong": [], "refused": [f"{type(error).__name__}: {error}"]}),
                    flush=True,
                )
        sink.close()
        sink6.close()
        await server.stop(0)
        return 1 if bad else 0


if __name__ == "__main__":
    arena.enter()
    sys.exit(asyncio.run(main([Path(one) for one in sys.argv[1:]])))
