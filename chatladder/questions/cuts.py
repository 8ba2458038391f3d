"""Where turns can be cut so that the conversations of either side know nothing of the other.

That is before a turn

- of another group than the one before it; or
- after a silence that ends a conversation, if no turn from there on answers one before it (then it would belong to that
  one's conversation, with that one in its window), and every turn before it in its group has a time (a turn without
  one is told from its equals by how many came before, however long ago).

Only turns that are shown count; see ``chatladder.questions.conversations``.
"""

from array import array
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.io.rows import TURNS
from chatladder.questions.conversations import SHOWN, Reach, rows_of_messages


class Cuts:
    """Takes the turns of a file part by part, and then says where it can be cut."""

    #: Of ``TURNS``, what is looked at.
    COLUMNS: ClassVar = ("group", "timestamp", "kind", "reply_to", "message_ids")

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        #: Rows where a cut may be, and pairs of rows (a turn, one that answers it) that no cut may part.
        self._places, self._parents, self._answers = array("q"), array("q"), array("q")
        self._rows = 0
        #: Turns that a later one may answer: TURNS of COLUMNS, their rows and their times.
        self._past = TURNS.empty_table().select(self.COLUMNS), np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._timed = True  # whether every turn so far of the last group has a time

    def take(self, turns: pa.Table) -> None:
        """Take some turns: of rows of ``TURNS`` ``COLUMNS``."""
        shown = np.flatnonzero(pc.is_in(turns["kind"], value_set=pa.array(SHOWN)).to_numpy())
        new, rows = turns.take(pa.array(shown)), shown + self._rows
        self._rows += turns.num_rows
        if not len(rows):
            return
        past, past_rows, past_at = self._past
        known, rows = pa.concat_tables([past, new]), np.append(past_rows, rows)
        at = np.append(past_at, _times(new["timestamp"], int(past_at[-1]) if len(past_at) else 0))
        self._find_places(known, rows, at, len(past_rows))
        self._find_answers(known, rows, at, len(past_rows))
        near = pc.equal(known["group"], known["group"][-1]).to_numpy() & (at >= at[-1] - self._reach.reply_reach)
        self._past = known.filter(pa.array(near)).combine_chunks(), rows[near], at[near]

    def places(self) -> np.ndarray:
        """Rows before which the file can be cut, ascending."""
        places, parents, answers = (np.array(each, np.int64) for each in (self._places, self._parents, self._answers))
        # A pair parts no places up to the answered turn, and none after the answer.
        over = np.zeros(len(places) + 1, np.int64)
        np.add.at(over, np.searchsorted(places, parents, side="right"), 1)
        np.add.at(over, np.searchsorted(places, answers, side="right"), -1)
        uncrossed: np.ndarray = places[np.cumsum(over[:-1]) == 0]
        return uncrossed

    def _find_places(self, known: pa.Table, rows: np.ndarray, at: np.ndarray, new: int) -> None:
        """Places among the turns from row ``new`` of those known on; the last turn of the past is before them."""
        group = known["group"].combine_chunks().dictionary_encode().indices.to_numpy()
        timed = known["timestamp"].is_valid().to_numpy()
        begins = np.diff(group, prepend=-1) != 0
        begins[0] = not new  # what is known of the past is never its group's first turn but at the file's start
        silent = np.diff(at, prepend=at[:1]) > self._reach.conversation_gap
        for row in (np.flatnonzero(begins | silent | ~timed)).tolist():
            if row < new:
                continue
            if begins[row]:
                self._timed = True
                self._places.append(int(rows[row]))
            elif self._timed and timed[row]:
                self._places.append(int(rows[row]))
            self._timed &= bool(timed[row])

    def _find_answers(self, known: pa.Table, rows: np.ndarray, at: np.ndarray, new: int) -> None:
        answered = known["reply_to"].slice(new)
        found = np.flatnonzero(answered.is_valid().to_numpy()) + new
        if not len(found):
            return
        parents = rows_of_messages(known, answered.drop_null())
        for row, message in zip(found.tolist(), answered.drop_null().to_pylist(), strict=True):
            parent = parents.get(message)
            if parent is not None and parent < row and at[row] - at[parent] <= self._reach.reply_reach:
                self._parents.append(int(rows[parent]))
                self._answers.append(int(rows[row]))


def _times(timestamps: pa.ChunkedArray, before: int) -> np.ndarray:
    """UTC seconds of each turn; one without a time has that of the turn before it."""
    timed = timestamps.is_valid().to_numpy()
    at = np.append(before, timestamps.fill_null(0).to_numpy())
    return at[np.maximum.accumulate(np.where(timed, np.arange(1, len(at)), 0))]
