"""What a question finds in the group's own archive: the turn that answered it, by BM25.

A bot that has the last messages at hand searches the archive for more. So all turns are searched but the question and
the turns of its window. A question counts where somebody answered it: another person's turn that replies to it, or that
addresses who asked, within some time after it; the first such turn is to be found.

Words are those of ``words``: runs of letters and digits, and of Han characters every two that stand together.

Source:
    Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond"; bm25s, Lù (2024),
    arXiv 2407.03618, with its defaults (k1 1.5, b .75).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.io.console import bar
from chatladder.io.rows import PSEUDONYM

#: How many turns are looked at.
FOUND = 10
_WORD = re.compile(r"[^\W_\u3400-\u9fff]+|[\u3400-\u9fff]+")
_MENTION = re.compile(rf"@?\b{PSEUDONYM}\b")


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits in small letters, and pairs of Han characters."""
    found: list[str] = []
    for run in _WORD.findall(text.lower()):
        is_han = "\u3400" <= run[0] <= "\u9fff"
        found += [run[at : at + 2] for at in range(max(1, len(run) - 1))] if is_han else [run]
    return found


class Archive:
    """The turns of a chat, indexed."""

    def __init__(self, turns: Sequence[Mapping[str, Any]]) -> None:
        """Index them.

        Args:
            turns: Rows of ``TURNS``, in their order.
        """
        from bm25s import BM25

        self._turns = turns
        self._places = {turn["turn_id"]: place for place, turn in enumerate(self._turns)}
        self._index = BM25()
        texts = [words(_MENTION.sub(" ", turn["text"] or "")) for turn in self._turns]
        self._index.index(texts, show_progress=False)
        self._known = set(self._index.vocab_dict)

    def answer_to(self, question: Mapping[str, Any], seconds: int) -> int | None:
        """Return the place of the turn that answered a question, or None.

        Args:
            question: A row of ``QUESTIONS``.
            seconds: How long after it.
        """
        place = self._places.get(question["turn_id"])
        if place is None or question["timestamp"] is None:
            return None
        asked = self._turns[place]
        ids = {*asked["message_ids"]}
        for later in range(place + 1, len(self._turns)):
            turn = self._turns[later]
            if turn["timestamp"] is None or turn["group"] != asked["group"]:
                continue
            if turn["timestamp"] > asked["timestamp"] + seconds:
                return None
            if turn["sender"] != asked["sender"] and (
                turn["reply_to"] in ids or turn["text"].startswith(f"@{asked['sender']}")
            ):
                return later
        return None

    def rank(self, question: Mapping[str, Any], text: str, answer: int) -> int | None:
        """Return the place of a turn among what a text finds, from 1, or None beyond ``FOUND``.

        Args:
            question: The row of ``QUESTIONS`` that the text stands for.
            text: What is searched for.
            answer: The place of the turn.
        """
        place = self._places[question["turn_id"]]
        at_hand = range(place - len(question["window"]), place + 1)
        asked = [word for word in words(_MENTION.sub(" ", text)) if word in self._known]
        if not asked:
            return None
        scores = self._index.get_scores(asked)
        scores[[each for each in at_hand if each >= 0]] = -np.inf
        # What scores alike is ranked by the middle of its places, so that no order of the archive helps.
        above, level = int((scores > scores[answer]).sum()), int((scores == scores[answer]).sum())
        rank = above + (level + 1) // 2
        return rank if scores[answer] > 0 and rank <= FOUND else None


class Found(NamedTuple):
    """What texts find, for each question that was answered.

    Attributes:
        answered: Whether a question was, shape ``(n,)``.
        recall: 1 where the answer is among the first ``FOUND``, shape ``(n,)``.
        reciprocal: 1 / its place, or 0, shape ``(n,)``.
    """

    answered: NDArray[np.bool_]
    recall: NDArray[np.float64]
    reciprocal: NDArray[np.float64]


def find(
    archive: Archive, questions: Sequence[Mapping[str, Any]], answers: Sequence[int | None], texts: Sequence[str]
) -> Found:
    """Search for each answered question's text.

    Args:
        archive: The turns.
        questions: Rows of ``QUESTIONS``, n.
        answers: What ``Archive.answer_to`` says of each.
        texts: The text that is searched for in place of each.
    """
    recall, reciprocal = np.zeros(len(questions)), np.zeros(len(questions))
    for number in bar("search", range(len(questions))):
        answer = answers[number]
        if answer is not None and (rank := archive.rank(questions[number], texts[number], answer)):
            recall[number], reciprocal[number] = 1, 1 / rank
    return Found(np.array([answer is not None for answer in answers]), recall, reciprocal)
