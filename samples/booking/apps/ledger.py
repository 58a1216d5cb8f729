"""ledger: writes lines down over TCP; each line is answered with its number."""

import itertools
import os
import socketserver

PORT = int(os.environ.get("PORT", "7000"))
numbers = itertools.count(1)


class Handler(socketserver.StreamRequestHandler):
    """A line in, `ok NUMBER` out, until the client leaves."""

    def handle(self) -> None:
        for line in self.rfile:
            number = next(numbers)
            print(f"{number}: {line.decode(errors='replace').strip()}", flush=True)
            self.wfile.write(f"ok {number}\n".encode())


class Server(socketserver.ThreadingTCPServer):
    """A thread per connection."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    print(f"ledger listens on {PORT}", flush=True)
    Server(("", PORT), Handler).serve_forever()
