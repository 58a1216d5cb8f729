"""Simulated proxies over mutual TLS: `clients.py PORT COUNT VIEWS CERTIFICATES`. They hold everything, acknowledge, and say when a change has come.

A process of its own, so that its CPU is not counted as control's. Prints `ready`; then, for each line read, the sorted times (seconds since the
epoch) at which each proxy got its endpoints.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import grpc
import grpc.aio
import uvloop

from lateen.wire.client import CLUSTER, DeltaClient, node
from lateen.wire.delta import DELTA_METHOD, decode_response

EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
SYNC_TIMEOUT_S, PUSH_TIMEOUT_S = 240, 30
AT_ONCE = 20


class Proxy:
    """One client. `moved`: when its endpoints last changed."""

    def __init__(self, number: int, namespace: str) -> None:
        address = f"10.254.{number // 250}.{number % 250 + 1}"
        identity = f"sidecar~{address}~p{number}.{namespace}~{namespace}.svc.cluster.local"
        self.client = DeltaClient(node(identity, {"NAMESPACE": namespace, "SERVICE_ACCOUNT": "default", "INSTANCE_IPS": address}))
        self.moved = 0.0

    async def follow(self, channel: grpc.aio.Channel) -> None:
        """Until cancelled. One after the other, without a queue: hundreds of these share a processor, which should not be what is measured."""
        call = channel.stream_stream(DELTA_METHOD)()
        for request in self.client.first():
            await call.write(request)
        while isinstance(raw := await call.read(), bytes):
            at = time.time()
            response = decode_response(raw)
            if response.type_url == EDS and response.resources:
                self.moved = at
            for answer in self.client.take(response):
                await call.write(answer)
            if response.type_url == CLUSTER:
                for request in self.client.ask(EDS, (name for name in self.client.held.get(CLUSTER, {}) if name.startswith("outbound|"))):
                    await call.write(request)

    @property
    def is_synced(self) -> bool:
        """Holds endpoints for every cluster it has."""
        wanted = self.client.asked.get(EDS)
        return bool(wanted) and len(self.client.held.get(EDS, {})) == len(wanted or ())


async def main(port: int, count: int, views: int, certificates: Path) -> None:
    """Until standard input ends."""
    credentials = {}
    for view in range(views):
        root, key, chain = ((certificates / f"ns{view}" / name).read_bytes() for name in ("root-cert.pem", "key.pem", "cert-chain.pem"))
        credentials[f"ns{view}"] = grpc.ssl_channel_credentials(root, key, chain)
    proxies = [Proxy(number, f"ns{number % views}") for number in range(count)]
    tasks = []
    for number, proxy in enumerate(proxies):
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials[f"ns{number % views}"], options=OPTIONS)
        tasks.append(asyncio.create_task(proxy.follow(channel)))
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0.05)
    deadline = time.monotonic() + SYNC_TIMEOUT_S
    while not all(proxy.is_synced for proxy in proxies) and time.monotonic() < deadline:  # noqa: ASYNC110  many things have to come
        await asyncio.sleep(0.2)
    print("ready" if all(proxy.is_synced for proxy in proxies) else "timeout", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        for proxy in proxies:
            proxy.moved = 0.0
        print(line.strip(), flush=True)
        deadline = time.monotonic() + PUSH_TIMEOUT_S
        while not all(proxy.moved for proxy in proxies) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        print(json.dumps(sorted(proxy.moved for proxy in proxies)), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
