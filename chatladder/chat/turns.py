"""Successive messages of one sender joined into turns.

Two neighbouring texts of one sender in a group join when less than ``gap-seconds`` lie between them. A clock that only
shows minutes cannot resolve 18 seconds: where the source's resolution is coarser than the gap, texts join when they are
at most one step of that clock apart (the same or the next minute).

A run of texts ends at another sender's message. It also ends at an image, file, link or other row, even the sender's
own, since the text after a screenshot is about the screenshot. System rows (joins, recalls) have no author and end
nothing. A reply starts a turn, unless the text before it answers the same message. A text without a time never joins.
Rows that are not text become turns of their own kind.

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
#: The rows of a range, before its ends move to the start of a turn; also the rows that a worker has in memory.
RANGE_ROWS = PART_ROWS
#: The number of turns whose texts are joined together: one array of text has at most 2 GiB.
BATCH_TURNS = 65_536
#: The columns that decide whether a message continues a turn.
DECIDING = ("group", "sender", "timestamp", "resolution_seconds", "kind", "reply_to")
#: The rows read at a time to find a range's first turn, which mostly starts at the second row.
LOOKED_AT = 4096


def merge_stream(parts: Iterable[pa.Table], gap_seconds: int) -> Iterator[pa.Table]:
    """Yield turns of messages that arrive in parts; equal to ``merge`` of all parts, with memory for a part and a turn.

    Yields:
        Rows of ``TURNS``: the turns of a part, except for its last one, which the next part may continue.
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
    """Return the turns of messages; no character and no message is lost.

    Args:
        messages: Rows of ``MESSAGES``, ordered by group and by time within each.
        gap_seconds: Texts of one sender that are closer than this are joined.

    Returns:
        Rows of ``TURNS``, in the order of their first messages. A turn's id is ``t`` followed by the id of its first
        message; its text is the messages' texts, joined by line breaks.
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
    """Return for each row the number of the first row of its turn, which may be the row itself."""
    rows = np.arange(messages.num_rows)
    said = np.flatnonzero(pc.not_equal(messages["kind"], "system").to_numpy())
    starts = ~_continues(messages.take(said), gap_seconds)
    first = rows.copy()
    first[said] = said[np.maximum.accumulate(np.where(starts, rows[: len(said)], 0))]
    return first


def _continues(rows: pa.Table, gap_seconds: int) -> np.ndarray:
    """Return for each row whether it continues the turn of the row before it."""
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
    # Null if either is no reply: then only the first may be one.
    same_reply = pc.equal(before["reply_to"], after["reply_to"]).fill_null(False)
    joined &= pc.or_(after["reply_to"].is_null(), same_reply).to_numpy()
    continues[1:] = joined
    return continues


def merge_range(own: Range, messages: Path, gap_seconds: int) -> Iterator[tuple[pa.Table, int]]:
    """Yield the turns that begin in a range of messages, except one at its start that may have begun earlier.

    That turn belongs to the range before, which reads on until the turn ends. So all ranges together yield the turns of
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
    """Return the first row that starts a turn whatever precedes ``row``; the number of messages if none does.

    That needs an earlier message at or after ``row`` that it does not continue.
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
    """Return turns of rows; turn ``i`` consists of the rows from ``bounds[i]`` to before ``bounds[i + 1]``."""
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
        messages: The Parquet file of ``MESSAGES``.
        gap_seconds: Texts of one sender that are closer than this are joined.
        out: The Parquet file of ``TURNS`` to write.

    Returns:
        The number of rows in and out, of turns by kind, and of characters; joining adds line breaks to these.

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
    """Return the number of characters of all texts."""
    return int(pc.sum(pc.utf8_length(rows["text"]).cast(pa.int64())).as_py() or 0)
