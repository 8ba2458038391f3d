"""Successive messages of one sender joined into turns.

Two neighbouring texts of one sender in a group join when less than ``gap-seconds`` lie between them. A clock
that only shows minutes cannot tell 18 seconds: where the source's resolution is coarser than the gap, texts
join when they are at most one step of that clock apart (the same or the next minute).

What breaks a run: another sender's message, and an image, file, link or other row, even the sender's own,
since what follows a screenshot is said about it. System rows (joins, recalls) are said by nobody and break
nothing. A text that answers another message than the one before it starts a turn. A text without a time never
joins. Rows that are not text stay turns of their own kind.

Source: section 3.1 of arXiv 2405.02817; 18 s is the value of its published scripts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.distributed import Range, RowRange, cut_evenly, workers
from chatladder.io.rows import KINDS, MESSAGES, PART_ROWS, TURNS, Rows, row_writer

JOINER = "\n"
#: Rows of a range, before its ends are moved to where a turn begins. A worker holds so many at once.
RANGE_ROWS = PART_ROWS
#: Texts of this many turns are brought together at once: one array of text holds 2 GiB at most.
BATCH_TURNS = 65_536
#: What decides whether a message continues a turn.
DECIDING = ("group", "sender", "timestamp", "resolution_seconds", "kind", "reply_to")
#: Rows that are looked at together where a range's first turn is sought: it is mostly the second row's.
LOOKED_AT = 4096


def merge_stream(parts: Iterable[pa.Table], gap_seconds: int) -> Iterator[pa.Table]:
    """Turns of messages that come in parts; equal to ``merge`` of all of them, with memory for a part and a turn.

    Yields:
        Rows of ``TURNS``: what a part of the messages makes, but for its last turn, which the next may continue.
    """
    waiting = MESSAGES.empty_table()
    for part in parts:
        rows = pa.concat_tables([waiting, part])
        first = first_rows(rows, gap_seconds)
        said = np.flatnonzero(pc.not_equal(rows["kind"], "system").to_numpy())
        cut = first[said[-1]] if len(said) else rows.num_rows
        yield merge(rows.slice(0, cut), gap_seconds)
        waiting = rows.slice(cut)
    yield merge(waiting, gap_seconds)


def merge(messages: pa.Table, gap_seconds: int) -> pa.Table:
    """Turns of messages; no character and no message is lost.

    Args:
        messages: Rows of ``MESSAGES``, by group and in the order of time within each.
        gap_seconds: Texts of one sender that are closer than this join.

    Returns:
        Rows of ``TURNS``, in the order of their first messages. A turn's id is ``t`` and the id of its first
        message, its text the messages' texts with a line break between.
    """
    first = first_rows(messages, gap_seconds)
    order = np.argsort(first, kind="stable")
    starts = np.append(np.flatnonzero(np.diff(first[order], prepend=-1)), len(order))
    batches = []
    for begin in range(0, len(starts) - 1, BATCH_TURNS):
        bounds = starts[begin : begin + BATCH_TURNS + 1]
        rows = messages.take(order[bounds[0] : bounds[-1]])
        batches.append(_turns(rows.combine_chunks(), bounds - bounds[0]))
    return pa.concat_tables(batches) if batches else TURNS.empty_table()


def first_rows(messages: pa.Table, gap_seconds: int) -> np.ndarray:
    """For each row, the number of the first row of its turn; a row that stands alone has its own."""
    rows = np.arange(messages.num_rows)
    said = np.flatnonzero(pc.not_equal(messages["kind"], "system").to_numpy())
    starts = ~_continues(messages.take(said), gap_seconds)
    first = rows.copy()
    first[said] = said[np.maximum.accumulate(np.where(starts, rows[: len(said)], 0))]
    return first


def _continues(rows: pa.Table, gap_seconds: int) -> np.ndarray:
    """Whether each row is part of the turn of the row before it."""
    continues = np.zeros(rows.num_rows, dtype=bool)
    if rows.num_rows < 2:
        return continues
    before, after = rows.slice(0, rows.num_rows - 1), rows.slice(1)
    resolution = np.maximum(*(_whole(each["resolution_seconds"], 1) for each in (before, after)))
    apart = _whole(after["timestamp"], 0) - _whole(before["timestamp"], 0)
    joined = (apart < gap_seconds) | ((resolution > gap_seconds) & (apart <= resolution))
    for each in (before, after):
        joined &= pc.equal(each["kind"], "text").to_numpy() & each["timestamp"].is_valid().to_numpy()
    for name in ("group", "sender"):
        joined &= pc.equal(before[name], after[name]).to_numpy()
    # Null where either answers nothing: then the second must be the one.
    same_reply = pc.equal(before["reply_to"], after["reply_to"]).fill_null(False)
    joined &= pc.or_(after["reply_to"].is_null(), same_reply).to_numpy()
    continues[1:] = joined
    return continues


def merge_range(own: Range, messages: Path, gap_seconds: int) -> Iterator[tuple[pa.Table, int]]:
    """The turns that begin in a range of messages, but for the one at its start that others may have begun before.

    That one is the range's before, which reads on until it has ended. So the turns of all ranges are those of
    ``merge``, each once.

    Yields:
        Rows of ``TURNS``, and the number of characters that were read for them.
    """
    start = next_start(messages, own.start, gap_seconds) if own.start else 0
    rows = RowRange(messages, MESSAGES, start, next_start(messages, own.stop, gap_seconds))
    read: list[int] = []

    def counted() -> Iterator[pa.Table]:
        for part in rows.parts():
            read.append(characters(part))
            yield part

    for turns in merge_stream(counted(), gap_seconds):
        yield turns, sum(read)
        read.clear()


def next_start(messages: Path, row: int, gap_seconds: int) -> int:
    """The first message that starts a turn whatever stands before ``row``; the number of messages if there is none.

    Someone must have said something from ``row`` on which it does not continue.
    """
    rest = RowRange(messages, MESSAGES, row)
    said, numbers = MESSAGES.empty_table().select(DECIDING), np.zeros(0, np.int64)
    position = rest.start
    for part in rest.parts(DECIDING, LOOKED_AT):
        own = np.flatnonzero(pc.not_equal(part["kind"], "system").to_numpy())
        rows = pa.concat_tables([said, part.take(own)])
        numbers = np.append(numbers, own + position)
        starts = np.flatnonzero(~_continues(rows, gap_seconds)[1:]) + 1
        if len(starts):
            return int(numbers[starts[0]])
        said, numbers = rows.slice(max(0, rows.num_rows - 1)), numbers[-1:]
        position += part.num_rows
    return rest.stop


def _whole(column: pa.ChunkedArray, missing: int) -> np.ndarray:
    values: np.ndarray = column.fill_null(missing).to_numpy()
    return values


def _turns(rows: pa.Table, bounds: np.ndarray) -> pa.Table:
    """Turns of rows, of which turn ``i`` has those from ``bounds[i]`` to before ``bounds[i + 1]``."""
    texts, ids = (
        pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), rows[name].combine_chunks())
        for name in ("text", "message_id")
    )
    first = rows.take(bounds[:-1])
    columns = {name: first[name] for name in ("group", "sender", "timestamp", "kind", "reply_to")}
    columns["turn_id"] = pc.binary_join_element_wise("t", first["message_id"], "")
    columns["text"] = pc.binary_join(texts, JOINER)
    columns["message_ids"] = ids
    return pa.table({name: columns[name] for name in TURNS.names}, schema=TURNS)


def merge_file(messages: Path, gap_seconds: int, out: Path) -> dict[str, int]:
    """Write the turns of a file of messages.

    Args:
        messages: Parquet file of ``MESSAGES``.
        gap_seconds: Texts of one sender that are closer than this join.
        out: Parquet file of ``TURNS`` to write.

    Returns:
        Rows in and out, turns by kind, and characters, of which the joined line breaks are new.

    Raises:
        DataError: If the file cannot be read.
    """
    rows = Rows(messages, MESSAGES)
    kinds: Counter[str] = Counter()
    characters_in = characters_out = 0
    with workers() as pool, row_writer(out, TURNS) as writer:
        ranges = cut_evenly(rows.num_rows, pool.share(RANGE_ROWS))
        for turns, read in chain.from_iterable(pool.map(merge_range, ranges, messages.resolve(), gap_seconds)):
            kinds.update({each["values"]: each["counts"] for each in pc.value_counts(turns["kind"]).to_pylist()})
            characters_in += read
            characters_out += characters(turns)
            writer.write(turns)
    return {
        "messages": rows.num_rows,
        "turns": kinds.total(),
        **{f"turns_{kind}": kinds[kind] for kind in KINDS},
        "joined": rows.num_rows - kinds.total(),
        "characters_in": characters_in,
        "characters_out": characters_out,
    }


def characters(rows: pa.Table) -> int:
    """The number of characters of all texts."""
    return int(pc.sum(pc.utf8_length(rows["text"]).cast(pa.int64())).as_py() or 0)
