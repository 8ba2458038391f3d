"""DiscordChatExporter's CSV, one file for a channel, a thread, or a part of one.

The columns are those of its writer (https://github.com/Tyrrrz/DiscordChatExporter,
DiscordChatExporter.Core/Exporting/CsvMessageWriter.cs)::

    AuthorID,Author,Date,Content,Attachments,Reactions
    "400","ann#0000","2023-01-01T10:00:00.1230000+01:00","@Bob hi","https://cdn/a.png","👍 (1)"

A group is the channel, by the id that the exporter puts into the file's name (``Club - Text - help [2].csv``), so it
equals the group of the same channel's JSON. Messages have no ids: replies are not exported, bots look like people, and
notices (somebody joined) are read as texts. The JSON export has all of that.

Dates are ISO 8601. Older versions write them in the computer's or a chosen locale, as ``01-Jan-20 01:33 AM`` or in
numbers, whose order is decided from the whole file.
"""

import re
from collections.abc import Iterator
from datetime import datetime, time
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from chatladder.chat.formats.csv_rows import has_columns, named_rows
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import LocalClock, parse_timestamp, shape_of
from chatladder.chat.formats.whatsapp_headers import Dates, read_date
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError

NAME = "discord_csv"
LATE_SECONDS = None
COLUMNS = ("Author", "Date", "Content", "Attachments")
CHANNEL = re.compile(r"\[(\d{1,20})\](?: \[part \d{1,4}\])?\.csv", re.IGNORECASE)
ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]")
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?:\s?(?P<half>[AaPp]\.?[Mm]\.?))?"
LOCAL = re.compile(rf"(?P<a>\d{{1,4}})[-./](?P<b>\d{{1,2}}|[A-Z][a-z]{{2}})[-./](?P<c>\d{{1,4}}),?\s{_CLOCK}")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DISCRIMINATOR = re.compile(r"#\d{4}$")
EVERYBODY = re.compile(r"(?<![\w@])@(?:everyone|here)(?!\w) ?")


def detects(name: str, head: bytes) -> bool:
    """Return True for the exporter's header."""
    return has_columns(head, *COLUMNS)


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message for each row (see ``chatladder.chat.formats``)."""
    dates = _Dates(source, context)
    people = People(context)
    channel = CHANNEL.search(source.plain_name)
    group = channel[1] if channel else PurePosixPath(source.plain_name).stem
    for line, cells in named_rows(source, COLUMNS):
        if cells is None:
            yield Skipped(line, "blank")
            continue
        name = DISCRIMINATOR.sub("", cells["Author"].strip())
        sender = cells.get("AuthorID", "").strip() or name
        if not sender:
            yield Skipped(line, "no_sender")
            continue
        people.meet(sender, name)
        kind, text = "text", EVERYBODY.sub("@all ", cells["Content"])
        if not text.strip():
            links = filter(None, cells["Attachments"].split(","))
            kind, text = kind_of_files([PurePosixPath(_path(link)).name for link in links])
        seconds, resolution = dates.seconds(cells["Date"].strip(), line)
        yield Message(line, group, sender, seconds, kind, text, resolution)


def _path(link: str) -> str:
    try:
        return urlsplit(link.strip()).path
    except ValueError:  # brackets that are not an address
        return ""


class _Dates:
    """The times of one file; the order of day, month and year is decided from all of them."""

    def __init__(self, source: Source, context: Context) -> None:
        self._source = source
        self._timezone = context.timezone
        self._clock = LocalClock(context.timezone)
        dates = Dates(())
        self._order = ""
        is_local = False
        for line, cells in named_rows(source, COLUMNS):
            if cells and (match := LOCAL.fullmatch(cells["Date"].strip())):
                is_local = dates.add(_parts(match), line) or is_local
        if is_local:
            self._order = dates.order(context.date_order, source.where)

    def seconds(self, text: str, line: int) -> tuple[int | None, int]:
        """Return the UTC seconds of a date, and its resolution."""
        where = self._source.where(line)
        match = LOCAL.fullmatch(text)
        if match is None or ISO.match(text):
            return parse_timestamp(text, where, self._timezone), 1
        day = read_date(_parts(match), self._order)
        hour, half = int(match["hour"]), (match["half"] or "").lower()[:1]
        if half and hour <= 12:
            hour = hour % 12 + (12 if half == "p" else 0)
        if day is None or hour > 23:
            raise DataError(
                f"{where}: expected a date, got one like {shape_of(text)!r} (9 for a digit, a for letters)."
            )
        moment = datetime.combine(day, time(hour, int(match["minute"]), int(match["second"] or 0)))
        return self._clock.seconds(moment), 1 if match["second"] else 60


def _parts(match: re.Match[str]) -> tuple[str, str, str]:
    """Return the parts of a date in their order; a month's name is always second, so only the day can be first."""
    a, b, c = match.group("a", "b", "c")
    if b not in MONTHS:
        return a, b, c
    return a, str(MONTHS.index(b) + 1), c if len(c) == 4 else f"20{c}"
