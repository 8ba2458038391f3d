"""Two baselines that know no word: a rule of thumb about names, and decision trees on fifteen counts.

A model that reads the history has to be better than either; where it is not, what it learned can be had by counting.
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
#: What stands for something that is no text: masks such as ``<phone>``, attachments such as ``[image]``.
_STAND_IN = re.compile(r"<\w+>|\[\w+\]")
#: A run among characters of a script without spaces.
_RUN = re.compile(r"(?<![A-Za-z0-9_.@-])[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
#: Of the text before and behind it: another Latin word, as in English prose.
_WORD_BEFORE, _WORD_BEHIND = re.compile(r"[A-Za-z] $"), re.compile(r" [A-Za-z]")
#: A word of a script with spaces, and whether a sentence begins with it.
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
    """Return what looks like the name of a thing, lower-cased: a rule of thumb that knows no list of names.

    In a text with Chinese, Japanese or Korean characters it is a run of ASCII letters, digits, ``_``, ``-`` and ``.``
    with a letter in it and any of the others, or a capital; or three small letters or more, unless other Latin words
    stand beside them (``v8``, ``ncnn``). In any other text it is a word of two characters or more with a digit, ``_``
    or inner ``.``, with a capital behind its first letter, or with a capital where no sentence begins. Whom an ``@``
    mentions is none. It is wrong for nouns of German, and for names that are common words.
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
    """Whether a run has three letters or more and no Latin word beside it."""
    before, behind = text[max(0, run.start() - 2) : run.start()], text[run.end() : run.end() + 2]
    return len(run[0]) >= 3 and not _WORD_BEFORE.search(before) and not _WORD_BEHIND.match(behind)


def naming_rule(rows: Sequence[Mapping[str, Any]]) -> Floats:
    """Return 1 ("needed") where the question names nothing and the window something, else 0, shape ``(n,)``.

    Args:
        rows: Rows of ``QUESTIONS``.
    """
    return np.array(
        [not names_in(row["text"]) and any(names_in(turn["text"]) for turn in row["window"]) for row in rows],
        dtype=np.float64,
    )


def fifteen_counts(rows: Sequence[Mapping[str, Any]]) -> Floats:
    """Return ``COUNTS`` of each question and its window, shape ``(n, 15)``; none of them knows which word is which.

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
        text.count("?") + text.count("？"),  # the full-width one of Chinese
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
    """Return the probability of "needed", or of each label, of each item asked about, by either baseline.

    Args:
        learned: Rows of ``QUESTIONS`` to learn from.
        labels: Their labels, as of ``targets_of``, shape ``(n,)``, two of them there.
        asked: Rows to answer.

    Returns:
        Those of ``CHEAP_BASELINES``: of more than two labels there is no rule about names.
    """
    counted = np.round(boosted(fifteen_counts(learned), labels, fifteen_counts(asked)), DIGITS)
    answers = [naming_rule(asked), counted] if IS_BINARY else [counted]
    return dict(zip(CHEAP_BASELINES, answers, strict=True))


def counts_out_of_fold(rows: Sequence[Mapping[str, Any]], labels: Labels, deals: Deals) -> Floats:
    """Return the probability of "needed", or of each label, by fifteen counts, learned from other conversations.

    Args:
        rows: Rows of ``QUESTIONS``.
        labels: Their labels, as of ``targets_of``, shape ``(n,)``.
        deals: The folds.
    """
    return cross_fitted(fifteen_counts(rows), labels, [row["conversation"] for row in rows], boosted, deals)
