"""Plain tables: JSON lines, a JSON list, CSV or Parquet, for chats from any other source.

The columns are ``sender``, ``timestamp`` (UTC seconds or ISO 8601; may be empty) and ``text``; optional are ``group``
(by default the file's name), ``kind`` (text if empty), ``message_id`` (unique within its group) and ``reply_to`` (such
an id). ``context.columns`` maps them to the table's own names. Other columns are ignored::

    {"group": "helpdesk", "sender": "Ann", "timestamp": 1672531200, "text": "does it run on 8 GB?"}

Cells of CSV are separated by commas, semicolons, tabs or bars, whichever yields the columns in the header. A time
without an offset is local time of ``context.timezone``. Only tables with the names above are detected; a table with
other names is read if the format is named.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import tzinfo
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from chatladder.chat.formats.csv_rows import check_width, csv_rows, header_cells
from chatladder.chat.formats.json_lines import json_lines
from chatladder.chat.formats.json_stream import elements
from chatladder.chat.formats.times import parse_timestamp, resolution, shape_of
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.io.rows import KINDS

NAME = "table"
LATE_SECONDS = 60
REQUIRED = ("sender", "timestamp", "text")
COLUMNS = ("group", *REQUIRED, "kind", "message_id", "reply_to")
DELIMITERS = (",", ";", "\t", "|")
PARQUET = b"PAR1"
#: A key at the start of a JSON object, or after another value.
KEY = re.compile(r'\s{0,9}[{,]\s{0,9}"([^"\\]{1,99})"\s{0,9}:\s{0,9}')
WORD = re.compile(r"[a-z_]{1,20}")
LIST_OF_OBJECTS = re.compile(r"\[\s{0,99}\{")
DECODER = json.JSONDecoder()

#: Line or record number, and the cells under our names; None for a blank line.
Rows = Iterator[tuple[int, dict[str, Any] | None]]


class Columns(NamedTuple):
    """The names of a table's columns."""

    theirs: Mapping[str, str]  # our name -> the table's name
    mapped: frozenset[str]  # our names that the user mapped, so that the table must have them

    def check(self, found: Collection[str], needed: Iterable[str], where: str) -> None:
        """Refuse a table, or a row of one, that lacks a needed column.

        Args:
            found: The names in the table.
            needed: The columns needed, by our names.
            where: The file and line.

        Raises:
            DataError: With the columns under the table's names.
        """
        names = [self.theirs[name] for name in COLUMNS if name in needed]
        if missing := [name for name in names if name not in found]:
            advice = "" if self.mapped else " If they are called otherwise, map ours to the table's."
            raise DataError(f"{where}: expected the columns {', '.join(names)}; missing {', '.join(missing)}.{advice}")

    def check_header(self, names: list[str], where: str) -> None:
        """Refuse a table that lacks a column, or has a column twice.

        Raises:
            DataError: With the columns.
        """
        self.check(names, {*REQUIRED, *self.mapped}, where)
        if twice := [name for name in self.theirs.values() if names.count(name) > 1]:
            raise DataError(f"{where}: expected each column once; {', '.join(twice)} is there more often.")

    def ours(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the cells of a row that are read, under our names."""
        return {ours: row[theirs] for ours, theirs in self.theirs.items() if theirs in row}


def detects(name: str, head: bytes) -> bool:
    """Return True for Parquet, a JSON object that starts with the required keys, or a CSV header that has them."""
    if head.startswith(PARQUET):
        return True
    text = head.lstrip().decode("utf-8", "replace")
    if LIST_OF_OBJECTS.match(text):
        return set(REQUIRED) <= _top_keys(text[1:].lstrip())[0]
    text = text.partition("\n")[0]
    if not text.startswith("{"):
        return any(set(REQUIRED) <= set(header_cells(text, delimiter)) for delimiter in DELIMITERS)
    keys, whole = _top_keys(text)
    # The line is longer than the head, or damaged, which parse reports.
    return set(REQUIRED) <= keys or (not whole and bool(keys & set(REQUIRED)))


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message for each row, Skipped for each blank line (see ``chatladder.chat.formats``)."""
    if unknown := sorted(set(context.columns) - set(COLUMNS)):
        raise DataError(f"columns: expected to map {', '.join(COLUMNS)}; got {', '.join(unknown)}.")
    columns = Columns({name: context.columns.get(name, name) for name in COLUMNS}, frozenset(context.columns))
    group = PurePosixPath(source.plain_name).stem
    for line, row in _rows(source, columns):
        if row is None:
            yield Skipped(line, "blank")
        else:
            yield _message({"group": group, **row}, line, source.where(line), context.timezone)


def _rows(source: Source, columns: Columns) -> Rows:
    head = source.head()
    if head.startswith(PARQUET):
        from chatladder.chat.formats.parquet import parquet_rows

        return parquet_rows(source, columns)
    return _json_rows(source, columns) if head.lstrip().startswith((b"[", b"{")) else _csv_rows(source, columns)


def _message(row: dict[str, Any], line: int, where: str, timezone: tzinfo) -> Message:
    text = row["text"]
    if not isinstance(text, str):
        advice = " Leave it empty where nothing was written." if text is None else ""
        raise DataError(f'{where}: expected "text" to be a string, got {type(text).__name__}.{advice}')
    kind = row.get("kind") or "text"
    if kind not in KINDS:
        raise DataError(f'{where}: expected "kind" to be one of {", ".join(KINDS)}, got {_word(kind)}.')
    names = {}
    for name in ("group", "sender"):
        names[name] = _name(row[name], name, where)
        if names[name] is None:
            raise DataError(f"{where}: expected a {name}, got nothing. Fill it in, or take the row out.")
    return Message(
        line=line,
        group=names["group"] or "",
        sender=names["sender"] or "",
        timestamp=parse_timestamp(row["timestamp"], where, timezone),
        kind=kind,
        text=text,
        resolution_seconds=resolution(row["timestamp"]),
        own_id=_name(row.get("message_id"), "message_id", where),
        reply_to=_name(row.get("reply_to"), "reply_to", where),
    )


def _word(value: Any) -> str:
    """Return a value that should be one of a few words, for errors; any other value may be a person's text."""
    return repr(value) if isinstance(value, str) and WORD.fullmatch(value) else f"one like {shape_of(str(value))!r}"


def _name(value: Any, column: str, where: str) -> str | None:
    """Return a name or an id as text; None if it is missing.

    Raises:
        DataError: If it is neither text nor a number.
    """
    if value is None or value == "" or value != value:  # pandas writes a missing number as NaN
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f'{where}: expected "{column}" to be a string or a number, got {type(value).__name__}.')
    # If some are missing, pandas turns whole numbers into floats: 12.0 is the id 12.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _json_rows(source: Source, columns: Columns) -> Rows:
    needed: set[str] | None = None
    for number, row in _listed(source) if source.head().lstrip().startswith(b"[") else json_lines(source):
        if row is None:
            yield number, None
            continue
        if needed is None:
            grouped = "group" in columns.mapped or columns.theirs["group"] in row
            needed = {*REQUIRED, "group"} if grouped else {*REQUIRED}
        columns.check(row, needed, source.where(number))
        yield number, columns.ours(row)


def _listed(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) of a file that is one list."""
    for line, row in elements(source):
        if not isinstance(row, dict):
            raise DataError(f"{source.where(line)}: expected a JSON object, got {type(row).__name__}.")
        yield line, row


def _csv_rows(source: Source, columns: Columns) -> Rows:
    names: list[str] = []
    for line, cells in csv_rows(source, _csv_delimiter(source, columns)):
        if not names:
            names = [cell.strip() for cell in cells]
            columns.check_header(names, source.where(line))
        elif not any(cells):  # Excel writes empty rows as delimiters
            yield line, None
        else:
            check_width(cells, names, source.where(line))
            yield line, columns.ours(dict(zip(names, cells, strict=True)))


def _csv_delimiter(source: Source, columns: Columns) -> str:
    """Return the delimiter that divides the first line into the most of our columns."""
    header = source.head().partition(b"\n")[0].decode("utf-8", "replace")
    wanted = set(columns.theirs.values())
    return max(DELIMITERS, key=lambda delimiter: len(wanted.intersection(header_cells(header, delimiter))))


def _top_keys(text: str) -> tuple[set[str], bool]:
    """Return the keys of a JSON object, as far as it can be read, and True if it is complete."""
    keys: set[str] = set()
    try:
        return set(json.loads(text)), True
    except (ValueError, RecursionError):
        position = 0
    while match := KEY.match(text, position):
        keys.add(match[1])
        try:
            position = DECODER.raw_decode(text, match.end())[1]
        except (ValueError, RecursionError):
            break
    return keys, False
