"""Messages of all formats gathered into columns: named by pseudonyms, masked, hashed, checked for order."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from stages.chat import masking
from stages.chat.message import Message, Skipped
from stages.chat.pseudonyms import Pseudonyms
from stages.chat.source import Source
from stages.cli import DataError
from stages.rows import MESSAGES

#: How much older than one before it a message may be within a file, in seconds.
LATE_SECONDS = 60
BATCH_ROWS = 65_536
#: A row as it is collected: ids are 64-bit hashes until all files are read.
COLLECTED = pa.schema(
    [
        ("key", pa.uint64()),
        ("has_own_id", pa.bool_()),
        ("file", pa.int32()),
        ("reply_key", pa.uint64()),
        ("recalls_key", pa.uint64()),
        *(MESSAGES.field(name) for name in MESSAGES.names if name not in ("message_id", "reply_to")),
    ]
)


class Collector:
    """Collects messages by the column, so that memory grows by a compact row and not by objects."""

    def __init__(self, pseudonyms: Pseudonyms, masked: Counter[str], counts: Counter[str]) -> None:
        self._pseudonyms = pseudonyms
        self._masked = masked
        self._counts = counts
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[tuple[Any, ...]] = []

    def read(self, items: Iterator[Message | Skipped], source: Source, file: int, progress: tqdm) -> None:
        """Take one file's records, checking that time does not run backwards within a group."""
        latest: dict[str, int] = {}
        for item in items:
            self._counts["raw_lines"] += 1
            if isinstance(item, Skipped):
                self._counts[f"skipped_{item.reason}"] += 1
                continue
            if item.timestamp is not None:
                self._check_order(item, latest, source)
            self._rows.append(self._row(item, source, file))
            if len(self._rows) == BATCH_ROWS:
                progress.update(len(self._rows))
                self._flush()

    def table(self) -> pa.Table:
        """Everything read so far, as ``COLLECTED``; it is handed over, not kept."""
        self._flush()
        batches, self._batches = self._batches, []
        return pa.Table.from_batches(batches, schema=COLLECTED)

    def _check_order(self, item: Message, latest: dict[str, int], source: Source) -> None:
        timestamp = item.timestamp or 0
        before = latest.get(item.group, timestamp)
        if timestamp < before:
            self._counts["late"] += 1
            if before - timestamp > LATE_SECONDS:
                raise DataError(
                    f"{source.where(item.line)}: expected messages in the order of time, got one that is "
                    f"{before - timestamp} s older than one before it in its group ({LATE_SECONDS} s are "
                    "allowed). Sort the export by time."
                )
        latest[item.group] = max(before, timestamp)

    def _row(self, item: Message, source: Source, file: int) -> tuple[Any, ...]:
        group = self._pseudonyms.group(item.group)
        sender = self._pseudonyms.person(item.sender)
        text, damaged = _valid_text(item.text)
        text = masking.mask(text, self._masked)
        self._counts["damaged"] += item.damaged or damaged
        if item.own_id is not None:
            key = message_hash(group, item.own_id)
        else:
            # Without a time, equal rows of two files are not known to be one message.
            time = source.plain_name if item.timestamp is None else str(item.timestamp)
            key = message_hash(group, sender, time, text)
        return (
            key,
            item.own_id is not None,
            file,
            None if item.reply_to is None else message_hash(group, item.reply_to),
            None if item.recalls is None else message_hash(group, item.recalls),
            group,
            sender,
            item.timestamp,
            item.resolution_seconds,
            item.kind,
            text,
            f"{source.name}:{item.line}",
        )

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, COLLECTED, strict=True)]
            self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=COLLECTED))
            self._rows = []


def message_hash(*parts: str) -> int:
    """64 bits that are the same for the same parts on every machine."""
    data = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _valid_text(text: str) -> tuple[str, bool]:
    """Text that UTF-8 can hold, and whether it had to change: JSON escapes can hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False
