"""The chat formats, and which of them a file is in.

A format is a module with a ``NAME``, ``detects`` and ``parse`` as below. To add one, write the module and
name it in ``FORMATS``.
"""

from collections.abc import Iterator
from typing import Protocol

from stages.chat import irc, table, wechat
from stages.chat.message import Message, Skipped
from stages.chat.pseudonyms import Pseudonyms
from stages.chat.source import Source
from stages.cli import DataError


class Format(Protocol):
    """What a format's module offers."""

    NAME: str

    def detects(self, name: str, head: bytes) -> bool:
        """Whether a file with this name (no compression suffix) and first 64 kB is in the format."""

    def parse(self, source: Source, pseudonyms: Pseudonyms) -> Iterator[Message | Skipped]:
        """One Message or Skipped for every record of the file, in the file's order.

        Mentions of people inside texts are to become ``@<pseudonym> ``.

        Raises:
            DataError: Naming file and line, never the text of a message.
        """


#: In the order in which they are asked; the first that detects a file reads it.
FORMATS: tuple[Format, ...] = (table, wechat, irc)
NAMES = tuple(each.NAME for each in FORMATS)


def find_format(source: Source, wanted: str = "auto") -> Format:
    """The format called ``wanted``, or for ``auto`` the first that detects the file's content.

    Raises:
        DataError: If no format does.
    """
    if wanted != "auto":
        return FORMATS[NAMES.index(wanted)]
    head = source.head()
    for each in FORMATS:
        if each.detects(source.plain_name, head):
            return each
    raise DataError(
        f"{source.path}: expected a chat export in one of the formats {', '.join(NAMES)}; its content is "
        "none of them. Name one with --format if you know better, or move the file out of the folder."
    )
