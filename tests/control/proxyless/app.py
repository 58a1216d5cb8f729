"""A gRPC application without generated code, on an unmodified grpcio: `server` answers with its name, `client` calls as lines of JSON on stdin ask.

A server fails a call with UNAVAILABLE until it was tried `fail-until` times, and takes `hold` seconds for it (both metadata).
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.experimental

METHOD = "/echo.Echo/Say"


class Echo(grpc.GenericRpcHandler):
    """Any unary method."""

    def __init__(self, name: str) -> None:
        self.name = name

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        said = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        if int(said.get("grpc-previous-rpc-attempts", "0")) < int(said.get("fail-until", "0")):
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        time.sleep(float(said.get("hold", "0")))
        peer = [name.decode() for name in context.auth_context().get("x509_subject_alternative_name", ())]
        return json.dumps({"name": self.name, "peer": peer, "attempts": said.get("grpc-previous-rpc-attempts", "0")}).encode()


def serve(options: argparse.Namespace) -> None:
    server = grpc.server(ThreadPoolExecutor(64), handlers=(Echo(options.name),), xds=options.xds)
    if options.xds:
        credentials = grpc.xds_server_credentials(grpc.insecure_server_credentials())
        server.add_secure_port(options.listen, credentials)
    else:
        server.add_insecure_port(options.listen)
    server.start()
    print("serving", flush=True)
    server.wait_for_termination()


def call(options: argparse.Namespace) -> None:
    """One channel per target, kept; each line asks for some calls and is answered by a line."""
    channels: dict[str, grpc.Channel] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        target = asked["target"]
        if target not in channels:
            fallback = grpc.experimental.insecure_channel_credentials()
            made = grpc.secure_channel(target, grpc.xds_channel_credentials(fallback)) if options.xds else grpc.insecure_channel(target)
            channels[target] = made
        print(json.dumps(calls(channels[target], asked)), flush=True)


def calls(channel: grpc.Channel, asked: dict) -> dict:
    method = channel.unary_unary(asked.get("method", METHOD))
    names: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    last: dict = {}
    lock = threading.Lock()

    def one(_: int) -> None:
        nonlocal last
        metadata = tuple(asked.get("metadata", {}).items())
        began = time.monotonic()
        try:
            answer = json.loads(method(b"", metadata=metadata, timeout=asked.get("timeout", 10), wait_for_ready=asked.get("wait", False)))
            with lock:
                names[answer["name"]] += 1
                last = answer | {"seconds": time.monotonic() - began}
        except grpc.RpcError as error:
            with lock:
                codes[error.code().name] += 1
                last = {"details": error.details(), "seconds": time.monotonic() - began}

    with ThreadPoolExecutor(asked.get("parallel", 1)) as pool:
        list(pool.map(one, range(asked.get("calls", 1))))
    return {"names": names, "codes": codes, "last": last}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--name", default="")
    parser.add_argument("--listen", default="")
    parser.add_argument("--xds", action="store_true")
    parser.add_argument("--account", help="what its bootstrap says; for whoever starts it")
    given = parser.parse_args()
    serve(given) if given.role == "server" else call(given)
