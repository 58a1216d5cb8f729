"""An application for the protocol tests: HTTP echo on 7000 and 8000, a banner said before the client speaks on 7001 (7000 says how often), WebSocket echo on 8001."""

import base64
import hashlib
import http.server
import json
import socketserver
import threading


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"headers": dict(self.headers.items()), "banners": Banner.said}).encode()
        self.answer(body)

    def do_POST(self):
        size = len(self.rfile.read(int(self.headers["content-length"])))
        self.answer(json.dumps({"size": size}).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Banner(socketserver.BaseRequestHandler):
    said = 0

    def handle(self):
        Banner.said += 1
        self.request.sendall(b"220 hello\r\n")
        self.request.sendall(b"250 " + self.request.recv(100))


class WebSocket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        accept = base64.b64encode(hashlib.sha1((self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        self.send_response(101)
        for name, value in (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept)):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        head = self.rfile.read(2)
        mask = self.rfile.read(4)
        text = bytes(one ^ mask[at % 4] for at, one in enumerate(self.rfile.read(head[1] & 127)))
        self.wfile.write(bytes([0x81, len(text)]) + text)
        self.close_connection = True

    def log_message(self, *_):
        pass


class Many(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


for port, handler in ((7000, Echo), (8000, Echo), (7001, Banner), (8001, WebSocket)):
    threading.Thread(target=Many(("0.0.0.0", port), handler).serve_forever).start()
