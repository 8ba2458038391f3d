"""The identity of messages, known only once every file is read: unique ids, recalls, replies, and the order of rows."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from chatladder.chat.collect import NO_TIME, Index
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import repeated_message


class Identities(NamedTuple):
    """The position and the identity of each collected row; arrays have shape ``(rows,)`` by default."""

    position: np.ndarray  # in the order of messages; -1 for a dropped row
    message_id: np.ndarray  # 64 bits, by position; shape (messages,)
    recalled: np.ndarray  # bool, by position; shape (messages,)
    reply_to: np.ndarray  # 64 bits of the id of the message that it answers, by position; shape (messages,)
    replies: np.ndarray  # bool, by position: True if it answers a known message; shape (messages,)


def identify(index: Index, counts: Counter[str]) -> Identities:
    """Return ids, recalls, replies and order of all collected rows.

    Raises:
        DataError: If two messages of different senders or times have one id.
    """
    keys, kept = _unique_ids(index)
    counts["skipped_duplicate"] += int((~kept).sum())
    order = _time_order(index)
    if not kept.all():
        order = order[kept[order]]
    position = np.full(len(keys), -1, np.int64)
    position[order] = np.arange(len(order))
    ids = keys[order]
    by_id = np.argsort(ids)
    recalled = np.zeros(len(order), bool)
    taken_back = _places(index.recalls, ids, by_id)
    recalled[taken_back[taken_back >= 0]] = True
    rows, answered = index.replies
    rows, answered = rows[kept[rows]], answered[kept[rows]]
    found = _places(answered, ids, by_id)
    known = found >= 0
    # A topic's message may answer one of another topic, which a reader of the group does not see.
    known[known] = index.group[order[found[known]]] == index.group[rows[known]]
    reply_to, replies = np.zeros(len(order), np.uint64), np.zeros(len(order), bool)
    reply_to[position[rows[known]]] = answered[known]
    replies[position[rows[known]]] = True
    counts["recalled"] = int(recalled.sum())
    counts["replies"] = int(known.sum())
    counts["replies_to_unknown"] = int((~known).sum())
    return Identities(position, ids, recalled, reply_to, replies)


def _places(wanted: np.ndarray, ids: np.ndarray, by_id: np.ndarray) -> np.ndarray:
    """Return the index of each wanted id in the ids, which ``by_id`` sorts; -1 if it is missing."""
    if not len(ids):
        return np.full(len(wanted), -1)
    # numpy.isin would hold several copies of all ids.
    found = by_id[np.minimum(np.searchsorted(ids, wanted, sorter=by_id), len(ids) - 1)]
    return np.where(ids[found] == wanted, found, -1)


def _unique_ids(index: Index) -> tuple[np.ndarray, np.ndarray]:
    """Return unique ids of rows, and a mask of the rows to keep, without those that repeat an earlier message.

    An ordinal distinguishes equal messages of one file; the same ordinal in another file is the same message.
    """
    keys = index.key
    kept = np.ones(len(keys), dtype=bool)
    repeated = _repeated(keys)
    if not len(repeated):
        return keys, kept
    keys = keys.copy()
    seen: Counter[tuple[int, int]] = Counter()
    first: dict[int, int] = {}
    recalled = frozenset(index.recalls.tolist())
    for row in repeated.tolist():
        key = int(keys[row])
        if not index.has_own_id[row]:
            place = (int(index.file[row]), key)
            if seen[place]:
                key = repeated_message(key, seen[place])
            seen[place] += 1
        keys[row] = key
        if key in first:
            kept[row] = False
            if key not in recalled:  # a later export may have a recalled message without its sender
                _check_same(index, first[key], row)
        first.setdefault(key, row)
    return keys, kept


def _repeated(keys: np.ndarray) -> np.ndarray:
    """Return the rows whose key another row has too, ascending."""
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    return np.union1d(order[1:][same], order[:-1][same])


def _check_same(index: Index, first: int, row: int) -> None:
    """Refuse an export whose own ids name different messages.

    Raises:
        DataError: If two rows with one id differ in sender or time.
    """
    for name, values in (("sender", index.sender), ("timestamp", index.timestamp)):
        if values[first] != values[row]:
            raise DataError(
                f"{_place(index, row)}: expected message ids to be unique within a group, got the id of "
                f"{_place(index, first)}, which has another {name}. Give each message an id of its own, or none."
            )


def _place(index: Index, row: int) -> str:
    return f"{index.files[index.file[row]]}:{index.line[row]}"


def _time_order(index: Index) -> np.ndarray:
    """Return row numbers by group, then time, then position in the files.

    A row without a time keeps its position: after the previous row of its group and file, or else before the group's
    next row that has a time, or at the group's end.
    """
    if (index.timestamp != NO_TIME).all():
        return np.lexsort((index.timestamp, index.group))  # stable, and rows come by file and line
    order = np.lexsort((index.file, index.group))
    groups, files, rows = index.group[order], index.file[order], np.arange(len(order))
    times = index.timestamp[order]
    timed = times != NO_TIME
    starts = np.ones(len(rows), dtype=bool)
    starts[1:] = (groups[1:] != groups[:-1]) | (files[1:] != files[:-1])
    before = np.maximum.accumulate(np.where(timed | starts, rows, 0))
    after = np.minimum.accumulate(np.where(timed, rows, len(rows) - 1)[::-1])[::-1]
    after_times = np.where((groups[after] == groups) & timed[after], times[after], np.iinfo(np.int64).max)
    placed = np.where(timed[before], times[before], after_times)
    return order[np.lexsort((placed, groups))]


def hex_ids(keys: np.ndarray) -> pa.Array:
    """Return 64-bit numbers as 16 hex digits each."""
    digits = keys.astype(">u8").tobytes().hex().encode()
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, pa.py_buffer(digits)])
    return fixed.cast(pa.binary()).cast(pa.string())
