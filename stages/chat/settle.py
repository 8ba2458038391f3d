"""What can only be settled once every file is read: unique ids, recalls, replies, and the order of rows."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.chat.collect import BATCH_ROWS, COLLECTED, message_hash
from stages.cli import DataError
from stages.rows import MESSAGES


def settle(table: pa.Table, counts: Counter[str]) -> pa.Table:
    """Settle ids, recalls and order of everything that was collected."""
    keys, kept = _settle_ids(table)
    counts["skipped_duplicate"] += int((~kept).sum())
    if not kept.all():
        table, keys = table.filter(pa.array(kept)), keys[kept]
    table = _take_back_recalled(table, keys, counts)
    replies = np.isin(_numbers(table["reply_key"]), keys) & ~_nulls(table["reply_key"])
    counts["replies"] = int(replies.sum())
    counts["replies_to_unknown"] = table.num_rows - table["reply_key"].null_count - counts["replies"]
    order = _time_order(table)
    columns = {name: _taken(table[name], order) for name in MESSAGES.names if name in COLLECTED.names}
    columns["message_id"] = _hex(keys[order])
    reply_to = _hex(_numbers(table["reply_key"])[order])
    columns["reply_to"] = pc.if_else(pa.array(replies[order]), reply_to, pa.scalar(None, pa.string()))
    return pa.table({name: columns[name] for name in MESSAGES.names}, schema=MESSAGES)


def _settle_ids(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Unique ids of rows, and which rows are kept: not those that repeat a message of before.

    Equal messages of one file are told apart by an ordinal; the same ordinal in another file is the same
    message.
    """
    keys = _numbers(table["key"])
    kept = np.ones(len(keys), dtype=bool)
    _, inverse, occurrences = np.unique(keys, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(occurrences[inverse] > 1)
    if not len(repeated):
        return keys, kept
    keys = keys.copy()
    has_own_id = table["has_own_id"].to_numpy()
    files = table["file"].to_numpy()
    seen: Counter[tuple[int, int]] = Counter()
    first: dict[int, int] = {}
    for row in repeated.tolist():
        key = int(keys[row])
        if not has_own_id[row]:
            place = (int(files[row]), key)
            if seen[place]:
                key = message_hash(str(key), str(seen[place]))
            seen[place] += 1
        keys[row] = key
        if key in first:
            kept[row] = False
            _check_same(table, first[key], row)
        first.setdefault(key, row)
    return keys, kept


def _check_same(table: pa.Table, first: int, row: int) -> None:
    """Refuse an export whose own ids name different messages.

    Raises:
        DataError: If two rows with one id differ in sender or time.
    """
    for name in ("sender", "timestamp"):
        if table[name][first] != table[name][row]:
            raise DataError(
                f"{table['source'][row]}: expected message ids to be unique within a group, got the id of "
                f"{table['source'][first]}, which has another {name}."
            )


def _take_back_recalled(table: pa.Table, keys: np.ndarray, counts: Counter[str]) -> pa.Table:
    """Recalled messages become system rows without text: who took their words back has taken them back."""
    named = table["recalls_key"].drop_null()
    recalled = np.isin(keys, _numbers(named))
    counts["recalled"] = int(recalled.sum())
    if not recalled.any():
        return table
    for name, value in (("kind", "system"), ("text", "")):
        column = pc.if_else(pa.array(recalled), pa.scalar(value), table[name])
        table = table.set_column(table.column_names.index(name), COLLECTED.field(name), column)
    return table


def _time_order(table: pa.Table) -> np.ndarray:
    """Row numbers by group, then time, then place.

    A row without a time keeps its place: after the row before it in its group and file, or where there is
    none, before the group's next row that has a time, or at the group's end.
    """
    codes, files = _codes(table["group"]), table["file"].to_numpy()
    order = np.lexsort((files, codes))
    codes, files, rows = codes[order], files[order], np.arange(len(order))
    times = table["timestamp"].fill_null(-1).to_numpy()[order]
    starts = np.ones(len(rows), dtype=bool)
    starts[1:] = (codes[1:] != codes[:-1]) | (files[1:] != files[:-1])
    before = np.maximum.accumulate(np.where((times >= 0) | starts, rows, 0))
    after = np.minimum.accumulate(np.where(times >= 0, rows, len(rows) - 1)[::-1])[::-1]
    after_times = np.where((codes[after] == codes) & (times[after] >= 0), times[after], np.iinfo(np.int64).max)
    placed = np.where(times[before] >= 0, times[before], after_times)
    return order[np.lexsort((placed, codes))]


def _codes(names: pa.ChunkedArray) -> np.ndarray:
    """Numbers that order as the names do."""
    encoded = names.combine_chunks().dictionary_encode()
    ranks = np.argsort(np.argsort(np.asarray(encoded.dictionary.to_pylist())))
    return ranks[encoded.indices.to_numpy()]


def _taken(column: pa.ChunkedArray, order: np.ndarray) -> pa.ChunkedArray:
    """Rows in order, a batch at a time: one array of text could pass the 2 GiB that its offsets can count."""
    if np.array_equal(order, np.arange(len(order))):  # most exports are in order: save the copy
        return column
    slices = [order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS)]
    return pa.chunked_array([chunk for rows in slices for chunk in column.take(rows).chunks], column.type)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.fill_null(0).to_numpy() if len(column) else np.zeros(0, dtype=np.uint64)


def _nulls(column: pa.ChunkedArray) -> np.ndarray:
    return column.is_null().to_numpy()


def _hex(keys: np.ndarray) -> pa.Array:
    """64-bit numbers as 16 hex digits each."""
    digits = keys.astype(">u8").tobytes().hex().encode()
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, pa.py_buffer(digits)])
    return fixed.cast(pa.binary()).cast(pa.string())
