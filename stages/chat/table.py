"""Plain tables: JSON lines or CSV, for chats from anywhere else.

Columns ``group``, ``sender``, ``timestamp`` (UTC seconds or ISO 8601; may be empty) and ``text``; optional
are ``kind`` (text if empty), ``message_id`` (unique within its group) and ``reply_to`` (such an id). Other
columns are passed over::

    {"group": "helpdesk", "sender": "Ann", "timestamp": 1672531200, "text": "does it run on 8 GB?"}
"""

import csv
import json
from collections.abc import Iterator
from typing import Any

from stages.chat.message import Message, Skipped
from stages.chat.pseudonyms import Pseudonyms
from stages.chat.source import Source
from stages.chat.timestamps import parse_timestamp, resolution
from stages.cli import DataError
from stages.rows import KINDS

NAME = "table"
REQUIRED = ("group", "sender", "timestamp", "text")


def detects(name: str, head: bytes) -> bool:
    """The first line is a JSON object with the required keys, or a CSV header with the required columns."""
    line = head.lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    if not line.startswith("{"):
        return set(REQUIRED) <= set(_cells(line))
    try:
        return set(REQUIRED) <= set(json.loads(line))
    except (ValueError, RecursionError):
        # A first line longer than the head is cut; wrong encodings and damage are parse's to report.
        return all(f'"{name}"' in line for name in REQUIRED) and '"messageType"' not in line


def parse(source: Source, pseudonyms: Pseudonyms) -> Iterator[Message | Skipped]:
    """One Message for each row, Skipped for each blank line (see ``stages.chat.formats``)."""
    rows = _json_rows(source) if source.head().lstrip().startswith(b"{") else _csv_rows(source)
    for line, row in rows:
        yield _message(row, line, source.where(line)) if row is not None else Skipped(line, "blank")


def _message(row: dict[str, Any], line: int, where: str) -> Message:
    missing = [name for name in REQUIRED if name not in row]
    if missing:
        raise DataError(f"{where}: expected {', '.join(REQUIRED)}; missing {', '.join(missing)}.")
    for name in ("group", "sender"):
        if row[name] is None or row[name] == "":
            raise DataError(f"{where}: expected a {name}, got nothing.")
    text = row["text"]
    if not isinstance(text, str):
        raise DataError(f'{where}: expected "text" to be a string, got {type(text).__name__}.')
    kind = row.get("kind") or "text"
    if kind not in KINDS:
        raise DataError(f'{where}: expected "kind" to be one of {", ".join(KINDS)}, got {str(kind)[:40]!r}.')
    return Message(
        line=line,
        group=str(row["group"]),
        sender=str(row["sender"]),
        timestamp=parse_timestamp(row["timestamp"], where),
        kind=kind,
        text=text,
        resolution_seconds=resolution(row["timestamp"]),
        own_id=_own_id(row.get("message_id")),
        reply_to=_own_id(row.get("reply_to")),
    )


def _json_rows(source: Source) -> Iterator[tuple[int, dict[str, Any] | None]]:
    for number, data in source.lines():
        text = source.decode(data, number).strip()
        if not text:
            yield number, None
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            message = f"{source.where(number)}: expected one whole JSON object on the line: {what}."
            raise DataError(message) from error
        if not isinstance(row, dict):
            raise DataError(f"{source.where(number)}: expected a JSON object, got {type(row).__name__}.")
        yield number, row


def _csv_rows(source: Source) -> Iterator[tuple[int, dict[str, Any] | None]]:
    reader = csv.reader((source.decode(data, number) for number, data in source.lines()), strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            if not header:
                header = [cell.strip() for cell in cells]
                _check_header(header, source.where(start))
            elif not cells:
                yield start, None
            elif len(cells) != len(header):
                raise DataError(f"{source.where(start)}: expected {len(header)} cells, got {len(cells)}.")
            else:
                yield start, dict(zip(header, cells, strict=True))
            start = reader.line_num + 1  # a quoted cell may span lines
    except csv.Error as error:
        raise DataError(f"{source.where(start)}: expected CSV: {error}.") from error


def _check_header(header: list[str], where: str) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        names = ", ".join(REQUIRED)
        raise DataError(f"{where}: expected a header with {names}; missing {', '.join(missing)}.")


def _cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    except csv.Error:
        return []


def _own_id(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)
