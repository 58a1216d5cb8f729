"""What the protocol tests do from inside a pod: `client.py banner|nobody|slow|websocket HOST PORT` prints JSON."""

import base64
import json
import os
import socket
import ssl
import sys
import time

what, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
began = time.monotonic()
with socket.create_connection((host, port), timeout=10) as connection:
    if what == "banner":
        banner = connection.recv(100).decode()
        connection.sendall(b"EHLO x\r\n")
        print(json.dumps({"banner": banner, "answer": connection.recv(100).decode(), "seconds": time.monotonic() - began}))
    elif what == "nobody":  # TLS, as a client of the mesh begins it, without a certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["istio"])
        try:
            with context.wrap_socket(connection) as secured:
                print(json.dumps({"heard": secured.recv(100).decode()}))
        except OSError as error:
            print(json.dumps({"refused": str(error)}))
    elif what == "slow":
        time.sleep(1)
        connection.sendall(f"GET /slow HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n".encode())
        print(json.dumps({"status": connection.makefile("rb").readline().decode().strip()}))
    else:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            "GET /chat HTTP/1.1",
            f"host: {host}:{port}",
            "upgrade: websocket",
            "connection: Upgrade",
            f"sec-websocket-key: {key}",
            "sec-websocket-version: 13",
            "",
            "",
        )
        connection.sendall("\r\n".join(lines).encode())
        reader = connection.makefile("rb")
        status = reader.readline().decode()
        while reader.readline().strip():
            pass
        text, mask = b"over and over", os.urandom(4)
        if " 101 " in status:
            connection.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(one ^ mask[at % 4] for at, one in enumerate(text)))
            echoed = reader.read(2 + len(text))[2:].decode()
        else:
            echoed = ""
        print(json.dumps({"status": status.strip(), "echoed": echoed}))
