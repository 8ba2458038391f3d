"""What the commands that serve a page share: where they listen, whom they let in, how they start and stop.

Where hosts are given a request must name one of them and come from no other page: any page of a browser on this machine
can send one, and the name that leads here may be another's. Where there is a token no other page knows it. FastAPI's
own pages of the API load scripts of another host, so there is none: /openapi.json has it all.
"""

import asyncio
import hmac
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from ipaddress import IPv6Address, ip_address
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatladder.io.console import DataError, printable, shortened

#: Bytes of a body, and connections at once.
MOST_BYTES, MOST_CONNECTIONS = 2**20, 256
#: Seconds that a stop waits for answers that are under way.
STOPPING_SECONDS = 10
#: Files of a page by their path, and their types.
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
#: Headers of every answer: no cache may keep it, no other host hear of it, no other page hold it.
SEALED = {
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
}
#: What is told of an error that the libraries word for programmers.
_PLAINER = {
    400: "expected a JSON text in UTF-8, nested a few levels deep, got something else.",
    404: "there is nothing under this path; /openapi.json says what there is.",
    413: f"expected a body of at most {MOST_BYTES:,} bytes, got a larger one; ask for less at once.",
}


class Guard:
    """Stands before the app: turns away who may not ask, and sees to it that requests arrive in time."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], users: Mapping[str, object], seconds: float) -> None:
        """Guard an app.

        Args:
            app: The app.
            hosts: Spellings of the address that a request must name, the printed one first; empty for any.
            users: Token -> who asks with it, the ``user`` of the request; a request below /v1/ must bring one of the
                tokens. Empty where everybody on this machine may ask.
            seconds: That a request may take to arrive.
        """
        self._app, self._hosts, self._users, self._seconds = app, hosts, users, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SEALED)
            await send(message)

        headers = Headers(scope=scope)
        if refusal := self._refusal(scope, headers) or _too_large(headers):
            await refusal(scope, receive, sealed)
        else:
            await self._app(scope, self._timely(receive), sealed)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to who may not ask; to a request of who may, add its ``user``."""
        origins, hosts = headers.getlist("origin"), headers.getlist("host")
        is_local = len(hosts) == 1 and hosts[0] in self._hosts
        if self._hosts and not (is_local and all(origin == f"http://{hosts[0]}" for origin in origins)):
            return problem(403, f"expected a request to http://{self._hosts[0]} and from no other page.")
        if self._users and scope["path"].startswith("/v1/"):
            given = headers.get("authorization", "")
            # Compared with all, so that the time does not tell which one.
            matching = [user for token, user in self._users.items() if _equal(given, f"Bearer {token}")]
            if not matching:
                return problem(
                    401, "expected the server's token: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"}
                )
            scope["user"] = matching[0]
        return None

    def _timely(self, receive: Receive) -> Receive:
        """Return what receives a request's body until the time is up, and then whatever comes."""
        until = asyncio.get_running_loop().time() + self._seconds
        is_whole = False

        async def received() -> Message:
            nonlocal is_whole
            if is_whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, f"expected the whole request within {self._seconds:g} s.") from error
            is_whole = not message.get("more_body", False)
            return message

        return received


def _too_large(headers: Headers) -> Response | None:
    length = headers.get("content-length", "0")
    return problem(413, _PLAINER[413]) if length.isdigit() and int(length[:20]) > MOST_BYTES else None


def problem(code: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an answer that says what is wrong."""
    return JSONResponse({"detail": detail}, code, headers)


async def _tell(request: Request, error: StarletteHTTPException) -> Response:
    """Say what an HTTP error is about."""
    detail = _PLAINER.get(error.status_code, error.detail)
    return problem(error.status_code, detail, dict(error.headers or {}))


async def _tell_invalid(request: Request, error: RequestValidationError) -> Response:
    """Say what is wrong with a body, without repeating what is in it."""
    if "json" not in request.headers.get("content-type", ""):
        return problem(415, "expected Content-Type: application/json.")
    first, *others = error.errors()
    if first["type"] == "json_invalid":
        return problem(400, _PLAINER[400])
    steps = [str(step) for step in first["loc"][1:] if step not in ("one", "many")]
    place = printable(shortened(".".join(steps) or "body", 80))
    more = f" And {len(others)} more." if others else ""
    return problem(422, f"{place}: {first['msg'].removeprefix('Value error, ')}.{more}")


def _equal(given: str, expected: str) -> bool:
    # In a time that does not tell how much of it was right.
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def api(summary: str, page: str) -> FastAPI:
    """Return an app without paths of its own yet, which shows a page and says in words what it refuses.

    Args:
        summary: What it is for.
        page: The package that holds the files of the page.
    """
    app = FastAPI(
        title="chatladder",
        summary=summary,
        version=version("chatladder"),
        docs_url=None,
        redoc_url=None,
        max_body_size=MOST_BYTES,
        exception_handlers={StarletteHTTPException: _tell, RequestValidationError: _tell_invalid},
    )
    for path, (name, kind) in PAGE.items():
        app.add_api_route(path, _file(files(page).joinpath(name).read_bytes(), kind), include_in_schema=False)
    return app


def _file(content: bytes, kind: str) -> Any:
    async def file() -> Response:
        return Response(content, media_type=kind)

    return file


def listening_address(host: str, *, is_exposed: bool) -> str:
    """The address that a host means, in the one spelling that browsers have for it.

    Raises:
        DataError: If the host is no address, or it is every address at once, or others reach it and that was not asked
            for.
    """
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    # Browsers have no spelling for an address with a zone.
    if address is None or "%" in host:
        raise DataError(f"--host {host!a}: expected an address such as 127.0.0.1.")
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_unspecified:
        raise DataError(f"--host {host}: expected the one address under which others reach this machine.")
    if not address.is_loopback and not is_exposed:
        raise DataError(
            f"--host {host}: others could reach the chat there, unencrypted. Add --expose if that is meant, "
            "or leave --host out and come through an SSH tunnel."
        )
    return str(address)


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        DataError: If the address is taken, or not this machine's.
    """
    try:
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except OSError as error:
        raise DataError(f"--host {address} --port {port}: cannot listen there: {error.strerror or error}.") from error


def spellings(listening: socket.socket, address: str) -> list[str]:
    """Return how a browser on this machine may spell a socket's address in Host and Origin, the one to print first."""
    port = listening.getsockname()[1]
    names = [address] if address not in ("127.0.0.1", "::1") else [address, "localhost"]
    bracketed = [f"[{name}]" if ":" in name else name for name in names]
    return bracketed if port == 80 else [f"{name}:{port}" for name in bracketed]


class Server(uvicorn.Server):
    """A server that logs no request, says when it answers, and stops in order."""

    def __init__(self, app: ASGIApp, on_start: Callable[[], None]) -> None:
        """Keep what is to be called once the server answers and a signal stops it in order."""
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=STOPPING_SECONDS,
            )
        )
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._on_start()


def serve(app: ASGIApp, listening: socket.socket, on_start: Callable[[], None]) -> None:
    """Serve until Ctrl+C or SIGTERM; what is under way is answered first.

    Args:
        app: What answers.
        listening: The socket it answers on.
        on_start: Called once it answers, and stops in order at a signal.
    """
    server = Server(app, on_start)
    # uvicorn stops in order at both signals, then raises them again; neither is an error of a server.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
