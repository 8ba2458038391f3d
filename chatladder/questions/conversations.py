"""Conversations in a stream of turns, and the window of turns that is shown with each question.

A conversation is a sequence of one group's turns without a long silence; too long a sequence is cut at a silence. A
turn that answers one of an earlier conversation (according to the export) belongs to that conversation, if it is no
more than ``reply_reach`` seconds old: then its window can hold the answered turn, and both fall on the same side of the
split into training and test.

A window holds only turns of the question's conversation. For a question that is a reply, the turns of its thread (the
chain of answered turns, and other answers to them) come first; other turns fill the rest.
"""

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.io.console import DataError
from chatladder.io.options import setting
from chatladder.io.rows import QUESTIONS, TURNS, WINDOW

#: Kinds of turns in windows and conversations.
SHOWN = ("text", "image", "file", "link")
#: A visible character; a text without one is empty and is left out, too.
SEEN = r"[^\s\pZ\pC]"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Limits of conversations and windows."""

    window: int = setting("Number of turns to keep before a question.", least=0)
    conversation_gap: int = setting("Silence that ends a conversation, in seconds.", least=0)
    max_conversation_turns: int = setting("Maximum turns of a conversation; longer ones are split.", least=2)
    reply_reach: int = setting("Maximum delay of a reply, in seconds.", least=0)


class _Turns(NamedTuple):
    """Shown turns, and data on each; arrays of shape ``(turns,)``."""

    rows: pa.Table  # TURNS
    asked: np.ndarray  # bool: True for a question
    at: np.ndarray  # UTC seconds; without a time, those of the turn before
    home: np.ndarray  # number of its conversation's first turn, among all turns shown so far
    root: np.ndarray  # number of its thread's first turn

    def take(self, rows: slice | np.ndarray) -> "_Turns":
        chosen = np.arange(len(self.at))[rows]
        in_a_row = isinstance(rows, slice) and len(chosen) > 0
        table = self.rows.slice(int(chosen[0]), len(chosen)) if in_a_row else self.rows.take(pa.array(chosen))
        return _Turns(table, *(values[rows] for values in self[1:]))

    def followed_by(self, other: "_Turns") -> "_Turns":
        rows = pa.concat_tables([self.rows, other.rows])
        return _Turns(rows, *(np.concatenate(pair) for pair in zip(self[1:], other[1:], strict=True)))


NOTHING = _Turns(TURNS.empty_table(), np.zeros(0, bool), *(np.zeros(0, np.int64) for _ in range(3)))


class Conversations:
    """Consumes turns part by part and returns the questions of each conversation that has ended."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._open = NOTHING  # a conversation that may continue
        self._past = NOTHING  # turns that a later reply may answer
        self._ids: dict[int, str] = {}  # number of a past conversation's first turn -> id of the conversation
        self._shown = 0  # number of turns before the open ones
        self.conversations = 0
        self.with_questions: set[int] = set()

    def take(self, turns: pa.Table, asked: np.ndarray) -> pa.Table:
        """Consume some turns.

        Args:
            turns: Rows of ``TURNS`` of any kind, ordered by group and by time within each.
            asked: True for each turn that is a question, shape ``(turns,)``.

        Returns:
            Rows of ``QUESTIONS``, from conversations that have ended.

        Raises:
            DataError: If time runs backwards within a group.
        """
        shown = pc.is_in(turns["kind"], value_set=pa.array(SHOWN)).to_numpy()
        blank = pc.and_(pc.equal(turns["kind"], "text"), pc.invert(pc.match_substring_regex(turns["text"], SEEN)))
        shown &= ~blank.fill_null(False).to_numpy() | asked
        rows = turns.filter(pa.array(shown))
        unset = np.zeros(rows.num_rows, np.int64)
        new = _Turns(rows, asked[shown], self._times(rows), unset, unset)
        return self._end(self._open.followed_by(new), final=False)

    def finish(self) -> pa.Table:
        """Return the questions of the last conversations."""
        return self._end(self._open, final=True)

    def _times(self, rows: pa.Table) -> np.ndarray:
        """Return UTC seconds of each turn; those of the turn before it in its group, or 0, if it has no time."""
        timed = rows["timestamp"].is_valid().to_numpy().copy()
        group = _codes(pa.concat_tables([self._open.rows, rows]))[self._open.rows.num_rows :]
        at: np.ndarray = rows["timestamp"].fill_null(0).to_numpy().copy()
        goes_on = bool(len(self._open.at) and len(rows) and self._open.rows["group"][-1] == rows["group"][0])
        if goes_on and not timed[0]:
            at[0] = self._open.at[-1]
        timed[np.flatnonzero(np.diff(group, prepend=-1))] = True
        at = at[np.maximum.accumulate(np.where(timed, np.arange(len(at)), 0))]
        backwards = (np.diff(at) < 0) & (np.diff(group) == 0)
        if backwards.any() or (goes_on and at[0] < self._open.at[-1]):
            raise DataError("expected turns by group and in the order of time; they are not. Merge the messages again.")
        return at

    def _end(self, turns: _Turns, final: bool) -> pa.Table:
        """Return the questions of the conversations that have ended; the last one stays open unless this is final."""
        starts = split_conversations(
            _codes(turns.rows), turns.at, self._reach.conversation_gap, self._reach.max_conversation_turns
        )
        until = len(starts) if final or not len(starts) else int(starts[-1])
        self._open = turns.take(slice(until, None))
        ended = turns.take(slice(0, until))
        if not until:
            return QUESTIONS.empty_table()
        numbers = np.arange(until) + self._shown
        self._shown += until
        first = np.unique(starts[:until])
        self.conversations += len(first)
        groups, ids = (ended.rows[name].take(pa.array(first)).to_pylist() for name in ("group", "turn_id"))
        for number, group, turn in zip(numbers[first].tolist(), groups, ids, strict=True):
            self._ids[number] = _hash(group, turn)
        known = self._past.followed_by(ended._replace(home=numbers[starts[:until]], root=numbers))
        threaded = self._follow_replies(known, len(self._past.at))
        questions = self._questions(known, len(self._past.at), threaded)
        self._remember(known)
        return questions

    def _follow_replies(self, known: _Turns, new: int) -> np.ndarray:
        """Move turns that answer another into its conversation and thread, from row ``new`` on.

        Returns:
            Rows that answer another turn, ascending.
        """
        answered = known.rows["reply_to"].slice(new)
        rows = np.flatnonzero(answered.is_valid().to_numpy()) + new
        if not len(rows):
            return rows
        parents = rows_of_messages(known.rows, answered.drop_null())
        threaded = []
        for row, message in zip(rows.tolist(), answered.drop_null().to_pylist(), strict=True):
            parent = parents.get(message)
            if parent is None or parent >= row or known.at[row] - known.at[parent] > self._reach.reply_reach:
                continue
            known.home[row], known.root[row] = known.home[parent], known.root[parent]
            threaded.append(row)
        return np.array(threaded, np.int64)

    def _remember(self, known: _Turns) -> None:
        """Keep the turns that a later one may answer, and the ids of their conversations."""
        last = known.rows["group"][-1]
        near = pc.equal(known.rows["group"], last).to_numpy() & (known.at >= known.at[-1] - self._reach.reply_reach)
        self._past = known.take(np.flatnonzero(near))
        alive = set(self._past.home.tolist())
        self._ids = {number: name for number, name in self._ids.items() if number in alive}

    def _questions(self, known: _Turns, new: int, threaded: np.ndarray) -> pa.Table:
        """Return rows of QUESTIONS among the turns from row ``new`` on."""
        asked = np.flatnonzero(known.asked[new:]) + new
        homes = known.home[asked].tolist()
        self.with_questions.update(homes)
        rows = known.rows.take(pa.array(asked))
        columns = {name: rows[name] for name in QUESTIONS.names if name in rows.column_names}
        # The ids of its messages do not depend on masking, so labels of the item survive a change of it.
        columns["item_id"] = pa.array([_hash(*messages) for messages in rows["message_ids"].to_pylist()], pa.string())
        columns["conversation"] = pa.array([self._ids[home] for home in homes], pa.string())
        columns["window"] = _windows(known, asked, threaded, self._reach)
        return pa.table({name: columns[name] for name in QUESTIONS.names}, schema=QUESTIONS)


def split_conversations(group: np.ndarray, at: np.ndarray, gap: int, most: int) -> np.ndarray:
    """Return the start of each turn's conversation; turns are in order.

    A conversation ends at a silence of more than ``gap`` seconds. A conversation of more than ``most`` turns is cut at
    the longest silence in the second half of its first ``most``, and the rest may be cut again. A cut depends on no
    turn after the first one too many, so later turns never move it.

    Args:
        group: The number of each turn's group, shape ``(n,)``; turns of one group are adjacent.
        at: UTC seconds, ascending within a group, shape ``(n,)``.
        gap: The longest silence within a conversation, in seconds.
        most: The most turns of a conversation.

    Returns:
        The position of the first turn of each turn's conversation, shape ``(n,)``.
    """
    silence = np.diff(at, prepend=at[:1])
    begins = np.flatnonzero((silence > gap) | (np.diff(group, prepend=group[:1]) != 0))
    starts: list[int] = []
    for start, end in pairwise([0, *begins.tolist(), len(at)]):
        starts.append(start)
        while end - starts[-1] > most:
            half = starts[-1] + (most + 1) // 2
            starts.append(half + int(np.argmax(silence[half : starts[-1] + most + 1])))
    return np.repeat(starts, np.diff([*starts, len(at)]))


def _codes(rows: pa.Table) -> np.ndarray:
    """Return the number of each turn's group, in order of appearance."""
    codes: np.ndarray = rows["group"].combine_chunks().dictionary_encode().indices.to_numpy()
    return codes


def rows_of_messages(rows: pa.Table, wanted: pa.ChunkedArray) -> dict[str, int]:
    """Return message id -> row of the turn that contains the message, for the wanted messages."""
    ids = rows["message_ids"].combine_chunks()
    turn = pc.list_parent_indices(ids)
    inside = pc.is_in(ids.flatten(), value_set=wanted.combine_chunks())
    return dict(zip(ids.flatten().filter(inside).to_pylist(), turn.filter(inside).to_pylist(), strict=True))


def _windows(known: _Turns, asked: np.ndarray, threaded: np.ndarray, reach: Reach) -> pa.Array:
    """Return the turns to show with each question, oldest first."""
    by_home = np.argsort(known.home, kind="stable")
    homes = known.home[by_home]
    answers = set(threaded.tolist())
    positions = []
    for row in asked.tolist():
        # Never beyond the conversation: the split into training and test separates conversations, so no text of a test
        # conversation can enter the window of a training question.
        begin, end = np.searchsorted(homes, [known.home[row], known.home[row] + 1])
        conversation = by_home[begin:end]
        before = conversation[: np.searchsorted(conversation, row)]
        if row in answers:
            before = before[known.at[before] >= known.at[row] - reach.reply_reach]
            before = _own_thread_first(before, known.root[before] == known.root[row], reach.window)
        positions.append(before[max(0, len(before) - reach.window) :])
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in positions])])
    chosen = np.concatenate([*positions, np.zeros(0, np.int64)])
    rows = known.rows.select(["sender", "text", "timestamp", "kind"]).take(pa.array(chosen)).combine_chunks()
    text = pc.if_else(pc.equal(rows["kind"], "text"), rows["text"], _label(rows)).combine_chunks()
    columns = [rows["sender"].combine_chunks(), text, rows["timestamp"].combine_chunks()]
    window = pa.StructArray.from_arrays(columns, fields=list(WINDOW.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), window)


def _own_thread_first(before: np.ndarray, in_thread: np.ndarray, most: int) -> np.ndarray:
    """Return the last ``most`` rows of the thread, filled up with the last others; ascending."""
    thread = before[in_thread][max(0, int(in_thread.sum()) - most) :]
    others = before[~in_thread]
    return np.sort(np.concatenate([others[max(0, len(others) - (most - len(thread))) :], thread]))


def _label(rows: pa.Table) -> pa.ChunkedArray:
    """Return the text that annotators see for a turn that is not text: "[image]", "[file] report.pdf"."""
    kind = pc.binary_join_element_wise("[", rows["kind"], "]", "")
    return pc.utf8_rtrim_whitespace(pc.binary_join_element_wise(kind, rows["text"].fill_null(""), " "))


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]
