"""The state of one annotator's work: where they are, what they answered, how fast it goes. Nothing of a screen.

An answer becomes part of the state only after it was recorded, so what the state calls answered is on the disk.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from chatladder.labels.answer import Answer, Label, now

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
        self._labels = {answer.item_id: answer.label for answer in self._history}
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
        return len(self._labels) == len(self.order)

    def label(self, item_id: str) -> Label | None:
        """The answer to an item that counts."""
        return self._labels.get(item_id)

    def answer(self, label: Label) -> None:
        """Record an answer to the current item and go on to the next one without an answer.

        The same answer a second time is not recorded again.

        Raises:
            DataError: If it could not be recorded; nothing changed then.
        """
        item_id = self.current
        if self.label(item_id) != label:
            answer = self._recorded(item_id, label)
            self._history.append(answer)
            self._labels[item_id] = label
            self.given += 1
        self.skip()

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
        self._recorded(taken.item_id, taken.label, undo=True)
        self._history.pop()
        del self._labels[taken.item_id]
        self._labels |= {each.item_id: each.label for each in self._history if each.item_id == taken.item_id}
        self.position = self._places[taken.item_id]
        return taken

    def skip(self) -> bool:
        """Go to the next item without an answer, past the end to the beginning; False if there is no other."""
        size = len(self.order)
        for step in range(1, size):
            place = (self.position + step) % size
            if self.order[place] not in self._labels:
                self.position = place
                return True
        return False

    def step(self, by: int) -> bool:
        """Go some items on, or back if negative, answered or not; False at the end."""
        return self._go(self.position + by)

    def jump(self, target: str) -> bool:
        """Go to an item by its number (from 1), or by its id or the beginning of one; False if there is none."""
        if target in self._places:
            return self._go(self._places[target])
        if target.isascii() and target.isdigit() and len(target) < 10 and self._go(int(target) - 1):
            return True
        return bool(target) and any(self._go(place) for id_, place in self._places.items() if id_.startswith(target))

    def find(self, matches: Callable[[str], bool], *, again: bool = False) -> bool:
        """Go to the next item that matches, from the current one (``again``: from the one after it) and around.

        Returns:
            False if none matches.
        """
        size = len(self.order)
        start = self.position + again
        return any(self._go(place % size) for place in range(start, start + size) if matches(self.order[place % size]))

    def progress(self) -> Progress:
        """How far the work is, and how fast it goes."""
        done, total = len(self._labels), len(self.order)
        pace = _per_hour(self._history[-PACE_ANSWERS:])
        return Progress(done, total, pace, 3600 * (total - done) / pace if pace else None)

    def upcoming(self, count: int) -> list[str]:
        """Ids of the current item and those that follow it."""
        return list(self.order[self.position : self.position + count])

    def _recorded(self, item_id: str, label: Label, *, undo: bool = False) -> Answer:
        answer = Answer(item_id, self._annotator, self._rounds[item_id], label, self._clock(), undo=undo)
        self._record(answer)
        return answer

    def _go(self, place: int) -> bool:
        if not 0 <= place < len(self.order):
            return False
        self.position = place
        return True


def _per_hour(answers: Sequence[Answer]) -> float | None:
    times = [datetime.fromisoformat(answer.at).timestamp() for answer in answers]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    worked = [gap for gap in gaps if 0 <= gap < PAUSE_SECONDS]
    # Times are whole seconds: of a few answers the pace would be mere rounding.
    return 3600 * len(worked) / sum(worked) if len(worked) >= 3 and sum(worked) >= 10 else None
