"""Serve the page of `polytrace view` to this machine alone.

The server listens on 127.0.0.1. Every address begins with a random word, so that neither another
user of the machine nor a web page can ask for anything, and the name of the host is checked, so
that a web page cannot reach the server under a name of its own (DNS rebinding). No path of a
request is a path of a file.
"""

import asyncio
import hmac
import re
import secrets
import signal
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from importlib.resources import files

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from curation.release.reader import ReleaseReader
from curation.viewer.api import Api
from support.errors import PolytraceError, UserError
from support.redact import log_fault

HOST = "127.0.0.1"
TOKEN_BYTES = 16
END_SECONDS = 2.0  # for answers that are under way when the command is ended
_HOSTS = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_FILES = {
    "": ("view.html", "text/html"),
    "view.css": ("view.css", "text/css"),
    "view.js": ("view.js", "text/javascript"),
    "canvas.js": ("canvas.js", "text/javascript"),
    "selection.js": ("selection.js", "text/javascript"),
}


def serve(corpus: ReleaseReader, port: int, is_up: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `is_up` gets the page's address. Port 0: any that is free.

    UserError where the port cannot be used.
    """
    asyncio.run(_serve(corpus, port, is_up))


async def _serve(corpus: ReleaseReader, port: int, is_up: Callable[[str], None]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    api, token = Api(corpus), secrets.token_urlsafe(TOKEN_BYTES)
    runner = web.AppRunner(
        application(api, token),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=END_SECONDS,
    )
    await runner.setup()
    try:
        await _listen(runner, port)
        filling = asyncio.create_task(api.fill())
        is_up(f"http://{HOST}:{runner.addresses[0][1]}/{token}/")
        await ended.wait()
        filling.cancel()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, HOST, port).start()
    except OSError as error:
        raise UserError(
            f"--port {port}: cannot listen there ({error.strerror}); leave it out, and a free one "
            "is taken"
        ) from None


def application(api: Api, token: str) -> web.Application:
    """The routes below `/token/`, guarded."""
    app = web.Application(middlewares=[_answer_errors, _guard(token)])
    app.on_response_prepare.append(_add_headers)
    page = files("curation.viewer") / "page"
    for path, (name, kind) in _FILES.items():
        body = (page / name).read_bytes()
        app.router.add_get(f"/{token}/{path}", partial(_file, body, kind))
    for path, handler in {
        "state": api.state,
        "rows": api.lines,
        r"rows/{number:\d{1,15}}": api.canvas,
        r"rows/{number:\d{1,15}}/long_cot": api.long_cot,
        "search": api.search,
    }.items():
        app.router.add_get(f"/{token}/api/{path}", handler)
    return app


async def _file(body: bytes, kind: str, _: web.Request) -> web.Response:
    return web.Response(body=body, content_type=kind, charset="utf-8")


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _guard(token: str) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _HOSTS.fullmatch(request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="this server is asked as 127.0.0.1 or localhost only\n")
        given = request.path.removeprefix("/").partition("/")[0]  # `OPTIONS *` has no slash
        if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            raise web.HTTPNotFound(text="the address that polytrace view printed is needed\n")
        return await handler(request)

    return guard


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A sentence for each error, which the page shows."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except ConnectionError:  # the page was closed, so nobody reads this answer
        return web.Response()
    except UserError as error:
        return _sentence(str(error), HTTPStatus.BAD_REQUEST)
    except PolytraceError as error:
        return _sentence(str(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    except Exception as error:
        said = f"internal fault ({type(error).__name__}); the traceback is in {log_fault()}"
        return _sentence(said, HTTPStatus.INTERNAL_SERVER_ERROR)


def _sentence(text: str, status: HTTPStatus) -> web.Response:
    body = orjson.dumps({"error": text})
    return web.Response(body=body, status=status, content_type="application/json")
