"""The annotator in a browser: textual-serve, behind a door that only the printed address opens, once.

The address holds a token. Who brings it is sent on to the app's own folder, whose name nobody can guess, with a cookie
for that folder alone; the token is spent, and another is printed. Both the folder's name and the cookie are needed:
browsers send cookies to every port of a host, and an address is seen by whoever looks at the screen. So a page can be
loaded again and opened in a second tab of that browser, and an address that was seen elsewhere opens nothing.

Before that, Host must be the printed one, whatever name was made to lead here, and Origin, where a browser tells it,
that of the page itself. A websocket without one is refused: there alone any page may read what comes back.

Sources:
    RFC 6265, sections 5.1.4 and 8.5 (cookies: paths; ports are not told apart);
    RFC 6455, section 10.2 (a websocket's Origin).
"""

import logging
import secrets
from collections.abc import Awaitable, Callable

import click
from aiohttp import hdrs, web
from textual_serve.server import Server

from chatladder.cli.listening import SEALED, equal, listening_address, spelled
from chatladder.io.console import DataError

COOKIE = "chatladder"
REFUSAL = "Open the address that chatladder printed last; each opens once."
#: Keys reach the terminal in the page once it is there; textual-serve leaves that to a click.
FOCUS = """<script>
  const waiting = setInterval(() => {
    const terminal = document.querySelector("body.-first-byte .xterm-helper-textarea");
    if (terminal) { terminal.focus(); clearInterval(waiting); }
  }, 100);
</script>"""


class GuardedServer(Server):
    """Serves the app to who brings the token; textual-serve itself would let in any program on the machine."""

    def __init__(self, command: str, host: str, port: int) -> None:
        self._host = spelled(host, port)
        super().__init__(command, host=host, port=port, title="chatladder", public_url=f"http://{self._host}")
        self._token, self._secret, folder = (secrets.token_urlsafe(32) for _ in range(3))
        self._folder = f"/{folder}/"

    @property
    def address(self) -> str:
        """Where the annotator goes, with the token that is not spent yet."""
        return f"{self.public_url}/?token={self._token}"

    def initialize_logging(self) -> None:
        """Warnings only: a log of requests would hold the token."""
        logging.basicConfig(level="WARNING")

    async def on_startup(self, app: web.Application) -> None:
        """Say where the app is."""
        click.echo(f"{self.address}\nCtrl+C ends it; what was answered is on the disk.")

    async def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.add_subapp(self._folder, await super()._make_app())
        app.on_response_prepare.append(self._seal)
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let pass who has been let in, and let in who brings the token."""
        if not self._comes_from_here(request):
            return web.Response(status=403, text=REFUSAL)
        if request.path.startswith(self._folder) and self._has_cookie(request):
            response = await handler(request)
            if isinstance(response, web.Response) and response.content_type == "text/html" and response.text:
                response.text = response.text.replace("</body>", f"{FOCUS}</body>")
            return response
        brought = request.query.get("token", "")
        if request.path == "/" and request.method == hdrs.METH_GET and equal(brought, self._token):
            self._token = secrets.token_urlsafe(32)
            click.echo(f"Opened; that page may be loaded again. To open it elsewhere:\n{self.address}")
            entered = web.Response(status=303, headers={hdrs.LOCATION: self._folder})
            # Not Strict: who comes from a link in another page, such as a terminal in a browser, would be sent away.
            entered.set_cookie(COOKIE, self._secret, path=self._folder, httponly=True, samesite="Lax")
            return entered
        return web.Response(status=403, text=REFUSAL)

    def _comes_from_here(self, request: web.Request) -> bool:
        """Whether a request was meant for the printed address and sent by its page, or by no page at all."""
        origins = request.headers.getall(hdrs.ORIGIN, [])
        is_socket = hdrs.UPGRADE in request.headers
        return request.headers.getall(hdrs.HOST, []) == [self._host] and (
            origins == [self.public_url] or not (origins or is_socket)
        )

    def _has_cookie(self, request: web.Request) -> bool:
        """Whether the cookie is there, whatever a page of another port has put beside it, under the same name even."""
        cookies = request.headers.get(hdrs.COOKIE, "").split(";")
        return any(equal(cookie.strip(), f"{COOKIE}={self._secret}") for cookie in cookies)

    async def _seal(self, request: web.Request, response: web.StreamResponse) -> None:
        """Keep what is shown in this page: no other page may hold it, no cache keep it, no other host hear of it."""
        # textual-serve's page has its scripts and styles in it, and asks another host for a font.
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            f"connect-src 'self' ws{self.public_url[4:]}"
        )
        response.headers.update(SEALED)


def serve(command: str, host: str, port: int, *, is_exposed: bool) -> None:
    """Serve the app until Ctrl+C.

    Args:
        command: Starts the app, once for each browser tab.
        host: Address to listen on.
        port: Port to listen on.
        is_exposed: Whether other machines may reach it.

    Raises:
        DataError: If the address is refused or taken.
    """
    address = listening_address(host, is_exposed=is_exposed)
    try:
        GuardedServer(command, address, port).serve()
    except OSError as error:
        raise DataError(f"--host {host} --port {port}: cannot listen there: {error.strerror or error}.") from error
