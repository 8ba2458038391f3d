r"""Serve a tuned model over HTTP: does a question need its history? Bots ask, and a page lets people try it.

Example:
    chatladder serve embedded_700k
    chatladder serve embedded_700k --port 9000 --cost-missed 5 --cost-needless 1
    chatladder serve --model exported/qwen

POST /v1/questions takes {"history": [{"sender", "text"}, ...], "question": {"sender", "text"}}, or a list of them, and
returns {"needed", "p_needed", "rewritten"} for each; /health describes the model, /openapi.json the API. Names and
personal data are masked before the model reads anything, as in ingest; nothing is stored or logged.

It listens on this machine alone. With --expose others reach it too, unencrypted, and every request must contain a
token. Give the token as CHATLADDER_SERVE_TOKEN: other users can see a command line.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from threading import RLock
from typing import Any

import click

from chatladder.chat.options import MaskingOptions
from chatladder.cli.answering import Gate, ModelOptions, load_model, settings_of
from chatladder.cli.export.record import Settings
from chatladder.cli.listening import listen, listening_address, serve, spellings
from chatladder.cli.serve.app import Limits, create_app
from chatladder.cli.serve.messages import Reader
from chatladder.io.console import SETTINGS, DataError, InputFolder, example, share_terminal, stoppable
from chatladder.io.options import options_of
from chatladder.vocabulary import need_two_labels

TOKEN_VARIABLE = "CHATLADDER_SERVE_TOKEN"
#: A token that nobody guesses, and that a header can hold.
_TOKEN = re.compile(r"[!-~]{16,256}")


def check_token(token: str | None, *, is_exposed: bool) -> None:
    """Refuse a token that is easy to guess, and a missing one if others reach the server.

    Raises:
        DataError: If the token is malformed or missing.
    """
    if token is None and is_exposed:
        raise DataError(f"--expose: expected a token that requests must contain, got none. Set {TOKEN_VARIABLE}.")
    if token is not None and not _TOKEN.fullmatch(token):
        raise DataError(
            f"--token or {TOKEN_VARIABLE}: expected 16 to 256 ASCII letters, digits and signs, got something else. "
            "Make one with: openssl rand -hex 32"
        )


@click.command(name="serve", context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("rung", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port to listen on; 0 for any free port.",
)
@click.option("--expose", is_flag=True, help="Allow a --host that other machines can reach; requires --token.")
@click.option(
    "--token", envvar=TOKEN_VARIABLE, show_envvar=True, help="Token that each request must contain; never logged."
)
@options_of(Limits, "limits")
@click.option("--names", type=InputFolder, help="Folder of *.deny and *.keep files, as in data/raw.")
@options_of(MaskingOptions, "masking")
@options_of(ModelOptions, "model_options")
@options_of(Settings, "given", partial=True)
@stoppable("The server had not started yet; the same command starts over.")
def serve_command(
    rung: str | None,
    host: str,
    port: int,
    expose: bool,
    token: str | None,
    limits: Limits,
    names: Path | None,
    masking: MaskingOptions,
    model_options: ModelOptions,
    given: Mapping[str, Any],
) -> None:
    """Answer the question of the task over HTTP, by RUNG or by an exported model (--model)."""
    need_two_labels("chatladder serve")
    folder = model_options.folder
    if (rung is None) == (folder is None):
        raise click.UsageError("expected either a rung or --model. Give one of them.")
    check_token(token, is_exposed=expose)
    address = listening_address(host, is_exposed=expose)
    settings = settings_of(rung, model_options, given)
    with listen(address, port) as listening:
        gate = Gate(*load_model(rung, model_options), settings)
        share_terminal(0, RLock())  # no bar for each batch
        reader = Reader(settings, names, masking.phone_region)
        model = {
            "model": rung or str(folder.name if folder else ""),
            "threshold": settings.threshold,
            "window": settings.window,
            "gap_seconds": settings.gap_seconds,
        }
        hosts = spellings(listening, address)
        app = create_app(reader, lambda rows: gate.answer(rows)[0], model, limits, hosts, token)
        serve(app, listening, on_start=lambda: click.echo(f"http://{hosts[0]}/\nCtrl+C stops the server."))


if __name__ == "__main__":
    serve_command()
