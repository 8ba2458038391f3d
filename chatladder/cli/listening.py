"""The shared parts of the commands that serve a page: address, access, start and stop.

If hosts are given, a request must name one of them and must not come from another page: any page in a browser on this
machine can send requests, and another site's name may resolve to this address. If there is a token, no other page knows
it. FastAPI's own pages of the API load scripts of another host, so there are none: /openapi.json describes the API.
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

#: The most bytes of a body, and the most connections at once.
MOST_BYTES, MOST_CONNECTIONS = 2**20, 256
#: Seconds that a shutdown waits for answers in progress.
STOPPING_SECONDS = 10
#: Files of a page by their path, and their types.
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
#: Headers of every response: no cache may store it, no other host learn of it, no other page embed it.
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
#: Messages for errors that the libraries word for programmers.
_PLAINER = {
    400: "expected JSON in UTF-8, nested only a few levels deep, got something else.",
    404: "this path does not exist; /openapi.json lists the paths.",
    413: f"expected a body of at most {MOST_BYTES:,} bytes, got a larger one; send fewer questions at once.",
}


class Guard:
    """Middleware that refuses requests without access, and those that do not arrive in time."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], users: Mapping[str, object], seconds: float) -> None:
        """Guard an app.

        Args:
            app: The app.
            hosts: Spellings of the address that a request must name, the printed one first; empty for any.
            users: Token -> its user, which becomes the ``user`` of the request; a request below /v1/ must contain one
                of the tokens. Empty if everybody on this machine may ask.
            seconds: Timeout for a request to arrive, in seconds.
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
        """Return the refusal of a request without access, or None; add the ``user`` to a request with access."""
        origins, hosts = headers.getlist("origin"), headers.getlist("host")
        is_local = len(hosts) == 1 and hosts[0] in self._hosts
        if self._hosts and not (is_local and all(origin == f"http://{hosts[0]}" for origin in origins)):
            return problem(403, f"expected a request to http://{self._hosts[0]} and from no other page.")
        if self._users and scope["path"].startswith("/v1/"):
            given = headers.get("authorization", "")
            # Compared with all, so that timing does not reveal which one.
            matching = [user for token, user in self._users.items() if _equal(given, f"Bearer {token}")]
            if not matching:
                return problem(
                    401, "expected the server's token: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"}
                )
            scope["user"] = matching[0]
        return None

    def _timely(self, receive: Receive) -> Receive:
        """Return a ``receive`` with a timeout for the request's body, and none for messages after it."""
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
    """Return an error response with a message."""
    return JSONResponse({"detail": detail}, code, headers)


async def _tell(request: Request, error: StarletteHTTPException) -> Response:
    """Return the response to an HTTP error."""
    detail = _PLAINER.get(error.status_code, error.detail)
    return problem(error.status_code, detail, dict(error.headers or {}))


async def _tell_invalid(request: Request, error: RequestValidationError) -> Response:
    """Return the response to an invalid body, without repeating its content."""
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
    # In constant time, so that timing does not reveal how much of it was right.
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def api(summary: str, page: str) -> FastAPI:
    """Return an app that serves a page and explains its refusals, without paths of an API yet.

    Args:
        summary: The purpose of the app.
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
    """Return the address of a host, in the spelling that browsers use.

    Raises:
        DataError: If the host is not an address, or means every address at once, or others reach it without
            ``is_exposed``.
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
        raise DataError(f"--host {host}: expected a single address under which others reach this machine.")
    if not address.is_loopback and not is_exposed:
        raise DataError(
            f"--host {host}: others could reach the chat there, unencrypted. Add --expose to allow it, or omit --host "
            "and connect through an SSH tunnel."
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
    """Return the spellings of a socket's address in Host and Origin of local browsers, the one to print first."""
    port = listening.getsockname()[1]
    names = [address] if address not in ("127.0.0.1", "::1") else [address, "localhost"]
    bracketed = [f"[{name}]" if ":" in name else name for name in names]
    return bracketed if port == 80 else [f"{name}:{port}" for name in bracketed]


class Server(uvicorn.Server):
    """A server that logs no request, reports when it is ready, and shuts down gracefully."""

    def __init__(self, app: ASGIApp, on_start: Callable[[], None]) -> None:
        """Store the function to call once the server answers and a signal shuts it down gracefully."""
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
        """Start, then report it."""
        await super().startup(sockets)
        self._on_start()


def serve(app: ASGIApp, listening: socket.socket, on_start: Callable[[], None]) -> None:
    """Serve until Ctrl+C or SIGTERM; requests in progress are answered first.

    Args:
        app: The app.
        listening: The socket to answer on.
        on_start: Called once the server answers, and a signal shuts it down gracefully.
    """
    server = Server(app, on_start)
    # uvicorn shuts down gracefully on both signals, then raises them again; neither is an error of a server.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
