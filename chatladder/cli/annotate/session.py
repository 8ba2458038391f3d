"""The questions as they are shown one by one, and one person's answers to them. Nothing of a screen.

Every id is read at once, a window only when it is shown. An answer becomes part of the state only after it was
recorded, so what the state calls answered is on the disk.
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

#: What is said where an item cannot be written out.
NOT_WRITTEN_OUT = (
    f"A {TASK.item[0]} is written out once its answer is {KINDS[POSITIVE].words}."
    if TASK.is_written_out
    else f"A {TASK.item[0]} is not written out where it is asked this."
)
#: Items that are shown next and read along with one that is needed now.
AHEAD = 512
#: Rows decoded at a time while looking for some.
_BATCH = 4096


class SessionItems:
    """The questions of a parquet file, which stays open: a pipeline that replaces it meanwhile does no harm.

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
        """The same questions for another person, whose reading is their own.

        Raises:
            DataError: If the file is damaged.
        """
        other = copy(self)
        with self._reading():
            other._file, other._read = pq.ParquetFile(self._path), {}
        return other

    def get(self, item_id: str, upcoming: Sequence[str] = ()) -> dict[str, Any]:
        """One question, a row of ``QUESTIONS``.

        Args:
            item_id: Its id.
            upcoming: Ids likely to be asked for next: those stored with it are kept at hand.

        Raises:
            DataError: If the file is damaged.
        """
        if item_id not in self._read:
            group = self._group(self._rows[item_id])
            near = [other for other in upcoming[:AHEAD] if self._group(self._rows[other]) == group]
            # Forgotten at some size, so that memory does not grow with the work done.
            kept = {} if len(self._read) > 4 * AHEAD else self._read
            self._read = {**kept, **self._load(group, {item_id, *near})}
        return self._read[item_id]

    def containing(self, text: str) -> set[str]:
        """Ids of the questions whose own text has ``text`` in it, upper and lower case alike.

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
    """The items that a list (JSON lines with an ``item_id``) names, in its order, and how many others it names.

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
        raise DataError(f"{path}: expected ids of the questions; none of the {len(named):,} named there is one.")
    return found, len(named) - len(found)


#: Answers that the pace is measured over, the latest ones.
PACE_ANSWERS = 100
#: Seconds between two answers from which on the annotator is taken to have been away.
PAUSE_SECONDS = 300


class Progress(NamedTuple):
    """How far the work is.

    Attributes:
        done: Items with an answer.
        total: Items in all.
        per_hour: Answers an hour of the latest work, pauses left out; None while too few were given.
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
        position: Place of the current item, from 0.
        given: How many answers were recorded since the session began.
        elsewhere: Answers in the log about items that are not shown here.
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
        """Go on where the log ends.

        Args:
            rounds: Item -> round that its answer belongs to, in the order in which items are shown; at least one.
            history: The answers that were not taken back, oldest first, as ``Replay.history``.
            record: Puts an answer on the disk, or raises; nothing changes if it raises.
            annotator: Name of the person who answers.
            clock: Gives the time of an answer, ISO 8601 in UTC.
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
        """Id of the item that is shown."""
        return self.order[self.position]

    @property
    def is_finished(self) -> bool:
        """Whether every item has an answer."""
        return len(self._answers) == len(self.order)

    @property
    def standing(self) -> int:
        """How many answers could be taken back, replaced ones among them."""
        return len(self._history)

    def label(self, item_id: str) -> Label | None:
        """The answer to an item that counts."""
        answer = self._answers.get(item_id)
        return None if answer is None else answer.label

    def rewrite(self, item_id: str) -> str | None:
        """The text of an item as the person wrote it out, or None."""
        answer = self._answers.get(item_id)
        return None if answer is None else answer.rewrite

    def to_write_out(self) -> str | None:
        """Id of the item that may be written out, or None unless its answer is the one that is.

        The current one or, while that has no answer, the one that was answered last.
        """
        if not TASK.is_written_out:
            return None
        answer = self._answers.get(self.current) or (self._history[-1] if self._history else None)
        return answer.item_id if answer is not None and answer.label == POSITIVE else None

    def answer(self, label: Label) -> None:
        """Record an answer to the current item and go on to the next one without an answer.

        The same answer a second time is not recorded again.

        Raises:
            DataError: If it could not be recorded; nothing changed then.
        """
        item_id = self.current
        if self.label(item_id) != label:
            self._give(item_id, label)
        self.skip()

    def write_out(self, rewrite: str | None) -> bool:
        """Record the current item's text written out, or with None that it is not, beside its answer.

        Returns:
            False if that is recorded already.

        Raises:
            DataError: If it could not be recorded; nothing changed then.
        """
        if self.rewrite(self.current) == rewrite:
            return False
        self._give(self.current, Label(POSITIVE), rewrite)
        return True

    def undo(self) -> Answer | None:
        """Take back the latest answer that still stands, of whatever item, and go to that item.

        Returns:
            The answer taken back, or None if there is none.

        Raises:
            DataError: If that could not be recorded; nothing changed then.
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
        """Go to the next item without an answer, past the end to the beginning; False if there is no other."""
        size = len(self.order)
        for step in range(1, size):
            place = (self.position + step) % size
            if self.order[place] not in self._answers:
                self.position = place
                return True
        return False

    def step(self, by: int) -> bool:
        """Go some items on, or back if negative, answered or not; False at the end."""
        return self.go(self.position + by)

    def go(self, place: int) -> bool:
        """Go to a place, from 0; False if there is none."""
        if not 0 <= place < len(self.order):
            return False
        self.position = place
        return True

    def jump(self, target: str) -> bool:
        """Go to an item by its number (from 1), or by its id or the beginning of one; False if there is none."""
        if target in self._places:
            return self.go(self._places[target])
        if target.isascii() and target.isdigit() and len(target) < 10 and self.go(int(target) - 1):
            return True
        return bool(target) and any(self.go(place) for id_, place in self._places.items() if id_.startswith(target))

    def find(self, matches: Callable[[str], bool], *, again: bool = False) -> bool:
        """Go to the next item that matches, from the current one (``again``: from the one after it) and around.

        Returns:
            False if none matches.
        """
        size = len(self.order)
        start = self.position + again
        return any(self.go(place % size) for place in range(start, start + size) if matches(self.order[place % size]))

    def progress(self) -> Progress:
        """How far the work is, and how fast it goes."""
        done, total = len(self._answers), len(self.order)
        # Writing out takes time and adds no item.
        pace = _per_hour([answer for answer in self._history[-PACE_ANSWERS:] if answer.rewrite is None])
        return Progress(done, total, pace, 3600 * (total - done) / pace if pace else None)

    def upcoming(self, count: int) -> list[str]:
        """Ids of the current item and those that follow it."""
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
    # Times are whole seconds: of a few answers the pace would be mere rounding.
    return 3600 * len(worked) / sum(worked) if len(worked) >= 3 and sum(worked) >= 10 else None
