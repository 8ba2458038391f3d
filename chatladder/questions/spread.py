"""Picking by workers: verdicts part by part, then conversations range by range, by what one process runs.

This process reads of every turn who, when and what it answers, but no text, to see where conversations can be cut apart
(``chatladder.questions.cuts``); it adds up counts and writes what comes back. A chat that can be cut nowhere is one
range, and one worker's work.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from chatladder.distributed import Workers
from chatladder.distributed.ranges import RANGE_ROWS, Range, RowRange, cut_at, cut_evenly
from chatladder.io.rows import PART_ROWS, QUESTIONS, TURNS, Rows
from chatladder.judges.turns import is_text
from chatladder.questions.choosing import LOOKED_AT, choose
from chatladder.questions.conversations import Conversations, Reach
from chatladder.questions.cuts import Cuts
from chatladder.questions.marks import Marks
from chatladder.questions.verdicts import Judge, Tally, Verdicts


class Chosen(NamedTuple):
    """Which of some turns are questions."""

    kept: np.ndarray  # bool, shape (turns,)
    left_out: dict[str, int]  # reason -> turns
    tally: Tally
    marked: dict[str, bool]  # turn marked by hand -> whether it is picked


class Talk(NamedTuple):
    """The questions of some conversations."""

    questions: pa.Table  # QUESTIONS
    conversations: int
    with_questions: int


class Spread:
    """Picks the questions among the turns of a file by workers."""

    def __init__(self, pool: Workers, turns: Rows, verdicts: Verdicts, reach: Reach) -> None:
        """Look where the file can be cut.

        Args:
            pool: The workers.
            turns: Rows of ``TURNS``.
            verdicts: Of which no turn was looked at yet.
            reach: Of conversations and windows.
        """
        self._pool = pool
        self._path = turns.path.resolve()
        self._judges = [judge._replace(path=judge.path.resolve()) for judge in verdicts.judges]
        self._join = verdicts.join
        self._reach = reach
        cuts = Cuts(reach)
        texts = []
        for part in turns.parts(Cuts.COLUMNS):
            cuts.take(part)
            texts.append(int(is_text(part).to_numpy().sum()))
        self._parts = cut_evenly(turns.num_rows, PART_ROWS)
        self._starts = [0, *accumulate(texts)]  # text turns before each part
        self._ranges = cut_at(turns.num_rows, cuts.places().tolist(), RANGE_ROWS)

    def choose(self, min_characters: int, left_out: Counter[str], marks: Marks | None) -> tuple[np.ndarray, Verdicts]:
        """Which turns are questions, bool of shape ``(turns,)``; and the verdicts that the workers counted.

        Raises:
            DataError: If a judge's scores are not those of these turns.
        """
        kept = [np.zeros(0, bool)]
        verdicts = Verdicts(self._judges, self._join, self._starts[-1])
        items = zip(self._parts, self._starts[: len(self._parts)], strict=True)
        shared = (self._path, self._judges, self._join, min_characters, marks)
        for part in self._pool.map(choose_in, items, *shared):
            kept.append(part.kept)
            left_out.update(part.left_out)
            verdicts.add(part.tally)
            if marks is not None:
                marks.add(part.marked)
        return np.concatenate(kept), verdicts

    def talk(self, kept: np.ndarray) -> Iterator[Talk]:
        """The questions with their windows, in order; ``kept`` says which turns they are."""
        items = ((part, kept[slice(*part)]) for part in self._ranges)
        return self._pool.map(talk_in, items, self._path, self._reach)


def choose_in(
    item: tuple[Range, int], turns: Path, judges: list[Judge], join: str, min_characters: int, marks: Marks | None
) -> Chosen:
    """Choose in a range of turns, before which there are so many text turns."""
    part, texts_before = item
    rows = RowRange(turns, TURNS, *part).table(LOOKED_AT)
    verdicts = Verdicts(judges, join, texts_before)
    kept, left_out = choose(rows, verdicts.of(rows), min_characters)
    return Chosen(kept, left_out, verdicts.tally(), {} if marks is None else marks.seen(rows, kept))


def talk_in(item: tuple[Range, np.ndarray], turns: Path, reach: Reach) -> Talk:
    """The questions of the conversations in a range of turns, of which ``item`` says which are questions."""
    part, kept = item
    conversations = Conversations(reach)
    questions = [QUESTIONS.empty_table()]
    start = 0
    for rows in RowRange(turns, TURNS, *part).parts():
        questions.append(conversations.take(rows, kept[start : start + rows.num_rows]))
        start += rows.num_rows
    questions.append(conversations.finish())
    # Made anew, so that nothing of the turns that they were cut from travels along.
    joined = pa.concat_tables(questions).combine_chunks()
    return Talk(joined, conversations.conversations, len(conversations.with_questions))
