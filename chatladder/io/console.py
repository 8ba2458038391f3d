"""Parts that every command shares: click settings, path types, and the error that users see."""

import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

#: DVC unpacks a params section as ``--learning_rate``; click spells it ``--learning-rate``. Both work.
SETTINGS = {
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}

#: Control characters, those that give text a direction, and halves of characters, which are bytes that are no UTF-8.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class DataError(click.ClickException):
    """Input that cannot be used: one message that names the place, what was expected and what came.

    Exits with 1 and no traceback; bugs keep theirs, usage errors exit with 2.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        """Take the message as one line that is printable: files on the disk may be called anything."""
        super().__init__(printable(message.replace("\n", " ")))


class Input(click.Path):
    """A file or folder to read; a default that is not there means the wrong folder, or that a stage has not run."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            DataError: If it is a default and not there.
            click.BadParameter: If it was given, and is not there or cannot be read.
        """
        if param is not None and value == param.default and not Path(value).exists():
            raise DataError(
                f'{value}: expected here, got nothing. Run in the project\'s folder; "chatladder status" says there '
                f"what is to be run first. Or name another with {param.opts[0]}."
            )
        return super().convert(value, param, ctx)


InputFile = Input(exists=True, dir_okay=False, path_type=Path)
InputFolder = Input(exists=True, file_okay=False, path_type=Path)
OutputFile = click.Path(dir_okay=False, path_type=Path)
OutputFolder = click.Path(file_okay=False, path_type=Path)


def example(docstring: str | None) -> str | None:
    r"""The example of a module's docstring, as the ``epilog`` that its command's --help ends with.

    Click re-flows text; the ``\b`` in front keeps the example's lines as they are.
    """
    block = re.search(r"^Example:\n(?: {4}.*\n)+", f"{docstring}\n", flags=re.MULTILINE)
    return f"\b\n{block[0]}" if block else None


def shortened(text: str, columns: int) -> str:
    """Text of at most so many characters; of a longer one the beginning, and a sign that there was more."""
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def printable(text: str) -> str:
    """Text of a chat, or a file's name, without what could move the cursor, colour the terminal or turn its writing.

    Line breaks go too; show a text of several lines line by line.
    """
    return UNPRINTABLE.sub("\ufffd", text)


class Stopped(click.ClickException):
    """Ctrl+C: one line that says what is kept and how to go on, and no traceback.

    Exits with 130, as what a shell runs does: 128 and the number of SIGINT.
    """

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, below the terminal's ``^C``."""
        click.echo(f"{chr(10) if sys.stderr.isatty() else ''}Stopped. {self.message}", file=file, err=True)


def write_utf8() -> None:
    """Let Windows write UTF-8 where the output goes into a file or another program, as other systems do."""
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8")


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Say of a block, or of a command that this decorates, what a Ctrl+C in it leaves.

    Args:
        kept: What is kept, and how to go on.

    Raises:
        Stopped: In place of KeyboardInterrupt.
    """
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as error:  # click's is of a Ctrl+C at a question that it asks
        raise Stopped(kept) from error


#: What a command says that writes at its end, whole.
NOTHING_KEPT = "Nothing was written; the same command starts over."


class _Bars:
    """How this process shows its bars.

    Attributes:
        line: Its line of a terminal that processes share; None where it has the terminal to itself.
        name: What a bar is of, beside what is done.
    """

    line: int | None = None
    name = ""


def share_terminal(line: int, lock: Any) -> None:
    """Let this process show named bars alone, and in one line of the terminal that it shares with others.

    Args:
        line: The line, from 0.
        lock: Held while a process writes.
    """
    from tqdm import tqdm

    tqdm.set_lock(lock)
    _Bars.line = line


@contextmanager
def working_on(name: str) -> Iterator[None]:
    """Say of the bars and of the errors in a block what they are of, such as a rung and a seed.

    Raises:
        DataError: As the block, with the name in front.
    """
    _Bars.name, before = name, _Bars.name
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error.message}") from error
    finally:
        _Bars.name = before


def bar(what: str, items: Iterable[Any] | None = None, *, hidden: bool = False, **options: Any) -> Any:
    """A progress bar of tqdm; where there is no terminal, a line a minute in its place.

    Args:
        what: What is done, in a word.
        items: As of tqdm.
        hidden: Whether to show none.
        options: Of tqdm.
    """
    shared = _Bars.line is not None
    options |= {"desc": f"{_Bars.name} {what}".strip(), "disable": hidden or (shared and not _Bars.name)}
    file: Any = options.get("file", sys.stderr)
    if file.isatty():
        from tqdm import tqdm

        return tqdm(items, **options, position=_Bars.line, leave=not shared)
    from chatladder.io.log_lines import LogLines

    return LogLines(items, **options)
