"""Entries of text exports whose messages span lines: a message ends where a line starts the next one."""

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from chatladder.chat.source import Source
from chatladder.io.console import DataError

#: Far longer than any message: a file in which no entry ends must not be read into memory whole.
LONGEST_ENTRY = 2**20

Start = TypeVar("Start")


def entries(
    source: Source, start: Callable[[str], tuple[Start, str] | None]
) -> Iterator[tuple[int, Start | None, str]]:
    """Yield (first line, start, text) of each entry, and lines before the first entry without a start.

    Args:
        source: The file.
        start: Returns what a line starts and the rest of the line; None for a line that starts nothing.

    Raises:
        DataError: If an entry does not end, or the text is not UTF-8.
    """
    opened: tuple[int, Start] | None = None
    gathered: list[str] = []
    length = 0
    for number, line in source.texts():
        if found := start(line):
            if opened:
                yield *opened, "\n".join(gathered)
            opened, gathered, length = (number, found[0]), [found[1]], len(found[1])
        elif opened is None:
            yield number, None, line
        else:
            gathered.append(line)
            length += len(line) + 1
            if length > LONGEST_ENTRY:
                raise DataError(
                    f"{source.where(opened[0])}: expected messages of at most {LONGEST_ENTRY:,} characters, got a "
                    "longer one. Export the chat again as text."
                )
    if opened:
        yield *opened, "\n".join(gathered)


def after_blank(header: re.Pattern[str]) -> Callable[[str], tuple[re.Match[str], str] | None]:
    """Return a function that detects an entry: a header line at the start of the file or after a blank line.

    Args:
        header: Matches the whole line, without trailing blanks.
    """
    is_boundary = True

    def start(line: str) -> tuple[re.Match[str], str] | None:
        nonlocal is_boundary
        match = header.fullmatch(line.rstrip()) if is_boundary else None
        is_boundary = not line.strip()
        return (match, "") if match else None

    return start


def first_line(head: bytes) -> str:
    """Return the first line of a file that is not blank, stripped."""
    return head.lstrip().partition(b"\n")[0].decode("utf-8", "replace").rstrip()
