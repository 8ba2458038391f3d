"""The chat formats, and which of them a file is in.

A format is a module with a ``NAME``, ``LATE_SECONDS``, ``detects`` and ``parse`` as below. To add one, write the
module and name it in ``FORMATS``.
"""

import re
from collections.abc import Iterator
from typing import Protocol

from stages.chat.formats import discord, irc, qq, slack, table, telegram, wechat, whatsapp
from stages.chat.message import Context, Message, Skipped
from stages.chat.source import Source
from stages.cli import DataError, printable


class Format(Protocol):
    """What a format's module offers."""

    NAME: str

    @property
    def LATE_SECONDS(self) -> int | None:
        """How much older than one before it a message may be within a file, in seconds.

        More is refused as out of order. None where the order of an export's records is not that of time; ingest sorts
        them anyway.
        """

    def detects(self, name: str, head: bytes) -> bool:
        """Whether a file with this name (no folders, no compression suffix) and first 64 kB is in the format."""

    def parse(self, source: Source, context: Context) -> Iterator[Message | Skipped]:
        """One Message or Skipped for every record of the file, in the file's order.

        Mentions of people inside texts are to become ``@<pseudonym> ``, and every other name of a person that the
        file tells is to be made known by ``context.know``.

        Raises:
            DataError: Naming file and line, never the text of a message.
        """


#: A key of a JSON object, as programs name fields.
FIELD = re.compile(r'"([a-z][a-zA-Z]*(?:_[a-z]+)*)"\s*:')

#: In the order in which they are asked; the first that detects a file reads it.
FORMATS: tuple[Format, ...] = (table, wechat, telegram, discord, slack, irc, qq, whatsapp)
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
        f"{source}: expected a chat export in one of the formats {', '.join(NAMES)}; got {_looks_like(head)}. "
        "Name a format with --format if you know better, or move the file out of the folder."
    )


def _looks_like(head: bytes) -> str:
    """What the start of an unknown file looks like, in words that hold nothing of what is said in it."""
    start = head.lstrip()
    if start[:1] == b"<":
        return "a web page or XML (export the chat as JSON or plain text instead)"
    if b"\0" in head:
        return "a binary file"
    text = head.decode("utf-8", "replace")
    if start[:1] in (b"{", b"["):
        # Only what looks like a field's name: in a file of another kind a key could be a person's.
        fields = list(dict.fromkeys(FIELD.findall(text)))[:8]
        return f"JSON with the fields {', '.join(fields)}" if fields else "JSON without fields that are known"
    line = next((line for line in text.split("\n") if line.strip()), "")
    shape = re.sub(r"\d", "9", re.sub(r"[^\W\d_]+", "a", line.strip()))
    return f"text whose first line has the shape {printable(shape)[:60]!r} (9 for a digit, a for letters)"
