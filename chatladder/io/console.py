"""Parts shared by all commands: click settings, path types, and the error that users see."""

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

#: Control characters, direction marks, and surrogates, which stand for bytes that are not UTF-8.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class DataError(click.ClickException):
    """Input that cannot be used: one message with the place, what was expected and what was found.

    Exits with 1 and no traceback; bugs keep theirs, usage errors exit with 2.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        """Take the message as one printable line: file names may contain anything."""
        super().__init__(printable(message.replace("\n", " ")))


class Input(click.Path):
    """A file or folder to read; if a default is missing, the folder is wrong or a stage has not run."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            DataError: If it is a missing default.
            click.BadParameter: If it was given, and is missing or unreadable.
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
    r"""Return the example of a module's docstring, the ``epilog`` at the end of its command's --help.

    Click re-flows text; the leading ``\b`` preserves the example's lines.
    """
    block = re.search(r"^Example:\n(?: {4}.*\n)+", f"{docstring}\n", flags=re.MULTILINE)
    return f"\b\n{block[0]}" if block else None


def shortened(text: str, columns: int) -> str:
    """Return a text of at most ``columns`` characters, cut with a sign that there was more."""
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def printable(text: str) -> str:
    """Return a text or file name without characters that move the cursor, colour the terminal or change direction.

    Line breaks are removed too; show a text of several lines line by line.
    """
    return UNPRINTABLE.sub("\ufffd", text)


class Stopped(click.ClickException):
    """Raised for Ctrl+C: one line that says what is kept and how to resume, without a traceback.

    Exits with 130, as a shell expects: 128 plus the number of SIGINT.
    """

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, below the terminal's ``^C``."""
        click.echo(f"{chr(10) if sys.stderr.isatty() else ''}Stopped. {self.message}", file=file, err=True)


def write_utf8() -> None:
    """Let Windows write UTF-8 to a file or another program, as other systems do."""
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8")


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Report what is kept if Ctrl+C stops a block, or a command that this decorates.

    Args:
        kept: The results that are kept, and how to resume.

    Raises:
        Stopped: In place of KeyboardInterrupt.
    """
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as error:  # click raises its own at a prompt
        raise Stopped(kept) from error


#: The report of a command that writes its output as a whole, at its end.
NOTHING_KEPT = "Nothing was written; the same command starts over."
#: The report of a command that asks a model, which keeps the finished batches of all but small ones.
ANSWERS_KEPT = "Finished answers of a large model are kept in .chatladder/answers; the same command goes on."


class _Bars:
    """How this process shows its progress bars.

    Attributes:
        line: Its line in a terminal that processes share; None if the terminal is not shared.
        name: The subject of a bar, besides its activity.
    """

    line: int | None = None
    name = ""


def share_terminal(line: int, lock: Any) -> None:
    """Let this process show only named bars, in one line of the terminal that it shares with others.

    Args:
        line: The line, from 0.
        lock: A lock that a process holds while it writes.
    """
    from tqdm import tqdm

    tqdm.set_lock(lock)
    _Bars.line = line


@contextmanager
def working_on(name: str) -> Iterator[None]:
    """Name the subject of the bars and errors in a block, such as a rung and a seed.

    Raises:
        DataError: As the block, prefixed with the name.
    """
    _Bars.name, before = name, _Bars.name
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error.message}") from error
    finally:
        _Bars.name = before


def bar(what: str, items: Iterable[Any] | None = None, *, hidden: bool = False, **options: Any) -> Any:
    """Return tqdm's progress bar; without a terminal it writes one line a minute instead.

    Args:
        what: The activity, in a word.
        items: As for tqdm.
        hidden: True to show nothing.
        options: As for tqdm.
    """
    shared = _Bars.line is not None
    options |= {"desc": f"{_Bars.name} {what}".strip(), "disable": hidden or (shared and not _Bars.name)}
    file: Any = options.get("file", sys.stderr)
    if file.isatty():
        from tqdm import tqdm

        return tqdm(items, **options, position=_Bars.line, leave=not shared)
    from chatladder.io.log_lines import LogLines

    return LogLines(items, **options)
