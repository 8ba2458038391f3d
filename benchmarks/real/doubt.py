"""Whether the questions that two readings differ on are among those that the product suspects.

Example:
    python -m benchmarks.real.doubt

One reader's labels are ranked by how likely they are wrong, without a look at the other reader. Then it is counted how
many of the labels that the other reader does not share are among the first 10 and 20 %. ``stages.rank_labels`` ranks by
the same evidence (chatladder/evaluation/label_errors.py).
"""

from collections.abc import Mapping, Sequence
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


class Doubt(NamedTuple):
    """One reader's labels, and which of them the other does not share.

    Attributes:
        chat: The questions, which all have one of the two labels by the first reader.
        is_needed: Those labels, 0 or 1, shape ``(n,)``.
        differs: Shape ``(n,)``.
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
    """Return the same with the second reader as the first."""
    return chat._replace(readings=chat.readings[::-1])


def self_confidence(shares: Sequence[Floats], is_needed: Labels) -> Floats:
    """Return how suspicious each label is by cleanlab's plainest score, shape ``(n,)``.

    That is what the mean of some out-of-fold probabilities leaves for the other label. Of two labels, cleanlab's
    normalized margin sorts in the same way.

    Args:
        shares: Probability of label 1 by each source, shape ``(n,)``.
        is_needed: The labels, 0 or 1, shape ``(n,)``.
    """
    return np.abs(is_needed - np.mean(shares, axis=0))


def adjusted(shares: Sequence[Floats], is_needed: Labels) -> Floats:
    """Return the same, held against how sure the sources are of each label on average (``adjust_pred_probs``)."""
    mean = np.mean(shares, axis=0)
    by_label = np.column_stack([1 - mean, mean])
    usual = np.array([by_label[is_needed == label, label].mean() for label in (0, 1)])
    shifted = by_label - usual + usual.max()
    shifted /= shifted.sum(axis=1, keepdims=True)
    return 1 - shifted[np.arange(len(mean)), is_needed]


def ours(evidence: Evidence, doubt: Doubt) -> Floats:
    """Return how suspicious each label is by the product's evidence, shape ``(n,)``."""
    chat, is_needed = doubt.chat, doubt.is_needed
    needed_anyhow = probability_needed(evidence, overlap(chat.rows), is_needed, chat.conversations, seed=0)
    return np.abs(is_needed - needed_anyhow)


def top(suspicion: Floats, part: float) -> Bools:
    """Return whether each item is among that part of them which is the most suspicious, shape ``(n,)``."""
    chosen = np.zeros(len(suspicion), dtype=np.bool_)
    chosen[np.argsort(-suspicion, kind="stable")[: round(part * len(suspicion))]] = True
    return chosen


def rankings(
    doubt: Doubt, words: Mapping[str, Floats], vanilla: Mapping[str, Predictions], tuned: Mapping[str, Predictions]
) -> dict[str, Floats]:
    """Return ranking -> suspicion of each label, shape ``(n,)``.

    Args:
        doubt: The labels.
        words: Classifier of words -> probability of label 1.
        vanilla: Rung -> untouched answers.
        tuned: Rung -> answers of adapters of other conversations.
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
    found["cleanlab's self-confidence"] = self_confidence(shares, doubt.is_needed)
    found["cleanlab's, adjusted"] = adjusted(shares, doubt.is_needed)
    return found


def ranking_rows(doubt: Doubt, found: Mapping[str, Floats]) -> list[tuple[str, ...]]:
    """Return a row of each ranking: recall in its first 10 and 20 %, and what it finds more than self-confidence."""
    conversations = doubt.chat.conversations
    rival = found["cleanlab's self-confidence"]
    rows = []
    for name, suspicion in found.items():
        recalls = [share(top(suspicion, part), doubt.differs, conversations) for part in SHARES]
        more = [
            share(top(suspicion, part).astype(float) - top(rival, part), doubt.differs, conversations)
            for part in SHARES
        ]
        gains = ["" if suspicion is rival else in_brackets(value, "+.3f") for value in more]
        rows.append((name, *map(in_brackets, recalls), *gains))
    return [*rows, ("chance", *(f"{part:.3f}" for part in SHARES), "", "")]


def part_of(chat: Chat, title: str, *, tuned: bool) -> list[str]:
    """Return the table of one chat and one first reader; nothing if tuned models are asked for and none is there."""
    doubt = doubt_of(chat)
    adapters = models_of(chat, "out_of_fold") if tuned else {}
    if tuned and not adapters:
        return []
    if tuned:
        doubt = doubt_of(doubt.chat.where(answered(doubt.chat, adapters)))
    words = word_answers(doubt.chat, doubt.is_needed)
    vanilla, own = (read_models(doubt.chat, each) for each in (models_of(chat, "vanilla"), adapters))
    rows = ranking_rows(doubt, rankings(doubt, words, vanilla, own))
    rungs = f" Untouched: {', '.join(vanilla) or 'none'}; out of fold: {', '.join(own) or 'none'}."
    return [
        f"## {title}",
        f"{doubt.differs.sum()} of {len(doubt.differs):,} labels are not shared by the other reader.{rungs}",
        table(("ranking", "top 10 %", "top 20 %", "more than self-confidence, 10 %", "20 %"), rows),
    ]


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
def main() -> None:
    """Write how many doubtful labels the review queue's evidence finds."""
    parts = [
        "Recall of the labels that the other reader does not share. Brackets are 95 % intervals over "
        "conversations. Both readers are one language model, so what differs is what it wavers on; what it gets"
        " wrong twice is not counted. cleanlab's two scores rest on the mean of the same out-of-fold "
        "probabilities, without the untouched models, which learned from no label; on our own probability self-"
        "confidence would give our ranking."
    ]
    for name in CHATS:
        chat = read_chat(name)
        parts += part_of(chat, f"{name}, labels of reader A", tuned=False)
        parts += part_of(swapped(chat), f"{name}, labels of reader B", tuned=False)
        parts += part_of(chat, f"{name}, labels of reader A outside the test, with tuned models", tuned=True)
    publish("doubt", "Does the review queue find what two readings differ on?", parts)


if __name__ == "__main__":
    main()
