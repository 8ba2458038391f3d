"""Two baselines that know no words: a rule of thumb about names, and decision trees on fifteen counts.

A model that reads the history has to beat both; if it does not, counting would have done as well.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chatladder.evaluation.predictions import CHEAP_BASELINES
from chatladder.evaluation.scores import Floats
from chatladder.evaluation.word_baselines import DIGITS, Deals, Labels, boosted, cross_fitted
from chatladder.vocabulary import IS_BINARY

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7a3]")
#: A placeholder: a mask such as ``<phone>``, an attachment such as ``[image]``.
_STAND_IN = re.compile(r"<\w+>|\[\w+\]")
#: An ASCII run in a text of a script without spaces.
_RUN = re.compile(r"(?<![A-Za-z0-9_.@-])[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
#: Another Latin word before or after the run, as in English prose.
_WORD_BEFORE, _WORD_BEHIND = re.compile(r"[A-Za-z] $"), re.compile(r" [A-Za-z]")
#: A word of a script with spaces; the group ``start`` matches if a sentence begins with it.
_WORD = re.compile(r"(?P<start>(?:^|[.!?:…\n])[\s\W]*)?(?<![\w@])(?P<run>[^\W_](?:[\w.-]*\w)?)")
_PUNCTUATION = re.compile(r"[^\w\s]")
#: The counts, in the order of their columns.
COUNTS = (
    "characters", "characters of punctuation", "question marks", "digits", "names", "names that the window holds",
    "turns of the window", "its characters", "its different names", "turns back to the last name", "its speakers",
    "turns of the asker", "whether the last turn is the asker's", "characters of the last turn",
    "share of characters that the window holds",
)  # fmt: skip


def names_in(text: str) -> list[str]:
    """Return the words that look like names of things, in lower case: a rule of thumb without a list of names.

    In a text with Chinese, Japanese or Korean characters, a name is a run of ASCII letters, digits, ``_``, ``-`` and
    ``.`` that has a letter and any of the others, or a capital (``v8``); or a run of at least three small letters
    without another Latin word next to it (``ncnn``). In any other text, it is a word of at least two characters with a
    digit, ``_`` or inner ``.``, with a capital after its first letter, or with an initial capital in mid-sentence.
    A person mentioned by ``@`` is not a name. The rule is wrong for German nouns, and for names that are common words.
    """
    bare = _STAND_IN.sub(" ", text)
    if _CJK.search(bare):
        found = [run for run in _RUN.finditer(bare) if any(map(str.isalpha, run[0]))]
        return [run[0].lower() for run in found if not run[0].islower() or not run[0].isalpha() or _is_alone(bare, run)]
    names = []
    for word in _WORD.finditer(bare):
        run, begins = word["run"], word["start"] is not None
        is_marked = any(map(str.isdigit, run)) or "_" in run or "." in run or any(map(str.isupper, run[1:]))
        if len(run) > 1 and any(map(str.isalpha, run)) and (is_marked or (run[0].isupper() and not begins)):
            names.append(run.lower())
    return names


def _is_alone(text: str, run: re.Match[str]) -> bool:
    """Return True if a run has at least three letters and no Latin word next to it."""
    before, behind = text[max(0, run.start() - 2) : run.start()], text[run.end() : run.end() + 2]
    return len(run[0]) >= 3 and not _WORD_BEFORE.search(before) and not _WORD_BEHIND.match(behind)


def naming_rule(rows: Sequence[Mapping[str, Any]]) -> Floats:
    """Return 1 ("needed") if the question has no name but its window has one, else 0; shape ``(n,)``.

    Args:
        rows: Rows of ``QUESTIONS``.
    """
    return np.array(
        [not names_in(row["text"]) and any(names_in(turn["text"]) for turn in row["window"]) for row in rows],
        dtype=np.float64,
    )


def fifteen_counts(rows: Sequence[Mapping[str, Any]]) -> Floats:
    """Return ``COUNTS`` of each question and its window, shape ``(n, 15)``; none depends on which words they are.

    Args:
        rows: Rows of ``QUESTIONS``.
    """
    return np.array([_counts(row) for row in rows], dtype=np.float64).reshape(-1, len(COUNTS))


def _counts(row: Mapping[str, Any]) -> list[float]:
    text, window = row["text"], row["window"]
    names, by_turn = names_in(text), [names_in(turn["text"]) for turn in window]
    known = {name for each in by_turn for name in each}
    back = next((number for number, each in enumerate(reversed(by_turn), start=1) if each), len(window) + 1)
    seen = {character for turn in window for character in turn["text"]}
    speakers = [turn["sender"] for turn in window]
    return [
        len(text),
        len(_PUNCTUATION.findall(text)),
        text.count("?") + text.count("？"),  # full width, as in Chinese
        sum(map(str.isdigit, text)),
        len(names),
        sum(name in known for name in names),
        len(window),
        sum(len(turn["text"]) for turn in window),
        len(known),
        back,
        len({*speakers}),
        speakers.count(row["sender"]),
        bool(speakers) and speakers[-1] == row["sender"],
        len(window[-1]["text"]) if window else 0,
        len({*text} & seen) / max(1, len({*text})),
    ]


def cheap_baselines(
    learned: Sequence[Mapping[str, Any]], labels: Labels, asked: Sequence[Mapping[str, Any]]
) -> dict[str, Floats]:
    """Return each baseline's probability of "needed", or of each label, for the items to predict.

    Args:
        learned: Training rows, of ``QUESTIONS``.
        labels: Their labels as ``targets_of`` codes them, shape ``(n,)``; at least two must occur.
        asked: Rows to predict.

    Returns:
        The probabilities by the names of ``CHEAP_BASELINES``; with more than two labels there is no rule about names.
    """
    counted = np.round(boosted(fifteen_counts(learned), labels, fifteen_counts(asked)), DIGITS)
    answers = [naming_rule(asked), counted] if IS_BINARY else [counted]
    return dict(zip(CHEAP_BASELINES, answers, strict=True))


def counts_out_of_fold(rows: Sequence[Mapping[str, Any]], labels: Labels, deals: Deals) -> Floats:
    """Return the held-out probability of "needed", or of each label, by fifteen counts.

    Args:
        rows: Rows of ``QUESTIONS``.
        labels: Their labels as ``targets_of`` codes them, shape ``(n,)``.
        deals: The folds.
    """
    return cross_fitted(fifteen_counts(rows), labels, [row["conversation"] for row in rows], boosted, deals)
