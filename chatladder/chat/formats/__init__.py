"""The chat formats, and which of them a file is in.

A format is a module with a ``NAME``, ``LATE_SECONDS``, ``detects`` and ``parse`` as below. To add one, write the
module and name it in ``FORMATS``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol

from chatladder.chat.formats import (
    chatlab,
    chatlog,
    discord,
    discord_csv,
    google_chat,
    irc,
    kakaotalk,
    line,
    matrix,
    mattermost,
    memotrace,
    meta,
    pywxdump,
    qq,
    qq_chat_exporter,
    rocketchat,
    signal,
    slack,
    table,
    teams,
    telegram,
    wechat,
    weflow,
    whatsapp,
    zulip,
)
from chatladder.chat.formats.json_stream import keys_of
from chatladder.chat.formats.times import shape_of
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError


class Format(Protocol):
    """The interface of a format's module."""

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


#: A JSON document, and not a line that starts with a bracket.
JSON_START = re.compile(rb"[\[{]\s*[\[{\]}\"]")
DATABASE = b"SQLite format 3\0"
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
#: Exports that people try, and fields that tell them.
OTHER_APPS = {
    "Matrix": {"origin_server_ts", "event_id"},
    "Skype or Microsoft Teams": {"userId", "exportDate", "conversations"},
    "Signal": {"backupTimeMs"},
    "signal-cli": {"envelope", "dataMessage"},
}
#: Fields of many exports, which may be named in an error.
_KNOWN_FIELDS = """
about account actor_id author body channel channels chat chatInfo chats content conversations created_at createdAt data
date date_unixtime email exportDate export_date exportedAt from from_id group guild id members message messageType
messages meta_info metadata name participants platform reply_to room sender sender_name statistics text time timestamp
title topic ts type user userId user_id users version
"""
KNOWN_FIELDS = frozenset(_KNOWN_FIELDS.split())

#: In the order in which they are asked; the first that detects a file reads it.
FORMATS: tuple[Format, ...] = (
    *(chatlab, chatlog, pywxdump, qq_chat_exporter, weflow),
    *(table, wechat, telegram, discord, slack, irc, qq),
    *(discord_csv, google_chat, kakaotalk, line, matrix, mattermost, meta, rocketchat, signal, teams, zulip),
    *(whatsapp, memotrace),
)
NAMES = tuple(each.NAME for each in FORMATS)


def with_formats(sources: Iterable[Source], wanted: str, counts: Counter[str]) -> Iterator[tuple[Source, Format]]:
    """Each file that holds anything, with its format; files that do not are counted as ``empty_files``.

    Raises:
        DataError: If a file is in no format, or cannot be read.
    """
    for source in sources:
        head = source.head()
        if head.strip():
            yield source, find_format(source, wanted, head)
        else:
            counts["empty_files"] += 1


def find_format(source: Source, wanted: str = "auto", head: bytes | None = None) -> Format:
    """The format called ``wanted``, or for ``auto`` the first that detects the file's content.

    Args:
        source: The file.
        wanted: One of ``NAMES``, or auto.
        head: The file's head, where it was read already.

    Raises:
        DataError: If no format does.
    """
    if wanted != "auto":
        return FORMATS[NAMES.index(wanted)]
    head = source.head() if head is None else head
    for each in FORMATS:
        if each.detects(source.plain_name, head):
            return each
    raise DataError(
        f"{source}: expected a chat export in one of the formats {', '.join(NAMES)}; got {_looks_like(head)}. "
        f"{_advice(source.plain_name)} or move the file out of the folder."
    )


def _advice(name: str) -> str:
    if name.lower().endswith(TABLES):
        return "If it is a table, name its columns: --format table --column sender=THEIRS and so on;"
    return (
        "Name a format with --format if you know better, turn it into a table (JSON lines or CSV) with the columns "
        "sender, timestamp and text,"
    )


def _looks_like(head: bytes) -> str:
    """Describe the start of an unknown file, in words that hold nothing of what is said in it."""
    start = head.lstrip()
    if start[:1] == b"<":
        return "a web page or XML (export the chat as JSON or plain text instead)"
    if start.startswith(DATABASE):
        return "a database (export the chat with the app, or with a tool that reads its database, as a table)"
    if b"\0" in head:
        return "a binary file"
    if JSON_START.match(start):
        fields = keys_of(head)
        for app, telling in OTHER_APPS.items():
            if telling <= fields:
                return f"what looks like an export of {app}, which is not read"
        # Only names that exports are known to have: in a file of another kind a key could be a person's.
        known = ", ".join(sorted(fields & KNOWN_FIELDS))
        return f"JSON with the fields {known}" if known else "JSON without fields that are known"
    text = head.decode("utf-8", "replace")
    first = next((each for each in text.split("\n") if each.strip()), "")
    return f"text whose first line has the shape {shape_of(first)!r} (9 for a digit, a for letters)"
