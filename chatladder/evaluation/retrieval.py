"""Retrieval of the turn that answered a question from the group's own archive, by BM25.

A bot that has the last messages in its prompt searches the archive for more. So all turns are searched except the
question and its window. A question counts if somebody answered it: if another person's turn replies to it or addresses
its sender, within some time after it. The first such turn is the target.

Words are those of ``words``: runs of letters and digits, and bigrams of Han characters.

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

#: The number of results of a search.
FOUND = 10
_WORD = re.compile(r"[^\W_\u3400-\u9fff]+|[\u3400-\u9fff]+")
_MENTION = re.compile(rf"@?\b{PSEUDONYM}\b")


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits in lower case, and bigrams of Han characters."""
    found: list[str] = []
    for run in _WORD.findall(text.lower()):
        is_han = "\u3400" <= run[0] <= "\u9fff"
        found += [run[at : at + 2] for at in range(max(1, len(run) - 1))] if is_han else [run]
    return found


class Archive:
    """The indexed turns of a chat."""

    def __init__(self, turns: Sequence[Mapping[str, Any]]) -> None:
        """Index the turns.

        Args:
            turns: Rows of ``TURNS``, in order.
        """
        from bm25s import BM25

        self._turns = turns
        self._places = {turn["turn_id"]: place for place, turn in enumerate(self._turns)}
        self._index = BM25()
        texts = [words(_MENTION.sub(" ", turn["text"] or "")) for turn in self._turns]
        self._index.index(texts, show_progress=False)
        self._known = set(self._index.vocab_dict)

    def answer_to(self, question: Mapping[str, Any], seconds: int) -> int | None:
        """Return the index of the turn that answered a question, or None.

        Args:
            question: A row of ``QUESTIONS``.
            seconds: The time after the question within which an answer counts.
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
        """Return the rank of a turn in the results for a text, from 1, or None beyond ``FOUND``.

        Args:
            question: The row of ``QUESTIONS`` that the text stands for.
            text: The search text.
            answer: The index of the turn.
        """
        place = self._places[question["turn_id"]]
        at_hand = range(place - len(question["window"]), place + 1)
        asked = [word for word in words(_MENTION.sub(" ", text)) if word in self._known]
        if not asked:
            return None
        scores = self._index.get_scores(asked)
        scores[[each for each in at_hand if each >= 0]] = -np.inf
        # Tied turns get the middle of their ranks, so that the order of the archive has no effect.
        above, level = int((scores > scores[answer]).sum()), int((scores == scores[answer]).sum())
        rank = above + (level + 1) // 2
        return rank if scores[answer] > 0 and rank <= FOUND else None


class Found(NamedTuple):
    """The results of searches, for each question.

    Attributes:
        answered: True if the question was answered, shape ``(n,)``.
        recall: 1 if the answer is among the first ``FOUND`` results, or 0, shape ``(n,)``.
        reciprocal: The reciprocal rank of the answer, or 0, shape ``(n,)``.
    """

    answered: NDArray[np.bool_]
    recall: NDArray[np.float64]
    reciprocal: NDArray[np.float64]


def find(
    archive: Archive, questions: Sequence[Mapping[str, Any]], answers: Sequence[int | None], texts: Sequence[str]
) -> Found:
    """Search with the text of each answered question.

    Args:
        archive: The indexed turns.
        questions: Rows of ``QUESTIONS``, n in all.
        answers: The result of ``Archive.answer_to`` for each question.
        texts: The search text for each question.
    """
    recall, reciprocal = np.zeros(len(questions)), np.zeros(len(questions))
    for number in bar("search", range(len(questions))):
        answer = answers[number]
        if answer is not None and (rank := archive.rank(questions[number], texts[number], answer)):
            recall[number], reciprocal[number] = 1, 1 / rank
    return Found(np.array([answer is not None for answer in answers]), recall, reciprocal)
