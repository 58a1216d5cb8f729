"""greeter: says hello over gRPC, and calls itself. Plain grpcio: that `xds:///` names are resolved by the mesh is the library's own doing.

greeter.py serve
greeter.py call TARGET COUNT [NAME=VALUE…]     metadata; prints how often each version, or each error, answered
"""

import os
import signal
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.experimental

PORT = int(os.environ.get("PORT", "7070"))
VERSION = os.environ.get("VERSION", "v1")
METHOD = "greeter.Greeter/Greet"
GRACE_S = 1


def greet(_: bytes, context: grpc.ServicerContext) -> bytes:
    """Its version, and who calls where mutual TLS says it."""
    callers = [name.decode() for name in context.auth_context().get("x509_subject_alternative_name", ())]
    return " ".join(["hello from", VERSION, *(f"to {name}" for name in callers)]).encode()


def serve() -> None:
    """Until SIGTERM. The mesh says whether it takes plaintext or mutual TLS, by PeerAuthentication."""
    service, method = METHOD.split("/")
    handlers = grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(greet)})
    server = grpc.server(ThreadPoolExecutor(8), handlers=(handlers,), xds=True)
    server.add_secure_port(f"0.0.0.0:{PORT}", grpc.xds_server_credentials(grpc.insecure_server_credentials()))
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(GRACE_S))
    print(f"greeter {VERSION} listens on {PORT}", flush=True)
    server.wait_for_termination()


def call(target: str, count: int, metadata: list[tuple[str, str]]) -> None:
    """Plaintext where the mesh says nothing else."""
    credentials = grpc.xds_channel_credentials(grpc.experimental.insecure_channel_credentials())
    answers: Counter[str] = Counter()
    with grpc.secure_channel(target, credentials) as channel:
        method = channel.unary_unary(f"/{METHOD}")
        for _ in range(count):
            try:
                answers[method(b"", metadata=metadata, timeout=10).decode()] += 1
            except grpc.RpcError as error:
                answers[error.code().name] += 1
    for answer, times in sorted(answers.items()):
        print(times, answer)


if __name__ == "__main__":
    if sys.argv[1:2] == ["call"]:
        call(sys.argv[2], int(sys.argv[3]), [(name, value) for name, _, value in (text.partition("=") for text in sys.argv[4:])])
    else:
        serve()
