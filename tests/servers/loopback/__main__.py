"""`python -m tests.servers.loopback --port P`: the server by itself; it prints its port.

Change its behaviour with `curl -d '{"latency_s": 0.05}' http://127.0.0.1:P/control`.
"""

import argparse
import asyncio
import os
import random
import socket
import sys
from pathlib import Path

from aiohttp import web

from tests.servers.loopback.behaviour import Behaviour, behaviour_of
from tests.servers.loopback.server import Server

# Below the ports that the kernel hands out: while the server is down, a client that connects to
# such a port from such a port would reach itself, and another process could take the port.
_PORTS = range(20_000, 30_000)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="tests.servers.loopback", description=__doc__)
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
    asyncio.run(_serve(server, options.port, options.keep_alive, until_eof=options.until_eof))


async def _serve(server: Server, port: int, keep_alive: float, *, until_eof: bool) -> None:
    """Listen, print the port, stay until killed or until standard input ends."""
    # A client that goes away stops its request, as in vLLM.
    runner = web.AppRunner(
        server.app(), access_log=None, handler_cancellation=True, keepalive_timeout=keep_alive
    )
    await runner.setup()
    listener = _listener(port)
    await web.SockSite(runner, listener, backlog=1024).start()
    print(listener.getsockname()[1], flush=True)
    end = asyncio.Event()
    if until_eof:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), end.set)
    await end.wait()
    os._exit(0)  # nobody is left to wait for requests in flight


def _listener(port: int) -> socket.socket:
    for candidate in [port] if port else random.sample(_PORTS, 100):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
        except OSError as error:
            listener.close()
            reason = error
        else:
            return listener
    raise reason


if __name__ == "__main__":
    main()
