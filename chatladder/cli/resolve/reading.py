"""New messages as the questions of the pipeline: masked, merged into turns, each with the window before it.

The pipeline's own code reads, masks, merges and finds conversations, from one stage to the next in this process, so a
model sees the form that it was trained on. Only texts that wait to be sorted are on disk, masked except for names, in
files without a name that vanish with the process.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatladder.chat.formats.parquet import check_size
from chatladder.chat.messages import Reading, nothing_read
from chatladder.chat.options import ExportOptions
from chatladder.chat.source import Source
from chatladder.chat.turns import merge_stream
from chatladder.cli.answering import passing_key
from chatladder.cli.export.record import Settings
from chatladder.distributed import LocalWorkers
from chatladder.io.console import DataError
from chatladder.io.rows import QUESTIONS, TURNS, Rows
from chatladder.judges.rules import score_text
from chatladder.judges.texts import ADDRESSED
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.questions.conversations import Conversations, Reach
from chatladder.questions.picking import count_reasons

_PARQUET = b"PAR1"
#: Columns that must have a value in every row.
_FILLED = {
    "questions": ("item_id", "turn_id", "sender", "text", "window"),
    "turns": ("turn_id", "group", "sender", "kind"),
}


class Asked(NamedTuple):
    """One message, or several that make one turn."""

    row: dict[str, Any]  # of QUESTIONS
    place: dict[str, Any]  # what identifies it: its sender and text, and its ids in a file that has them


def read_asked(
    path: Path,
    settings: Settings,
    options: ExportOptions,
    counts: Counter[str],
    *,
    questions_only: bool,
    lists: Path | None = None,
) -> Iterator[Asked]:
    """Yield all questions to answer, by group and then by time.

    Args:
        path: A chat in any format that ingest reads, or a parquet file of TURNS or QUESTIONS.
        settings: The settings of turns and windows.
        options: The settings for reading a chat.
        counts: Gains ``turns``, and the number of turns left out for each reason.
        questions_only: True to leave out turns that the judge of rules does not take for questions.
        lists: Folder of ``*.deny`` and ``*.keep``.

    Raises:
        DataError: If the file cannot be read, or holds no message.
    """
    names = _parquet_columns(path)
    if set(QUESTIONS.names) <= names:
        yield from _questions(Rows(path, QUESTIONS), counts)
    elif set(TURNS.names) <= names:
        parts = (_filled(part, "turns", path) for part in Rows(path, TURNS).parts())
        for row in _of_turns(parts, settings, counts, questions_only):
            yield Asked(row, {"turn_id": row["turn_id"], **_said(row)})
    else:
        reading = Reading(Pseudonyms(passing_key()), options, lists, Path(tempfile.gettempdir()))
        yield from _of_chat(path, reading, settings, counts, questions_only)


def _of_chat(
    path: Path, reading: Reading, settings: Settings, counts: Counter[str], questions_only: bool
) -> Iterator[Asked]:
    pool = LocalWorkers()
    reading.read([Source(path)], pool)
    for row in _of_turns(merge_stream(reading.messages(pool), settings.gap_seconds), settings, counts, questions_only):
        yield Asked(row, _said(row))
    counts.update({name: count for name, count in reading.counts.items() if name.startswith("skipped_") and count})
    if not counts["turns"]:
        raise nothing_read(path, reading.counts)


def _of_turns(
    parts: Iterable[pa.Table], settings: Settings, counts: Counter[str], questions_only: bool
) -> Iterator[dict[str, Any]]:
    """Yield rows of QUESTIONS for the turns to answer, conversation by conversation."""
    reach = Reach(**{each.name: getattr(settings, each.name) for each in fields(Reach)})
    conversations = Conversations(reach)
    for part in parts:
        counts["turns"] += part.num_rows
        kept, left_out = count_reasons(_reasons(part, settings, questions_only), part.num_rows)
        counts.update({f"left_out_{reason}": count for reason, count in left_out.items()})
        yield from conversations.take(part, kept).to_pylist()
    yield from conversations.finish().to_pylist()


def _said(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in ("sender", "text")}


def _reasons(part: pa.Table, settings: Settings, questions_only: bool) -> dict[str, np.ndarray]:
    """Return the reasons to leave turns out, each bool of shape ``(turns,)``."""
    texts = part["text"].fill_null("")
    reasons = {
        "not_text": pc.not_equal(part["kind"], "text").to_numpy(),
        "empty": pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0).to_numpy(),
    }
    return reasons | no_question(texts, settings) if questions_only else reasons


def no_question(texts: pa.ChunkedArray, settings: Settings) -> dict[str, np.ndarray]:
    """Return the reasons not to take texts for questions, by the judge of rules, each bool of shape ``(texts,)``."""
    said = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, ADDRESSED, ""))
    scores = np.array([score_text(text) for text in texts.to_pylist()], np.float32)
    return {
        "too_short": pc.less(pc.utf8_length(said), settings.min_characters).to_numpy(),
        "below_rules": scores < settings.rules_threshold,
    }


def _questions(rows: Rows, counts: Counter[str]) -> Iterator[Asked]:
    for part in rows.parts():
        counts["turns"] += part.num_rows
        for row in _filled(part, "questions", rows.path).to_pylist():
            yield Asked(row, {"item_id": row["item_id"], "turn_id": row["turn_id"], **_said(row)})


def _filled(part: pa.Table, kind: str, path: Path) -> pa.Table:
    """Refuse rows that lack a required value.

    Raises:
        DataError: If there are some; the error names the columns.
    """
    empty = [name for name in _FILLED[kind] if part[name].null_count]
    if "window" in _FILLED[kind]:
        said = pc.list_flatten(part["window"])
        empty += [f"window.{name}" for name in ("sender", "text") if pc.struct_field(said, name).null_count]
    if empty:
        raise DataError(f"{path}: expected a value in every row, got none in {', '.join(empty)}. Write it again.")
    return part


def _parquet_columns(path: Path) -> set[str]:
    """Return the names of a parquet file's columns; empty for any other file."""
    try:
        with path.open("rb") as file:
            if file.read(len(_PARQUET)) != _PARQUET:
                return set()
        with path.open("rb") as file, pq.ParquetFile(path) as table:
            check_size(Source(path), file, table.metadata)
            return set(table.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: expected a parquet file that can be read, got a damaged one.") from error
