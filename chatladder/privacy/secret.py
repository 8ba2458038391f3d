"""The local secret for pseudonyms: made once, kept, never committed.

Example:
    chatladder secret

It is read from the environment variable CHATLADDER_PRIVACY_KEY, or else from the file that this command makes,
``.chatladder/privacy_key`` below the folder where commands run. The same secret gives the same pseudonyms, so everyone
who works on a chat needs the same one; whoever has it can test whether a guessed name is in the data.
"""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatladder.io.console import SETTINGS, DataError, example

if TYPE_CHECKING:
    from chatladder.privacy.pseudonyms import Pseudonyms

#: The simulated group, the only one allowed under the public key.
DEMO_GROUP = "20231018001@chatroom"
KEY_VARIABLE = "CHATLADDER_PRIVACY_KEY"
KEY_FILE = Path(".chatladder") / "privacy_key"
#: Shorter keys can be found by brute force against one known name.
SHORTEST = 16
RANDOM_BYTES = 32
_COMMAND = '"chatladder secret"'


def local_key(path: Path = KEY_FILE) -> str | None:
    """Return the key from the environment, or else from the file; None if there is neither.

    Raises:
        DataError: If the key is too short, or the file cannot be read.
    """
    if key := os.environ.get(KEY_VARIABLE, ""):
        return _checked(key, f"environment variable {KEY_VARIABLE}", "Set a longer one")
    try:
        key = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(f"{path}: expected the secret key, but it cannot be read: {reason}.") from error
    return _checked(key, str(path), f"Remove the file and make one with {_COMMAND}")


def create(path: Path = KEY_FILE) -> Path:
    """Make a random key in a file that only its owner can read, in a folder that git ignores.

    Raises:
        DataError: If the file exists, since a new key would make all existing pseudonyms unusable, or it cannot be
            written.
    """
    if path.exists():
        raise DataError(
            f"{path}: expected no secret yet, got one; it was left as it is, since pseudonyms and ids made with it "
            "would change. Remove it first if that is what you want."
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = path.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8", newline="\n")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}.") from error
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(secrets.token_hex(RANDOM_BYTES) + "\n")
    return path


def _checked(key: str, where: str, remedy: str) -> str:
    if len(key) < SHORTEST:
        raise DataError(f"{where}: expected a secret of at least {SHORTEST} characters, got {len(key)}. {remedy}.")
    return key


def check_private(pseudonyms: "Pseudonyms", groups: Iterable[str]) -> None:
    """Refuse any chat except the demo under the public key.

    Args:
        pseudonyms: The pseudonyms that ingest uses.
        groups: The groups' names as in the exports.

    Raises:
        DataError: If the key is the public one and a group is not the simulator's.
    """
    if pseudonyms.is_demo and (foreign := set(groups) - {DEMO_GROUP}):
        raise key_needed(f"the exports hold other groups than the demo's ({len(foreign)})")


def key_needed(since: str) -> DataError:
    """Return the error that refuses a chat under the public key; ``since`` is the reason."""
    return DataError(
        f"expected a key of your own, since {since}, got none: under the public key anybody can find out who is who. "
        f"Make one with {_COMMAND}, or set {KEY_VARIABLE}, and run again."
    )


@click.command(
    name="secret",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
def secret_command() -> None:
    """Make the secret key that hides who is who, for a chat of your own.

    Keep the file: another key gives other pseudonyms and ids. Never commit or send it along with data.
    """
    path = create()
    click.echo(f"{path}: a new secret key. Keep it, back it up apart from the data, and never commit it.")
    if os.environ.get(KEY_VARIABLE):
        click.echo(f"{KEY_VARIABLE} is set and goes before it; unset the variable to use the file.")
