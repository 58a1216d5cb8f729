"""First requests of all kinds at the same time, from inside a pod: `first_requests.py HOST… -- THREADS` prints what failed, as JSON.

For each host: HTTP on 8000, a line over TCP on 9000, a gRPC stream on 9090, TLS that is passed through on 8443.
"""

import http.client
import json
import socket
import ssl
import sys
import threading

import grpc

PATIENCE_S = 60
mark = sys.argv.index("--")
hosts, threads = sys.argv[1:mark], int(sys.argv[mark + 1])
begin = threading.Barrier(len(hosts) * 4 * threads)
failed: list[str] = []


def requested(host: str) -> bool:
    connection = http.client.HTTPConnection(host, 8000, timeout=PATIENCE_S)
    connection.request("GET", "/")
    answer = connection.getresponse()
    return answer.status == 200 and b"version" in answer.read()


def lines(host: str) -> bool:
    with socket.create_connection((host, 9000), timeout=PATIENCE_S) as connection:
        connection.sendall(b"hello\n")
        return bool(connection.makefile().readline())


def called(host: str) -> bool:
    with grpc.insecure_channel(f"{host}:9090") as channel:
        return bool(list(channel.stream_stream("/shop.Echo/Chat")(iter([b"hello"]), timeout=PATIENCE_S)))


def secured(host: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, 8443), timeout=PATIENCE_S) as plain, context.wrap_socket(plain, server_hostname=host) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"200" in connection.recv(65536)


def first(kind: str, host: str) -> None:
    begin.wait()
    try:
        is_well = KINDS[kind](host)
        why = "" if is_well else "another answer"
    except Exception as error:  # every failure is told
        why = repr(error)
    if why:
        failed.append(f"{kind} {host}: {why}")


KINDS = {"http": requested, "tcp": lines, "grpc": called, "tls": secured}
works = [threading.Thread(target=first, args=(kind, host)) for host in hosts for kind in KINDS for _ in range(threads)]
for work in works:
    work.start()
for work in works:
    work.join()
print(json.dumps({"requests": len(works), "failed": failed}))
