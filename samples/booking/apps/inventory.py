"""inventory: reserves items over gRPC."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import grpc

PORT = int(os.environ.get("PORT", "9090"))
PRICES = {"room": 120, "car": 60, "flight": 240}
GRACE_S = 2


def reserve(item: dict[str, str], context: grpc.ServicerContext) -> dict[str, object]:
    """The item's price; NOT_FOUND for one there is not."""
    name = item.get("item", "")
    if name not in PRICES:
        context.abort(grpc.StatusCode.NOT_FOUND, f"no such item: {name}; there are: {', '.join(PRICES)}")
    return {"item": name, "price": PRICES[name]}


def main() -> None:
    """Serves until SIGTERM."""
    handler = grpc.unary_unary_rpc_method_handler(reserve, request_deserializer=json.loads, response_serializer=lambda answer: json.dumps(answer).encode())
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("booking.Inventory", {"Reserve": handler}),))
    server.add_insecure_port(f"[::]:{PORT}")
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(GRACE_S))
    print(f"inventory listens on {PORT}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
