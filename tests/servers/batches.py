"""A server of OpenAI's batch API on 127.0.0.1, with real files: what the teacher's tests talk to.

    with BatchServer(tmp_path) as server:
        server.hold = True        # batches stay in progress until it is False
        ...                       # talk to server.url
        server.asked()            # how often each sample was submitted

It runs in threads of the test's process, so that it outlives a client that is killed. Texts are
those of the loopback server. A batch is worked off when it is looked at, so no time passes.
"""

import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.loopback import Behaviour
from tests.servers.loopback.protocol import Asked, answer_body, asked_of, unsupported_body
from tests.servers.loopback.text import sample

_STEPS = ("validating", "in_progress", "finalizing")
EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


@dataclass
class Batch:
    """A batch as the server keeps it."""

    id: str
    input_file: str
    endpoint: str
    metadata: dict[str, str]
    looks: int = 0
    status: str = "validating"
    output_file: str | None = None
    error_file: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    failed: int = 0
    total: int = 0

    def json(self) -> dict[str, Any]:
        """The object that OpenAI describes."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "request_counts": {"total": self.total, "completed": self.done, "failed": self.failed},
            "metadata": self.metadata,
        }


class BatchServer:
    """The server, from `with` to the end of the block; attributes say how it behaves."""

    def __init__(self, folder: Path, *, key: str | None = None) -> None:
        self.folder = folder
        self.key = key
        self.behaviour = Behaviour()
        self.hold = False  # batches stay in progress
        self.end = "completed"  # or expired, cancelled: after half of the requests; or failed
        self.failure = {"code": "invalid_json_line", "message": "This line is bad.", "line": 2}
        self.refused: dict[str, tuple[int, str]] = {}  # a part of a prompt: status and message
        self.faults: Counter[str] = Counter()  # a part of a prompt: how often it still gets 500
        self.refused_fields: tuple[str, ...] = ()
        self.silent_creations = 0  # batches that are made and not answered
        self.keeps_metadata = True
        self.most_batches: int | None = None  # at work at once; one more fails
        self.busy_next = 0  # calls that are answered 429
        self.page = 100
        self.slow_seconds = 0.0  # before each answer
        self.batches: list[Batch] = []
        self.calls: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []  # of all requests that were submitted
        self._files = 0
        self._seeds: Counter[bytes] = Counter()
        self._lock = threading.RLock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._handle(self, b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server._handle(self, body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True

    def __enter__(self) -> "BatchServer":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def asked(self) -> Counter[str]:
        """How often each request was submitted in a batch that did not fail, by name."""
        names: Counter[str] = Counter()
        for batch in self.batches:
            if batch.status != "failed":
                names.update(row["custom_id"] for row in self._rows(batch.input_file))
        return names

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            answer = self._answer(request, body)
        time.sleep(self.slow_seconds)
        if answer is None:  # as a connection that breaks
            request.close_connection = True
            return
        status, content = answer
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes] | None:
        if self.key and request.headers["Authorization"] != f"Bearer {self.key}":
            said = f"Incorrect API key: {request.headers['Authorization']}"
            return 401, json.dumps({"error": {"message": said}}).encode()
        if self.busy_next:
            self.busy_next -= 1
            return 429, b'{"error": {"message": "Rate limit reached"}}'
        parts = urlsplit(request.path)
        path = parts.path.removeprefix("/v1")
        self.calls[f"{request.command} {path.split('/')[1]}"] += 1
        match (request.command, path.strip("/").split("/")):
            case ("POST", ["files"]):
                return 200, json.dumps(self._upload(body)).encode()
            case ("GET", ["files", name, "content"]):
                file = self.folder / name
                return (200, file.read_bytes()) if file.exists() else (404, b"{}")
            case ("POST", ["batches"]):
                made = self._create(json.loads(body))
                if self.silent_creations:
                    self.silent_creations -= 1
                    return None
                return 200, json.dumps(made.json()).encode()
            case ("GET", ["batches"]):
                return 200, json.dumps(self._list(parse_qs(parts.query))).encode()
            case ("GET", ["batches", name]):
                batch = self._batch(name)
                self._work(batch)
                return 200, json.dumps(batch.json()).encode()
            case ("POST", ["batches", name, "cancel"]):
                self._batch(name).status = "cancelled"
                return 200, json.dumps(self._batch(name).json()).encode()
        return 404, b'{"error": {"message": "no such page"}}'

    def _upload(self, body: bytes) -> dict[str, str]:
        assert b'name="purpose"\r\n\r\nbatch\r\n' in body
        match = re.search(rb'filename="[^"]*"\r\n(?:[^\r]+\r\n)*\r\n(.*?)\r\n--', body, re.DOTALL)
        assert match is not None
        return {"id": self._save(match[1])}

    def _save(self, content: bytes) -> str:
        self._files += 1
        name = f"file-{self._files}"
        (self.folder / name).write_bytes(content)
        return name

    def _create(self, body: dict[str, Any]) -> Batch:
        assert body["completion_window"] == "24h"
        metadata = body["metadata"] if self.keeps_metadata else {}
        assert all(len(k) <= 64 and len(v) <= 512 for k, v in metadata.items())
        batch = Batch(
            f"batch_{len(self.batches)}", body["input_file_id"], body["endpoint"], metadata
        )
        rows = self._rows(batch.input_file)
        names = [row["custom_id"] for row in rows]
        assert len(set(names)) == len(names) <= 50_000
        assert {row["url"] for row in rows} == {batch.endpoint}
        batch.total = len(rows)
        self.bodies += [row["body"] for row in rows]
        self.batches.append(batch)
        return batch

    def _list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        newest = self.batches[::-1]
        after = query.get("after", [""])[0]
        start = next((at + 1 for at, one in enumerate(newest) if one.id == after), 0)
        most = min(self.page, int(query["limit"][0]))
        page = newest[start : start + most]
        return {
            "object": "list",
            "data": [one.json() for one in page],
            "has_more": start + most < len(newest),
        }

    def _batch(self, name: str) -> Batch:
        return next(one for one in self.batches if one.id == name)

    def _rows(self, file: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / file).read_bytes().splitlines()]

    def _work(self, batch: Batch) -> None:
        """A step further, at each look."""
        if batch.status not in _STEPS:
            return
        batch.looks += 1
        at_work = [one for one in self.batches if one.status in _STEPS and one.looks > 1]
        is_much = self.most_batches is not None and len(at_work) > self.most_batches
        if self.end == "failed" or (batch.looks == 2 and is_much):
            batch.status = "failed"
            batch.errors = [self.failure]
            return
        batch.status = _STEPS[min(batch.looks, 1 if self.hold else 2)]
        if batch.looks > 2 and not self.hold:
            self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        rows = self._rows(batch.input_file)
        done = len(rows) if self.end == "completed" else len(rows) // 2
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for number, row in enumerate(rows):
            if number >= done:
                error = EXPIRED if self.end == "expired" else None
                if error:
                    bad.append({"custom_id": row["custom_id"], "response": None, "error": error})
                continue
            status, body = self._reply(
                row["body"], chat=batch.endpoint.endswith("chat/completions")
            )
            response = {"status_code": status, "request_id": "r", "body": json.loads(body)}
            line = {"custom_id": row["custom_id"], "response": response, "error": None}
            (good if status == 200 else bad).append(line)
        batch.done, batch.failed = len(good), len(bad)
        # The order of the output is not that of the input.
        batch.output_file = self._save(_lines(good[::-1])) if good else None
        batch.error_file = self._save(_lines(bad)) if bad else None
        batch.status = self.end

    def _reply(self, body: dict[str, Any], *, chat: bool) -> tuple[int, bytes]:
        asked = asked_of(json.dumps(body).encode(), chat=chat)
        for name in self.refused_fields:
            if name in body:
                return 400, unsupported_body(name)
        for part, (status, message) in self.refused.items():
            if part in asked.whole:
                return status, json.dumps({"error": {"message": message}}).encode()
        for part in self.faults:
            if part in asked.whole and self.faults[part] > 0:
                self.faults[part] -= 1
                return 500, b'{"error": {"message": "The server had an error."}}'
        samples = [
            sample(asked.prompt, asked.context, seed, self.behaviour) for seed in self._names(asked)
        ]
        return 200, answer_body(asked, samples, self.behaviour)

    def _names(self, asked: Asked) -> list[str]:
        """The randomness of each sample, as on the loopback server."""
        if asked.seed is not None:
            return [str(asked.seed + at) for at in range(asked.n)]
        first = self._seeds[asked.context]
        self._seeds[asked.context] += asked.n
        return [f"unseeded {at}" for at in range(first, first + asked.n)]


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
