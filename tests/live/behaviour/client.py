"""What the behaviour tests do from inside a pod: `client.py lines|held|flaky|aborted|chat|again HOST PORT …` prints JSON."""

import json
import socket
import sys

import grpc

what, host, port, *rest = sys.argv[1:]
if what == "lines":
    answers = []
    for number in range(int(rest[0])):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(f"{number}\n".encode())
            answers.append(connection.makefile().readline().split()[0])
    print(json.dumps(answers))
elif what == "held":  # as many connections at once, opened one after the other; what each was answered
    held, answers = [], []
    for number in range(int(rest[0])):
        held.append(socket.create_connection((host, int(port)), timeout=60))
        try:
            held[-1].sendall(f"{number}\n".encode())
            answers.append(held[-1].makefile().readline().partition(" ")[0])
        except ConnectionError:
            answers.append("")
    print(json.dumps(answers))
else:
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        grpc.channel_ready_future(channel).result(20)
        try:
            if what in ("flaky", "aborted"):
                said = channel.unary_unary("/shop.Echo/Flaky")(" ".join(rest).encode(), timeout=10, metadata=[("x-abort", "yes")] if what == "aborted" else [])
            elif what == "again":
                said = b",".join(channel.stream_stream("/shop.Echo/Again")((" ".join(rest).encode() for _ in range(3)), timeout=10))
            else:
                said = b",".join(channel.stream_stream("/shop.Echo/Chat")((item.encode() for item in rest), timeout=10))
            print(json.dumps({"code": "OK", "said": said.decode()}))
        except grpc.RpcError as error:
            print(json.dumps({"code": error.code().name, "said": error.details()}))
