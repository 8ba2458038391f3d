"""Rewrites of questions by people who labelled them "needed": the text that counts, and the writers' agreement.

Each person's text of the latest round in which they wrote one counts, as long as their vote is "needed". If several
people wrote one, an adjudicator's text comes first, then the most frequent text, then the latest, then the text of the
name that sorts first. A text that only repeats the question does not count.

Agreement is measured between annotators alone, over all pairs who rewrote the same question: the share of identical
texts, white space aside, and the mean chrF, from 0 to 100. chrF takes one of two texts as the reference, so both
directions are averaged.

Source:
    Popović (2015), "chrF: character n-gram F-score for automatic MT evaluation", https://aclanthology.org/W15-3049;
    sacrebleu's defaults: six characters, no words, recall counts twice.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from itertools import combinations
from typing import Any, NamedTuple

import pyarrow as pa

from chatladder.io.rows import REWRITES
from chatladder.labels.answer import Answer, Label
from chatladder.labels.verdicts import Logs, cases, rounded
from chatladder.vocabulary import POSITIVE

#: Characters that join emoji, and letters of several scripts.
_JOINERS = "\u200c\u200d"


class Written(NamedTuple):
    """One person's text, in one line, and the time of writing."""

    text: str
    at: datetime


class Rewrites(NamedTuple):
    """The rewrites of questions labelled "needed".

    Attributes:
        rows: Rows of ``REWRITES``, in the order of the questions, then by annotator.
        pairs: Texts of two annotators who rewrote the same question.
    """

    rows: pa.Table
    pairs: list[tuple[str, str]]

    def metrics(self) -> dict[str, Any] | None:
        """Return the number of rewritten questions and the agreement of two writers of one; None without pairs."""
        if not self.pairs:
            return None
        count = len(self.pairs)
        return {
            "written": len(self.rows["item_id"].unique()),
            "pairs": count,
            "exact": rounded(sum(first == second for first, second in self.pairs) / count),
            "chrf": rounded(sum(both_ways(*pair) for pair in self.pairs) / count),
        }


def one_line(text: str) -> str:
    """Return a text with its white space reduced to single spaces, and without invisible characters."""
    spaced = " ".join(text.split())
    seen = (each for each in spaced if unicodedata.category(each) not in ("Cc", "Cf", "Cs") or each in _JOINERS)
    return " ".join("".join(seen).split())


def rewrites_of(labelled: pa.Table, logs: Logs) -> Rewrites:
    """Return the rewrites of the questions labelled "needed".

    Args:
        labelled: Rows of ``LABELLED``.
        logs: The answers that count.
    """
    votes = cases(logs.answers, logs.adjudications)
    annotators, adjudicators = _latest(logs.answers), _latest(logs.adjudications)
    rows: list[dict[str, Any]] = []
    pairs: list[tuple[str, str]] = []
    for question in labelled.select(["item_id", "text", "label"]).to_pylist():
        item_id, text = question["item_id"], one_line(question["text"])
        if question["label"] != POSITIVE or not (item_id in annotators or item_id in adjudicators):
            continue
        given = _counting(annotators.get(item_id, {}), votes[item_id].annotators, text)
        settled = _counting(adjudicators.get(item_id, {}), votes[item_id].adjudicators, text)
        writers = dict(sorted({**given, **settled}.items()))
        best = choose(writers, settled) if writers else None
        rows += [
            {"item_id": item_id, "annotator": name, "rewrite": written.text, "chosen": name == best}
            for name, written in writers.items()
        ]
        pairs += combinations([written.text for _, written in sorted(given.items())], 2)
    return Rewrites(pa.Table.from_pylist(rows, schema=REWRITES), pairs)


def choose(writers: Mapping[str, Written], adjudicators: Collection[str]) -> str:
    """Return the person whose text counts.

    Args:
        writers: Person -> text, at least one.
        adjudicators: The adjudicators among them.
    """
    times = Counter(written.text for written in writers.values())

    def rank(name: str) -> tuple[bool, int, datetime]:
        return name in adjudicators, times[writers[name].text], writers[name].at

    return max(sorted(writers), key=rank)


def both_ways(first: str, second: str) -> float:
    """Return the mean of chrF with either text as the reference, 0 to 100."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    return float(chrf.sentence_score(first, [second]).score + chrf.sentence_score(second, [first]).score) / 2


def _latest(answers: Iterable[Answer]) -> dict[str, dict[str, Written]]:
    """Return item -> person -> their text of the latest round in which they wrote one."""
    latest: dict[str, dict[str, Written]] = {}
    for answer in sorted(answers, key=lambda answer: answer.round):
        if answer.rewrite is not None:
            written = Written(one_line(answer.rewrite), datetime.fromisoformat(answer.at))
            latest.setdefault(answer.item_id, {})[answer.annotator] = written
    return latest


def _counting(written: Mapping[str, Written], votes: Mapping[str, Label], question: str) -> dict[str, Written]:
    """Return the texts of people whose vote is "needed", except those that only repeat the question."""
    return {
        name: each for name, each in written.items() if votes.get(name) == POSITIVE and each.text not in ("", question)
    }
