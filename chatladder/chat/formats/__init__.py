"""The chat formats, and detection of the format of a file.

A format is a module with a ``NAME``, ``LATE_SECONDS``, ``detects`` and ``parse`` as below. To add a format, write the
module and list it in ``FORMATS``.
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
        """The seconds by which a message may be older than one before it in the same file.

        An older one is refused as out of order. None if an export's records are not in order of time; ingest sorts them
        anyway.
        """

    def detects(self, name: str, head: bytes) -> bool:
        """Return True if a file of this name (no folders, no compression suffix) and first 64 kB is in the format."""

    def parse(self, source: Source, context: Context) -> Iterator[Message | Skipped]:
        """Yield one Message or Skipped for every record of the file, in the file's order.

        Mentions of people inside texts become ``@<pseudonym> ``. Every other name of a person in the file is reported
        by ``context.know``.

        Raises:
            DataError: With file and line, never with the text of a message.
        """


#: A JSON document, as opposed to a line that starts with a bracket.
JSON_START = re.compile(rb"[\[{]\s*[\[{\]}\"]")
DATABASE = b"SQLite format 3\0"
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
#: Other apps' exports that people try to read, and the fields that identify them.
OTHER_APPS = {
    "Matrix": {"origin_server_ts", "event_id"},
    "Skype or Microsoft Teams": {"userId", "exportDate", "conversations"},
    "Signal": {"backupTimeMs"},
    "signal-cli": {"envelope", "dataMessage"},
}
#: Fields of many exports; only these may be named in an error.
_KNOWN_FIELDS = """
about account actor_id author body channel channels chat chatInfo chats content conversations created_at createdAt data
date date_unixtime email exportDate export_date exportedAt from from_id group guild id members message messageType
messages meta_info metadata name participants platform reply_to room sender sender_name statistics text time timestamp
title topic ts type user userId user_id users version
"""
KNOWN_FIELDS = frozenset(_KNOWN_FIELDS.split())

#: In the order in which they are tried; the first that detects a file reads it.
FORMATS: tuple[Format, ...] = (
    *(chatlab, chatlog, pywxdump, qq_chat_exporter, weflow),
    *(table, wechat, telegram, discord, slack, irc, qq),
    *(discord_csv, google_chat, kakaotalk, line, matrix, mattermost, meta, rocketchat, signal, teams, zulip),
    *(whatsapp, memotrace),
)
NAMES = tuple(each.NAME for each in FORMATS)


def with_formats(sources: Iterable[Source], wanted: str, counts: Counter[str]) -> Iterator[tuple[Source, Format]]:
    """Yield each file that is not empty, with its format; empty files are counted as ``empty_files``.

    Raises:
        DataError: If a file is in none of the formats, or cannot be read.
    """
    for source in sources:
        head = source.head()
        if head.strip():
            yield source, find_format(source, wanted, head)
        else:
            counts["empty_files"] += 1


def find_format(source: Source, wanted: str = "auto", head: bytes | None = None) -> Format:
    """Return the format called ``wanted``, or for ``auto`` the first that detects the file's content.

    Args:
        source: The file.
        wanted: One of ``NAMES``, or auto.
        head: The file's first bytes, if they were read already.

    Raises:
        DataError: If none of the formats detects it.
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
        return (
            "If it is a table, set ingest.format: table, and name its columns with ingest.column: [sender=THEIRS, ...] "
            "(chatladder resolve: --format table --column sender=THEIRS),"
        )
    return (
        "Set ingest.format if you know its format (chatladder resolve: --format), convert it to a table (JSON lines or "
        "CSV) with the columns sender, timestamp and text,"
    )


def _looks_like(head: bytes) -> str:
    """Describe the start of an unknown file without quoting any of its content."""
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
        # Only names known from exports: in another kind of file a key could be a person's name.
        known = ", ".join(sorted(fields & KNOWN_FIELDS))
        return f"JSON with the fields {known}" if known else "JSON without fields that are known"
    text = head.decode("utf-8", "replace")
    first = next((each for each in text.split("\n") if each.strip()), "")
    return f"text whose first line has the shape {shape_of(first)!r} (9 for a digit, a for letters)"
