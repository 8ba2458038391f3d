"""Texts in which each message is a line that says who and when, the lines that they wrote, and a blank one."""

import re
from collections.abc import Iterator

from chatladder.chat.source import Source
from chatladder.io.console import DataError

#: Far above any message: a file without entries must not be gathered whole.
LONGEST_TEXT = 2**20


def entries(source: Source, header: re.Pattern[str]) -> Iterator[tuple[int, re.Match[str] | None, str]]:
    """Yield (line, header, text) of each entry, and (line, None, text) of each line before the first.

    Args:
        source: The file.
        header: The first line of an entry; it stands at the start of the file or after a blank line.

    Raises:
        DataError: If an entry does not end, or the text is not UTF-8.
    """
    opened: tuple[int, re.Match[str]] | None = None
    gathered: list[str] = []
    length = 0
    is_boundary = True
    for number, line in source.texts():
        match = header.fullmatch(line.rstrip()) if is_boundary else None
        is_boundary = not line.strip()
        if match:
            if opened:
                yield *opened, "\n".join(gathered)
            opened, gathered, length = (number, match), [], 0
        elif opened is None:
            yield number, None, line
        else:
            gathered.append(line)
            length += len(line) + 1
            if length > LONGEST_TEXT:
                raise DataError(
                    f"{source.where(opened[0])}: expected entries of at most {LONGEST_TEXT} characters, got a longer "
                    "one. Export the chat again."
                )
    if opened:
        yield *opened, "\n".join(gathered)


def first_line(head: bytes) -> str:
    """The first line of a file that is not blank, without what is around it."""
    return head.lstrip().partition(b"\n")[0].decode("utf-8", "replace").rstrip()
