"""A stand-in for vLLM's server that takes its command line and misbehaves on demand.

Installed by the tests as `vllm.entrypoints.openai.api_server`. `GET /facts` says who it is; `POST
/die`, `/hang` and `/sick` do as named. `--grandchild FILE` starts a process in a session of its own
that ignores SIGTERM and writes its id into FILE; `--lives FILE` counts starts, so that
`--deaf-after N` can make every life after the Nth never answer, `--dead-after N` end at once.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STUBBORN = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
path = Path(sys.argv[1])
with path.open("a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sick = False
    hanging = False
    healthy_at = 0.0

    def do_GET(self) -> None:
        if self.path == "/facts":
            facts = {
                "pid": os.getpid(),
                "argv": sys.argv[1:],
                "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
                "ignores": [n for n in (1, 2, 15) if signal.getsignal(n) == signal.SIG_IGN],
            }
            return self.reply(200, facts)
        while type(self).hanging:
            time.sleep(0.1)
        ill = type(self).sick or time.monotonic() < type(self).healthy_at
        self.reply(503 if ill else 200, None)

    def do_POST(self) -> None:
        if self.path == "/die":
            os._exit(7)
        type(self).hanging = self.path == "/hang"
        type(self).sick = self.path == "/sick"
        self.reply(200, None)

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        print(format % args, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tensor-parallel-size", type=int)
    parser.add_argument("--healthy-after", type=float, default=0.0)
    parser.add_argument("--grandchild", type=Path)
    parser.add_argument("--lives", type=Path)
    parser.add_argument("--dead-after", type=int)
    parser.add_argument("--deaf-after", type=int)
    options = parser.parse_args()
    life = 1
    if options.lives is not None:
        with options.lives.open("a") as file:
            file.write(f"{os.getpid()}\n")
        life = len(options.lives.read_text().split())
    if options.dead_after is not None and life > options.dead_after:
        print("(EngineCore pid=5) ERROR 01-02 03:04:05 [core.py:7] ValueError: no room for 9 GiB")
        print("Traceback (most recent call last):\n  ...\n  ...")
        print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
        raise SystemExit(3)
    if options.grandchild is not None:
        subprocess.Popen(
            [sys.executable, "-c", STUBBORN, str(options.grandchild)], start_new_session=True
        )
        while not options.grandchild.exists() or len(options.grandchild.read_text().split()) < life:
            time.sleep(0.02)
    deaf = options.deaf_after is not None and life > options.deaf_after
    Handler.healthy_at = time.monotonic() + (1e9 if deaf else options.healthy_after)
    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
