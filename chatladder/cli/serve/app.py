"""The server's addresses, what each refuses, and how it listens.

Without a token a request must name the address that was printed and come from no other page: any page of a browser on
this machine can send one, and the name that leads here may be another's. With a token neither matters, since no other
page knows it. FastAPI's own pages of the API load scripts of another host, so there is none: /openapi.json has it all.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatladder.cli.answering import Answer
from chatladder.cli.listening import SEALED, equal, spelled
from chatladder.cli.serve.batches import Answers, Batches, FullError
from chatladder.cli.serve.messages import Answered, Asked, Chat, Health, OneOrMany, Problem, Reader, Turn
from chatladder.io.console import DataError, printable, shortened
from chatladder.io.options import setting

#: Bytes of a body, and connections at once.
MOST_BYTES, MOST_CONNECTIONS = 2**20, 256
#: Seconds that a stop waits for answers that are under way.
STOPPING_SECONDS = 10
#: Files of the page by their path, and their types.
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
#: What is told of an error that the libraries word for programmers.
_PLAINER = {
    400: "expected a JSON text in UTF-8, nested a few levels deep, got something else.",
    404: "there is nothing under this path; /openapi.json says what there is.",
    413: f"expected a body of at most {MOST_BYTES:,} bytes, got a larger one; ask fewer questions at once.",
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 401, 403, 408, 413, 415, 422, 503, 504)
}


@dataclass(frozen=True)
class Limits:
    """How much may be asked."""

    seconds: float = setting("Seconds for a request to arrive, and as many to answer it.", default=60, above=0)
    most_waiting: int = setting("Questions that may wait for an answer.", default=1024, least=1)


class Guard:
    """Stands before the app: turns away who may not ask, and sees to it that requests arrive in time."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], token: str | None, seconds: float) -> None:
        """Guard an app.

        Args:
            app: The app.
            hosts: Spellings of the address that the server listens on.
            token: What a request for answers must bring; None where everybody on this machine may ask.
            seconds: That a request may take to arrive.
        """
        self._app, self._hosts, self._token, self._seconds = app, hosts, token, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SEALED | {"Content-Security-Policy": _POLICY})
            await send(message)

        headers = Headers(scope=scope)
        if refusal := self._refusal(scope["path"], headers) or _too_large(headers):
            await refusal(scope, receive, sealed)
        else:
            await self._app(scope, self._timely(receive), sealed)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        if self._token is None:
            origins, hosts = headers.getlist("origin"), headers.getlist("host")
            is_local = len(hosts) == 1 and hosts[0] in self._hosts
            if not is_local or any(origin != f"http://{hosts[0]}" for origin in origins):
                return _problem(403, f"expected a request to http://{self._hosts[0]} and from no other page.")
        elif path.startswith("/v1/") and not equal(headers.get("authorization", ""), f"Bearer {self._token}"):
            return _problem(
                401, "expected the server's token: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"}
            )
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
    return _problem(413, _PLAINER[413]) if length.isdigit() and int(length[:20]) > MOST_BYTES else None


def _problem(code: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, code, headers)


async def _tell(request: Request, error: StarletteHTTPException) -> Response:
    """Say what an HTTP error is about."""
    detail = _PLAINER.get(error.status_code, error.detail)
    return _problem(error.status_code, detail, dict(error.headers or {}))


async def _tell_invalid(request: Request, error: RequestValidationError) -> Response:
    """Say what is wrong with a body, without repeating what is in it."""
    if "json" not in request.headers.get("content-type", ""):
        return _problem(415, "expected Content-Type: application/json.")
    first, *others = error.errors()
    if first["type"] == "json_invalid":
        return _problem(400, _PLAINER[400])
    steps = [str(step) for step in first["loc"][1:] if step not in ("one", "many")]
    place = printable(shortened(".".join(steps) or "body", 80))
    more = f" And {len(others)} more." if others else ""
    return _problem(422, f"{place}: {first['msg'].removeprefix('Value error, ')}.{more}")


def create_app(
    reader: Reader,
    answer: Answers,
    model: dict[str, Any],
    limits: Limits,
    hosts: Sequence[str],
    token: str | None = None,
) -> Guard:
    """Return the app that answers, guarded.

    Args:
        reader: Brings messages into the model's form.
        answer: Answers rows of QUESTIONS, called by one thread alone.
        model: The fields of ``Health`` that describe the model.
        limits: How much may be asked.
        hosts: Spellings of the address that the server listens on, the printed one first.
        token: What a request for answers must bring.
    """
    batches = Batches(answer, limits.most_waiting)

    async def given(rows: list[dict[str, Any]]) -> list[Answer]:
        try:
            async with asyncio.timeout(limits.seconds):
                return await batches.ask(rows)
        except FullError as error:
            raise HTTPException(503, "too many questions wait; ask again later.", {"Retry-After": "1"}) from error
        except TimeoutError as error:
            raise HTTPException(504, f"no answer within {limits.seconds:g} s; ask fewer questions at once.") from error

    app = FastAPI(
        title="chatladder",
        summary="Does a question of a group chat need what was said before it?",
        version=version("chatladder"),
        docs_url=None,
        redoc_url=None,
        max_body_size=MOST_BYTES,
        exception_handlers={StarletteHTTPException: _tell, RequestValidationError: _tell_invalid},
    )
    # Guard has looked at the token before anything was read; this is for whoever reads /openapi.json.
    bearer = [Depends(HTTPBearer(auto_error=False))] if token else []
    told: dict[str, Any] = {"responses": _REFUSALS, "dependencies": bearer}

    @app.post("/v1/questions", **told)
    async def questions(asked: OneOrMany) -> Answered | list[Answered]:
        """Answer a question, or several together, in their order."""
        several = [asked] if isinstance(asked, Asked) else asked
        rows = await run_in_threadpool(lambda: [reader.row(each) for each in several])
        answers = [Answered(**each._asdict()) for each in await given(rows)]
        return answers[0] if isinstance(asked, Asked) else answers

    @app.post("/v1/chats", **told)
    async def chats(chat: Chat) -> list[Turn]:
        """Judge which turns of a chat are questions, by rules, and answer those."""
        rows = await run_in_threadpool(reader.questions, chat)
        answers = iter(await given([row for row in rows if row is not None]))
        return [
            Turn(is_question=row is not None, answer=None if row is None else Answered(**next(answers)._asdict()))
            for row in rows
        ]

    @app.get("/health")
    async def health() -> Health:
        """Say that the server answers, and with what."""
        return Health(**model, waiting=batches.waiting)

    for path, (name, kind) in PAGE.items():
        content = files("chatladder.cli.serve").joinpath(name).read_bytes()
        app.add_api_route(path, _file(content, kind), include_in_schema=False)
    return Guard(app, hosts=hosts, token=token, seconds=limits.seconds)


def _file(content: bytes, kind: str) -> Any:
    async def file() -> Response:
        return Response(content, media_type=kind)

    return file


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
    """Return how a browser on this machine may spell a socket's address, the one to print first."""
    port = listening.getsockname()[1]
    names = [address] if address not in ("127.0.0.1", "::1") else [address, "localhost"]
    return [spelled(name, port) for name in names]


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
