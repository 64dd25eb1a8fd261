"""A model server whose replies have no end, or hold more than they should; the prompt says which.

A prompt that holds ENDLESS, BOMB, NESTED, NESTED ERROR or SIZE N gets such a reply, any other one a
good reply. It runs in threads of the test's own process.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DEPTH = 100_000
BEGIN = b'{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "'
PIECE = b"a" * 65_536


def bomb() -> bytes:
    """A gzip file of 1 MB that holds a reply of 1 GB."""
    block = gzip.compress(b"a" * 2**20)
    return gzip.compress(BEGIN) + block * 1000


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    bomb = b""
    models: bytes | None = None  # the page /v1/models, if there is one

    def do_GET(self) -> None:
        models = type(self).models
        if models is None or not self.path.endswith("/models"):
            return self.send(404, b"{}")
        self.send(200, models)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        text = json.loads(body)["messages"][-1]["content"]
        match text.split():
            case [*_, "ENDLESS"]:
                self.chunks()
            case [*_, "BOMB"]:
                self.send(200, type(self).bomb, "gzip")
            case [*_, "NESTED"]:
                self.send(200, b'{"choices": ' + b"[" * DEPTH)
            case [*_, "NESTED", "ERROR"]:
                self.send(500, b'{"error": {"message": ' + b"[" * 1000 + b"]" * 1000 + b"}}")
            case [*_, "SIZE", beyond]:
                self.send(200, self.of_size(len(body), int(beyond)))
            case _:
                self.send(200, good(b""))

    def of_size(self, request: int, beyond: int) -> bytes:
        """A reply that is so many bytes longer than it may be."""
        from curation.teachers.openai.reply_body import most_bytes

        most = most_bytes(max_tokens=330, samples=1, request=request, extra={})
        return good(b"x" * (most + beyond - len(good(b""))))

    def send(self, status: int, body: bytes, encoding: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(body)

    def chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(BEGIN), BEGIN))
        while True:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Clients that go away are no error of it."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


def good(more: bytes) -> bytes:
    """A reply as it should be, with a field that nobody asked for."""
    return BEGIN + b'4"}}], "more": "' + more + b'"}'


@contextmanager
def hostile(models: bytes | None = None) -> Iterator[str]:
    """The address of a server."""
    Handler.bomb, Handler.models = bomb(), models
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
