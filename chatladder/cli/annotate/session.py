"""The questions, shown one by one, and one person's answers to them; independent of any screen.

All ids are read at once, a window only when it is shown. An answer becomes part of the state only after it was
recorded, so every answer in the state is on disk.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from datetime import datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatladder.io.console import DataError
from chatladder.io.files import read_jsonl
from chatladder.io.rows import QUESTIONS, Rows
from chatladder.labels.answer import Answer, Label, now
from chatladder.vocabulary import KINDS, POSITIVE, TASK

#: The remark if an item cannot be written out.
NOT_WRITTEN_OUT = (
    f"A {TASK.item[0]} is written out once its answer is {KINDS[POSITIVE].words}."
    if TASK.is_written_out
    else f"A {TASK.item[0]} is not written out in this task."
)
#: The number of next items that are read along with the current one.
AHEAD = 512
#: Rows to decode at a time when loading items.
_BATCH = 4096


class SessionItems:
    """The questions of a parquet file, which stays open: a pipeline may replace it meanwhile.

    Attributes:
        ids: Ids of the items, in the order of the chat, shape ``(n,)``.
        conversations: The conversation of each, shape ``(n,)``.
    """

    def __init__(self, path: Path) -> None:
        """Read the ids.

        Raises:
            DataError: If it is not a file of questions, or holds none, or one id twice.
        """
        Rows(path, QUESTIONS)
        self._path = path
        with self._reading():
            self._file = pq.ParquetFile(path)
            table = self._file.read(columns=["item_id", "conversation"])
            self.ids: list[str] = table["item_id"].to_pylist()
            self.conversations: list[str] = table["conversation"].to_pylist()
        metadata = self._file.metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self._starts = [*accumulate(sizes, initial=0)]
        self._rows = {item_id: row for row, item_id in enumerate(self.ids)}
        self._read: dict[str, dict[str, Any]] = {}
        if not self.ids:
            raise DataError(f"{path}: expected questions, got none. Run the stages before it, or lower a threshold.")
        if len(self._rows) < len(self.ids) or None in self._rows or None in self.conversations:
            raise DataError(
                f"{path}: expected an id of its own, and a conversation, for every question. Write it again."
            )

    def reopened(self) -> "SessionItems":
        """Return the same questions for another person, with a reader of their own.

        Raises:
            DataError: If the file is damaged.
        """
        other = copy(self)
        with self._reading():
            other._file, other._read = pq.ParquetFile(self._path), {}
        return other

    def get(self, item_id: str, upcoming: Sequence[str] = ()) -> dict[str, Any]:
        """Return one question, a row of ``QUESTIONS``.

        Args:
            item_id: The question's id.
            upcoming: Ids likely to be requested next; those in the same row group are cached.

        Raises:
            DataError: If the file is damaged.
        """
        if item_id not in self._read:
            group = self._group(self._rows[item_id])
            near = [other for other in upcoming[:AHEAD] if self._group(self._rows[other]) == group]
            # The cache is cleared at some size, so that memory does not grow with the work done.
            kept = {} if len(self._read) > 4 * AHEAD else self._read
            self._read = {**kept, **self._load(group, {item_id, *near})}
        return self._read[item_id]

    def containing(self, text: str) -> set[str]:
        """Return the ids of the questions whose own text contains ``text``, in upper or lower case.

        Raises:
            DataError: If the file is damaged.
        """
        found: set[str] = set()
        wanted = text.encode("utf-8", "replace").decode("utf-8")
        with self._reading():
            for batch in self._file.iter_batches(65_536, columns=["item_id", "text"]):
                hits = batch.filter(pc.match_substring(batch["text"], wanted, ignore_case=True))
                found.update(hits["item_id"].to_pylist())
        return found

    def _group(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _load(self, group: int, wanted: set[str]) -> dict[str, dict[str, Any]]:
        rows = sorted(self._rows[item_id] - self._starts[group] for item_id in wanted)
        found: dict[str, dict[str, Any]] = {}
        start = 0
        with self._reading():
            for batch in self._file.iter_batches(_BATCH, row_groups=[group], columns=QUESTIONS.names):
                wanted_rows = [row - start for row in rows if start <= row < start + batch.num_rows]
                found.update((row["item_id"], row) for row in batch.take(pa.array(wanted_rows, pa.int64())).to_pylist())
                start += batch.num_rows
                if start > rows[-1]:
                    break
        if found.keys() != wanted:
            raise DataError(f"{self._path}: its rows changed while it was open. Start again.")
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            what = type(error).__name__
            raise DataError(f"{self._path}: expected a parquet file of questions: {what}. Write it again.") from error


def listed_items(path: Path, known: set[str]) -> tuple[list[str], int]:
    """Return the known items in a list (JSON lines with an ``item_id``), in its order, and the number of its others.

    Raises:
        DataError: If it is malformed, or names no question.
    """
    named: dict[str, int] = {}
    for number, row in read_jsonl(path):
        if not isinstance(row.get("item_id"), str):
            raise DataError(f'{path}:{number}: expected a field "item_id" with a text in it.')
        named.setdefault(row["item_id"], number)
    found = [item_id for item_id in named if item_id in known]
    if not found:
        raise DataError(f"{path}: expected ids of the questions; none of the {len(named):,} ids is one.")
    return found, len(named) - len(found)


#: The number of latest answers that the pace is measured over.
PACE_ANSWERS = 100
#: Seconds between two answers from which the annotator counts as away.
PAUSE_SECONDS = 300


class Progress(NamedTuple):
    """The progress of the work.

    Attributes:
        done: Items with an answer.
        total: Items in all.
        per_hour: Answers per hour of the latest work, without pauses; None if there are too few.
        seconds_left: Time for the rest at that pace, or None.
    """

    done: int
    total: int
    per_hour: float | None
    seconds_left: float | None


class Session:
    """One person's work.

    Attributes:
        order: Ids of the items in the order in which they are shown.
        position: Index of the current item, from 0.
        given: The number of answers recorded in this session.
        elsewhere: The number of answers in the log about items that are not shown.
    """

    def __init__(
        self,
        rounds: Mapping[str, int],
        history: Sequence[Answer],
        record: Callable[[Answer], None],
        *,
        annotator: str,
        clock: Callable[[], str] = now,
    ) -> None:
        """Resume where the log ends.

        Args:
            rounds: Item -> round that its answer belongs to, in the order in which items are shown; at least one.
            history: The answers that were not taken back, oldest first, as ``Replay.history``.
            record: Writes an answer to disk; if it raises, the state is unchanged.
            annotator: Name of the person who answers.
            clock: Returns the time of an answer, ISO 8601 in UTC.
        """
        self._rounds = dict(rounds)
        self.order = tuple(rounds)
        self._places = {item_id: place for place, item_id in enumerate(self.order)}
        self._history = [answer for answer in history if rounds.get(answer.item_id) == answer.round]
        self.elsewhere = len(history) - len(self._history)
        self._answers = {answer.item_id: answer for answer in self._history}
        self._record = record
        self._annotator = annotator
        self._clock = clock
        self.given = 0
        self.position = self._places[self._history[-1].item_id] if self._history else len(self.order) - 1
        self.skip()

    @property
    def current(self) -> str:
        """Id of the current item."""
        return self.order[self.position]

    @property
    def is_finished(self) -> bool:
        """True if every item has an answer."""
        return len(self._answers) == len(self.order)

    @property
    def standing(self) -> int:
        """The number of answers that can be taken back, replaced ones included."""
        return len(self._history)

    def label(self, item_id: str) -> Label | None:
        """Return the present answer to an item, or None."""
        answer = self._answers.get(item_id)
        return None if answer is None else answer.label

    def rewrite(self, item_id: str) -> str | None:
        """Return the person's rewrite of an item, or None."""
        answer = self._answers.get(item_id)
        return None if answer is None else answer.rewrite

    def to_write_out(self) -> str | None:
        """Return the id of the item that may be rewritten, or None if its answer is not the positive label.

        It is the current item or, while that has no answer, the one that was answered last.
        """
        if not TASK.is_written_out:
            return None
        answer = self._answers.get(self.current) or (self._history[-1] if self._history else None)
        return answer.item_id if answer is not None and answer.label == POSITIVE else None

    def answer(self, label: Label) -> None:
        """Record an answer to the current item and go to the next unanswered one.

        The same answer a second time is not recorded again.

        Raises:
            DataError: If it could not be recorded; the state is then unchanged.
        """
        item_id = self.current
        if self.label(item_id) != label:
            self._give(item_id, label)
        self.skip()

    def write_out(self, rewrite: str | None) -> bool:
        """Record a rewrite of the current item, or with None its removal, together with the answer.

        Returns:
            False if that is recorded already.

        Raises:
            DataError: If it could not be recorded; the state is then unchanged.
        """
        if self.rewrite(self.current) == rewrite:
            return False
        self._give(self.current, Label(POSITIVE), rewrite)
        return True

    def undo(self) -> Answer | None:
        """Take back the latest answer that still stands, and go to its item.

        Returns:
            The answer taken back, or None if there is none.

        Raises:
            DataError: If that could not be recorded; the state is then unchanged.
        """
        if not self._history:
            return None
        taken = self._history[-1]
        self._record(replace(taken, at=self._clock(), undo=True, rewrite=None))
        self._history.pop()
        del self._answers[taken.item_id]
        self._answers |= {each.item_id: each for each in self._history if each.item_id == taken.item_id}
        self.position = self._places[taken.item_id]
        return taken

    def skip(self) -> bool:
        """Go to the next unanswered item, wrapping around at the end; return False if there is no other."""
        size = len(self.order)
        for step in range(1, size):
            place = (self.position + step) % size
            if self.order[place] not in self._answers:
                self.position = place
                return True
        return False

    def step(self, by: int) -> bool:
        """Go forward by some items, or back if negative, answered or not; return False at the end."""
        return self.go(self.position + by)

    def go(self, place: int) -> bool:
        """Go to an index, from 0; return False if there is none."""
        if not 0 <= place < len(self.order):
            return False
        self.position = place
        return True

    def jump(self, target: str) -> bool:
        """Go to an item by its number (from 1), or by its id or the beginning of one; return False if there is none."""
        if target in self._places:
            return self.go(self._places[target])
        if target.isascii() and target.isdigit() and len(target) < 10 and self.go(int(target) - 1):
            return True
        return bool(target) and any(self.go(place) for id_, place in self._places.items() if id_.startswith(target))

    def find(self, matches: Callable[[str], bool], *, again: bool = False) -> bool:
        """Go to the next item that matches, from the current one (``again``: the one after it), wrapping around.

        Returns:
            False if none matches.
        """
        size = len(self.order)
        start = self.position + again
        return any(self.go(place % size) for place in range(start, start + size) if matches(self.order[place % size]))

    def progress(self) -> Progress:
        """Return the progress and the pace of the work."""
        done, total = len(self._answers), len(self.order)
        # Rewriting takes time and adds no item.
        pace = _per_hour([answer for answer in self._history[-PACE_ANSWERS:] if answer.rewrite is None])
        return Progress(done, total, pace, 3600 * (total - done) / pace if pace else None)

    def upcoming(self, count: int) -> list[str]:
        """Return the ids of the current item and those that follow it."""
        return list(self.order[self.position : self.position + count])

    def _give(self, item_id: str, label: Label, rewrite: str | None = None) -> None:
        answer = Answer(item_id, self._annotator, self._rounds[item_id], label, self._clock(), rewrite=rewrite)
        self._record(answer)
        self._history.append(answer)
        self._answers[item_id] = answer
        self.given += 1


def _per_hour(answers: Sequence[Answer]) -> float | None:
    times = [datetime.fromisoformat(answer.at).timestamp() for answer in answers]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    worked = [gap for gap in gaps if 0 <= gap < PAUSE_SECONDS]
    # Times are whole seconds: the pace of a few answers would be mere rounding.
    return 3600 * len(worked) / sum(worked) if len(worked) >= 3 and sum(worked) >= 10 else None
