"""A server that repeats the key it was sent, as sent and encoded."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote


class Echoing(BaseHTTPRequestHandler):
    """Lists its model, and answers anything else 401 with the header, as sent and encoded."""

    def do_GET(self) -> None:
        self.reply(200, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        sent = self.headers["Authorization"]
        key = sent.removeprefix("Bearer ")
        coded = [base64.b64encode(text.encode()).decode() for text in (sent, key)]
        # The last one would be cut in two by whoever shortens before he hides.
        said = " ".join([sent, quote(key, safe=""), *coded]).ljust(290, ".") + key
        self.reply(401, {"error": {"message": said}})

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def echoing() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echoing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
