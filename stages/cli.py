"""What every stage's command shares: click settings, path types, and the error that users see."""

import re
from pathlib import Path

import click

#: DVC unpacks a params section as ``--learning_rate``; click spells it ``--learning-rate``. Both work.
SETTINGS = {
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}

#: Control characters, those that give text a direction, and halves of characters, which are bytes that are no UTF-8.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

InputFile = click.Path(exists=True, dir_okay=False, path_type=Path)
InputFolder = click.Path(exists=True, file_okay=False, path_type=Path)
OutputFile = click.Path(dir_okay=False, path_type=Path)
OutputFolder = click.Path(file_okay=False, path_type=Path)


def example(docstring: str | None) -> str | None:
    r"""The example of a module's docstring, as the ``epilog`` that its command's --help ends with.

    Click re-flows text; the ``\b`` in front keeps the example's lines as they are.
    """
    found = re.search(r"^Example:\n(?: {4}.*\n)+", f"{docstring}\n", flags=re.MULTILINE)
    return f"\b\n{found[0]}" if found else None


def shortened(text: str, columns: int) -> str:
    """Text of at most so many characters; of a longer one the beginning, and a sign that there was more."""
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def printable(text: str) -> str:
    """Text of a chat, or a file's name, without what could move the cursor, colour the terminal or turn its writing.

    Line breaks go too; show a text of several lines line by line.
    """
    return UNPRINTABLE.sub("\ufffd", text)


class DataError(click.ClickException):
    """Input that cannot be used: one message that names the place, what was expected and what came.

    Exits with 1 and no traceback; bugs keep theirs, usage errors exit with 2.
    """

    exit_code = 1
