"""Every text in a file of whatever kind, with its place: for searching files, not for understanding them.

What a file is, its first bytes say and not its name, as files in a DVC cache have none. Files are read as a stream.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.chat.source import UNREADABLE, BudgetError, Source

PARQUET, SAFETENSORS, TEXT, OPAQUE = "parquet", "safetensors", "text", "opaque"
HEAD_BYTES = 8192
#: Longer lines are read in pieces of this many bytes.
PIECE = 2**20
#: How much of a piece the next one begins with, so that nothing is cut in two, in characters.
OVERLAP = 256
#: A JSON string without its end is searched once it is this long.
LONGEST_LITERAL = 8 * 2**20
BATCH_ROWS = 4096
#: A safetensors header is JSON; the format's own library takes no longer one.
LONGEST_HEADER = 100_000_000

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)
#: What JSON has between strings.
_PUNCTUATION = re.compile(r"(?:[\s\d{}\[\],:.eE+-]|true|false|null|NaN|Infinity)*")
#: No UTF-8, or a control character other than white space and the styling of IRC.
_STRANGE = re.compile(r"[\ufffd\x00\x01\x04-\x08\x0b\x0e\x10\x12-\x15\x17-\x1c\x1e]")


class Text(NamedTuple):
    """A text and its place."""

    number: int  # line, or row of a table, from 1
    field: str  # column of a table or key of a JSON object; empty if there is none
    text: str


class UnreadableError(Exception):
    """A file that is not what its first bytes promise, or cannot be opened."""


def kind_of(path: Path) -> str:
    """What a file is: parquet, safetensors, text (JSON and compressed text as well) or opaque.

    Raises:
        UnreadableError: If it cannot be read.
    """
    try:
        with path.open("rb") as raw:
            head = raw.read(HEAD_BYTES)
        if head.startswith(b"PAR1"):
            return PARQUET
        if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER:
            return SAFETENSORS
        with Source(path).open() as file:
            head = file.read(HEAD_BYTES)
    except (*UNREADABLE, BudgetError) as error:
        raise UnreadableError from error
    return OPAQUE if b"\0" in head or _mostly_binary(head) else TEXT


def texts(path: Path, kind: str) -> Iterator[Text]:
    """The texts of a file of a kind; an opaque file has none.

    Raises:
        UnreadableError: If the file is damaged.
    """
    try:
        if kind == PARQUET:
            yield from _of_parquet(path)
        elif kind == SAFETENSORS:
            with path.open("rb") as file:
                header = file.read(int.from_bytes(file.read(8), "little"))
            yield from _of_json(1, header.decode("utf-8", "replace"))
        elif kind == TEXT:
            yield from _of_text(path)
    except (*UNREADABLE, BudgetError) as error:
        raise UnreadableError from error


def chunks(path: Path) -> Iterator[bytes]:
    """A file's bytes, each chunk beginning with the end of the one before.

    Raises:
        UnreadableError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(PIECE):
                yield tail + chunk
                tail = chunk[-4 * OVERLAP :]
    except OSError as error:
        raise UnreadableError from error


def _mostly_binary(head: bytes) -> bool:
    """Whether more than a tenth of the characters are no UTF-8 or control characters."""
    text = head.decode("utf-8", "replace")
    strange = sum(
        1 for each in text if each == "\ufffd" or (each < " " and each not in "\t\n\r\f\x02\x03\x0f\x16\x1d\x1f")
    )
    return 10 * strange > len(text)


def _of_parquet(path: Path) -> Iterator[Text]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            for key, value in sorted(metadata.items()):
                yield from _of_json(0, f"{key.decode('utf-8', 'replace')} {value.decode('utf-8', 'replace')}")
            first = 1
            for batch in file.iter_batches(BATCH_ROWS):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    for row, value in enumerate(column.to_pylist(), start=first):
                        for field, text in _strings(value, name):
                            yield Text(row, field, text)
                first += batch.num_rows
    except pa.ArrowException as error:
        raise UnreadableError from error


def _strings(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """The strings in a value of a table, each with the innermost name it has."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, bytes):
        yield field, value.decode("utf-8", "replace")
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner, field)


def _of_text(path: Path) -> Iterator[Text]:
    """Lines as they are, or in JSON (whose strings never span lines) the strings of each."""
    with Source(path).open() as file:
        is_json: bool | None = None
        number = 1
        rest = ""
        while line := file.readline(PIECE):
            piece = line.decode("utf-8", "replace")
            ends = piece.endswith("\n")
            if is_json is None and piece.strip():
                is_json = piece.lstrip("\ufeff \t\r\n").startswith(("{", "["))
            piece = rest + piece
            if is_json and not ends and len(piece) < LONGEST_LITERAL:
                done = max((match.end() for match in _LITERAL.finditer(piece)), default=0)
                piece, rest = piece[:done], piece[done:]
            else:
                rest = "" if ends else piece[-OVERLAP:]
            yield from _of_json(number, piece) if is_json else (Text(number, "", piece),)
            number += ends
        if rest and is_json:  # otherwise it is searched already
            yield from _of_json(number, rest)


def _of_json(number: int, text: str) -> Iterator[Text]:
    """The strings in a stretch of JSON, and whatever else is between them, should it not be JSON."""
    between: list[str] = []
    done = 0
    field = ""
    for match in _LITERAL.finditer(text):
        between.append(text[done : match.start()])
        done = match.end()
        value = _unescaped(match[0])
        if text[done : done + 2].lstrip().startswith(":"):
            field = value
            yield Text(number, "", value)
        else:
            yield Text(number, field, value)
    between.append(text[done:])
    yield from _foreign(number, between)


def _unescaped(literal: str) -> str:
    if "\\" not in literal:
        return literal[1:-1]
    try:
        return str(_DECODER.decode(literal))
    except ValueError:
        return literal[1:-1]


def _foreign(number: int, between: Iterable[str]) -> Iterator[Text]:
    for piece in between:
        if not _PUNCTUATION.fullmatch(piece):
            yield Text(number, "", piece)
