"""`python -m benchmarks.loopback --port P`: the server by itself; prints its port when it listens.

Change its behaviour with `curl -d '{"latency_s": 0.05}' http://127.0.0.1:P/control`.
"""

import argparse
import asyncio
import os
from pathlib import Path

from benchmarks.loopback.behaviour import Behaviour, behaviour_of
from benchmarks.loopback.server import Server, serve


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="benchmarks.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--behaviour", type=behaviour_of, default=Behaviour(), help="as JSON")
    parser.add_argument("--require-key", help="the API key that /v1 asks for")
    parser.add_argument("--keep-alive", type=float, default=60.0, help="seconds")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="where requests go")
    parser.add_argument("--until-eof", action="store_true", help="end as standard input ends")
    options = parser.parse_args()
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    server = Server(options.require_key, log)
    server.behave(options.behaviour)
    asyncio.run(serve(server, options.port, options.keep_alive, until_eof=options.until_eof))


if __name__ == "__main__":
    main()
