"""The annotator in a browser: textual-serve, with a door that only the printed address opens."""

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import click
from aiohttp import web
from textual_serve.server import Server

from stages.cli import DataError

#: Keys reach the terminal in the page once it is there; textual-serve leaves that to a click.
FOCUS = """<script>
  const waiting = setInterval(() => {
    const terminal = document.querySelector("body.-first-byte .xterm-helper-textarea");
    if (terminal) { terminal.focus(); clearInterval(waiting); }
  }, 100);
</script>"""


class GuardedServer(Server):
    """Serves the app to who knows the token; textual-serve itself would let in any program on the machine.

    Attributes:
        token: What the address must carry once; a cookie stands for it from then on.
    """

    def __init__(self, command: str, host: str, port: int) -> None:
        name = f"[{host}]" if ":" in host else host
        super().__init__(command, host=host, port=port, title="chatladder", public_url=f"http://{name}:{port}")
        self.token = secrets.token_urlsafe(32)
        # Cookies do not tell ports apart.
        self._cookie = f"chatladder_{port}"

    @property
    def address(self) -> str:
        """Where the annotator goes, token and all."""
        return f"{self.public_url}/?token={self.token}"

    def initialize_logging(self) -> None:
        """Warnings only: a log of requests would hold the token."""
        logging.basicConfig(level="WARNING")

    async def on_startup(self, app: web.Application) -> None:
        """Say where the app is."""
        click.echo(f"{self.address}\nCtrl+C ends it; what was answered is on the disk.")

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guard)
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let pass who has the token; hand a cookie to who brings it in the address, so that it leaves the address.

        ``SameSite=Strict`` keeps the page of another site from opening the websocket with that cookie.
        """
        brought = request.query.get("token")
        given = request.cookies.get(self._cookie, "") if brought is None else brought
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            return web.Response(status=403, text="Open the address that chatladder printed.")
        if brought is not None:
            entered = web.Response(status=303, headers={"Location": "/"})
            entered.set_cookie(self._cookie, self.token, httponly=True, samesite="Strict")
            return entered
        response = await handler(request)
        if isinstance(response, web.Response) and response.content_type == "text/html" and response.text:
            response.text = response.text.replace("</body>", f"{FOCUS}</body>")
        if not response.prepared:
            # The page asks another host for a font; what is annotated here is nobody else's business.
            response.headers["Content-Security-Policy"] = (
                "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
                f"img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws{self.public_url[4:]}"
            )
            response.headers["Referrer-Policy"] = "no-referrer"
        return response


def check_host(host: str, *, is_exposed: bool) -> None:
    """Refuse an address beyond this machine unless that was asked for.

    Raises:
        DataError: If the host is no address, or others reach it, or it is every address at once.
    """
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise DataError(f"--host {host!a}: expected an address such as 127.0.0.1.") from error
    if address.is_unspecified:
        raise DataError(f"--host {host}: expected the one address under which others reach this machine.")
    if not address.is_loopback and not is_exposed:
        raise DataError(
            f"--host {host}: others could reach the chat there, unencrypted. Add --expose if that is meant, "
            "or leave --host out and come through an SSH tunnel."
        )


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
    check_host(host, is_exposed=is_exposed)
    try:
        GuardedServer(command, host, port).serve()
    except OSError as error:
        raise DataError(f"--host {host} --port {port}: cannot listen there: {error.strerror or error}.") from error
