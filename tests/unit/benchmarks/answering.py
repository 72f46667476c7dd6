"""A server that answers each request with the same bytes."""

import socketserver
from typing import cast


class Answering(socketserver.ThreadingTCPServer):
    """Counts its requests; with `close_after` it closes each connection after so many answers."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.requests = 0
        self.close_after = 0

    @property
    def port(self) -> int:
        return self.server_address[1]


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast(Answering, self.server)
        answered = 0
        while not server.close_after or answered < server.close_after:
            length = 0
            while (line := self.rfile.readline()) not in (b"", b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            if not line:
                return
            self.rfile.read(length)
            server.requests += 1  # under the interpreter's lock long enough for a test
            answered += 1
            self.wfile.write(server.answer)
