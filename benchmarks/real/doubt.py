"""Are the questions on which two readings differ among those that the product suspects?

Example:
    python -m benchmarks.real.doubt

One reader's labels are ranked by how likely they are wrong, without the other reader's. Then the labels that the other
reader does not share are counted in the first 10 and 20 %. ``stages.rank_labels`` ranks by the same evidence
(chatladder/evaluation/label_errors.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from benchmarks.real.chats import (
    CHATS,
    Bools,
    Chat,
    Labels,
    answered,
    in_brackets,
    models_of,
    needed,
    publish,
    read_chat,
    read_models,
    scored,
    share,
    table,
    word_answers,
)
from chatladder.evaluation.label_errors import Evidence, log_odds, probability_needed
from chatladder.evaluation.predictions import Predictions, centre
from chatladder.evaluation.scores import Floats
from chatladder.evaluation.word_baselines import overlap
from chatladder.io.console import SETTINGS, example

SHARES = (0.1, 0.2)
#: The ranking that the others are compared with.
RIVAL = "cleanlab's self-confidence"


class Doubt(NamedTuple):
    """One reader's labels, and which of them the other reader does not share.

    Attributes:
        chat: The questions, each with one of the two labels by the first reader.
        is_needed: Those labels, 0 or 1, shape ``(n,)``.
        differs: True if the other reader differs, shape ``(n,)``.
    """

    chat: Chat
    is_needed: Labels
    differs: Bools


def doubt_of(chat: Chat) -> Doubt:
    """Return the questions that the first reader labelled."""
    labelled = chat.where(scored(chat.readings[0]))
    first, second = labelled.readings
    return Doubt(labelled, needed(first), np.array([one != other for one, other in zip(first, second, strict=True)]))


def swapped(chat: Chat) -> Chat:
    """Return the chat with the second reader as the first."""
    return chat._replace(readings=chat.readings[::-1])


def self_confidence(shares: Sequence[Floats], is_needed: Labels) -> Floats:
    """Return the suspicion of each label by cleanlab's simplest score, shape ``(n,)``.

    That is the mean of some out-of-fold probabilities of the other label. For two labels, cleanlab's normalized margin
    gives the same order.

    Args:
        shares: The probability of label 1 by each source, shape ``(n,)``.
        is_needed: The labels, 0 or 1, shape ``(n,)``.
    """
    return np.abs(is_needed - np.mean(shares, axis=0))


def adjusted(shares: Sequence[Floats], is_needed: Labels) -> Floats:
    """Return the same, relative to the sources' mean confidence in each label (``adjust_pred_probs``)."""
    mean = np.mean(shares, axis=0)
    by_label = np.column_stack([1 - mean, mean])
    usual = np.array([by_label[is_needed == label, label].mean() for label in (0, 1)])
    shifted = by_label - usual + usual.max()
    shifted /= shifted.sum(axis=1, keepdims=True)
    return 1 - shifted[np.arange(len(mean)), is_needed]


def ours(evidence: Evidence, doubt: Doubt) -> Floats:
    """Return the suspicion of each label by the product's evidence, shape ``(n,)``."""
    chat, is_needed = doubt.chat, doubt.is_needed
    needed_anyhow = probability_needed(evidence, overlap(chat.rows), is_needed, chat.conversations, seed=0)
    return np.abs(is_needed - needed_anyhow)


def top(suspicion: Floats, part: float) -> Bools:
    """Return which items are among the given share of the most suspicious ones, shape ``(n,)``."""
    chosen = np.zeros(len(suspicion), dtype=np.bool_)
    chosen[np.argsort(-suspicion, kind="stable")[: round(part * len(suspicion))]] = True
    return chosen


def rankings(
    doubt: Doubt, words: Mapping[str, Floats], vanilla: Mapping[str, Predictions], tuned: Mapping[str, Predictions]
) -> dict[str, Floats]:
    """Return ranking -> suspicion of each label, shape ``(n,)``.

    Args:
        doubt: The labels.
        words: Classifier of words -> its probability of label 1.
        vanilla: Rung -> untouched answers.
        tuned: Rung -> answers of adapters trained on other conversations.
    """
    baselines = {name: log_odds(values) for name, values in words.items()}
    untouched = {rung: centre(answers).log_odds for rung, answers in vanilla.items()}
    adapters = {rung: answers.log_odds for rung, answers in tuned.items()}
    shares = [*words.values(), *(1 / (1 + np.exp(-values)) for values in adapters.values())]
    found = {"ours, words": ours(Evidence({}, {}, baselines), doubt)}
    if untouched:
        found["ours, words and untouched"] = ours(Evidence(untouched, {}, baselines), doubt)
    if adapters:
        found["ours, all"] = ours(Evidence(untouched, adapters, baselines), doubt)
    found[RIVAL] = self_confidence(shares, doubt.is_needed)
    found["cleanlab's, adjusted"] = adjusted(shares, doubt.is_needed)
    return found


class Ranked(NamedTuple):
    """One reader's labels, and the suspicion of each by every ranking."""

    doubt: Doubt
    suspicion: dict[str, Floats]


def ranking_rows(readers: Sequence[Ranked]) -> list[tuple[str, ...]]:
    """Return a row for each ranking, over the labels of all these readers together.

    Its columns are recall in the first 10 and 20 % of each reader's labels, and the difference from self-confidence.

    Args:
        readers: The labels of one reader or of both, with the same rankings.
    """
    conversations = [name for reader in readers for name in reader.doubt.chat.conversations]
    differs = np.concatenate([reader.doubt.differs for reader in readers])

    def first(name: str, part: float) -> Bools:
        return np.concatenate([top(reader.suspicion[name], part) for reader in readers])

    rows = []
    for name in readers[0].suspicion:
        recalls = [share(first(name, part), differs, conversations) for part in SHARES]
        more = [share(first(name, part).astype(float) - first(RIVAL, part), differs, conversations) for part in SHARES]
        gains = ["" if name == RIVAL else in_brackets(value, "+.3f") for value in more]
        rows.append((name, *map(in_brackets, recalls), *gains))
    return [*rows, ("chance", *(f"{part:.3f}" for part in SHARES), "", "")]


def ranked(chat: Chat, adapters: Mapping[str, Path]) -> Ranked:
    """Rank the labels of the chat's first reader.

    Args:
        chat: The chat.
        adapters: Rung -> out-of-fold answers; if there are any, only the questions that they answered are ranked.
    """
    doubt = doubt_of(chat)
    if adapters:
        doubt = doubt_of(doubt.chat.where(answered(doubt.chat, adapters)))
    words = word_answers(doubt.chat, doubt.is_needed)
    untouched, tuned = (read_models(doubt.chat, each) for each in (of_all(doubt.chat, "vanilla"), adapters))
    return Ranked(doubt, rankings(doubt, words, untouched, tuned))


def of_all(chat: Chat, kind: str) -> dict[str, Path]:
    """Return the models that answered all of the chat's questions: most answered only those of the test."""
    return {rung: path for rung, path in models_of(chat, kind).items() if answered(chat, {rung: path}).all()}


def part_of(title: str, readers: Sequence[Ranked]) -> list[str]:
    """Return a headline, the counts and the table."""
    differs = np.concatenate([reader.doubt.differs for reader in readers])
    return [
        f"## {title}",
        f"{differs.sum()} of {len(differs):,} labels are not shared by the other reader.",
        table(("ranking", "top 10 %", "top 20 %", "more than self-confidence, 10 %", "20 %"), ranking_rows(readers)),
    ]


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
def main() -> None:
    """Write how many doubtful labels the review queue's evidence finds."""
    parts = [
        "Recall of the labels that the other reader does not share. Brackets are 95 % intervals over conversations. "
        "Both readers are one language model, so what differs is what it wavers on; what it gets wrong twice is not "
        "counted. Where both give one of the two labels, one of them is wrong: so the labels of both readers together "
        "are the fair test, and one reader alone may have most of the right ones. cleanlab's two scores rest on the "
        "mean of the same out-of-fold probabilities, without the untouched models, which learned from no label; on our "
        "own probability self-confidence would give our ranking."
    ]
    for name in CHATS:
        chat = read_chat(name)
        rungs = ", ".join(of_all(chat, "vanilla")) or "none"
        adapters = models_of(chat, "out_of_fold")
        folded = ", ".join(adapters) or "none"
        parts.append(f"Untouched rungs of {name} that answered all questions: {rungs}; out of fold: {folded}.")
        both = [ranked(chat, {}), ranked(swapped(chat), {})]
        parts += part_of(f"{name}, both readers", both)
        for reader, one in zip("AB", both, strict=True):
            parts += part_of(f"{name}, reader {reader}", [one])
        if adapters:
            parts += part_of(f"{name}, reader A outside the test, with tuned models", [ranked(chat, adapters)])
    publish("doubt", "Does the review queue find what two readings differ on?", parts)


if __name__ == "__main__":
    main()
