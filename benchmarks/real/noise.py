"""How often the comparison of two label sets finds the one with planted errors, on real chats.

Example:
    python -m benchmarks.real.noise --draws 100

Reader A's labels are compared with reader B's, of which some are flipped at random. The comparison is the product's
(chatladder/evaluation/label_sets.py); the models differ in what they were trained on.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.real.chats import (
    CHATS,
    Chat,
    Labels,
    answered,
    models_of,
    needed,
    publish,
    read_chat,
    read_models,
    scored,
    table,
    word_answers,
)
from chatladder.evaluation.label_errors import log_odds
from chatladder.evaluation.label_sets import Comparison, compare
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, Floats
from chatladder.evaluation.word_baselines import linear_features, logistic
from chatladder.io.console import SETTINGS, example
from chatladder.labels.folds import folds_of

#: The shares of labels that are flipped: in the first set, and in the second.
CONDITIONS = ((0.0, 0.0), (0.1, 0.1), (0.0, 0.1), (0.0, 0.2))


class Judges(NamedTuple):
    """Models that judge two label sets.

    Attributes:
        name: The name in the table.
        chat: The questions that they answered.
        evidence: Their answers to two label sets, larger for "needed", shape ``(models, n)``.
        effort: One draw here for so many draws of others: models that are fitted to each draw take longer.
    """

    name: str
    chat: Chat
    evidence: Callable[[Labels, Labels], Floats]
    effort: int = 1


class Found(NamedTuple):
    """The results of many comparisons.

    Attributes:
        second_worse: The share of draws in which the interval puts more errors into the second set.
        first_worse: The share of draws in which it puts more into the first.
        points: The mean number of errors by which the second set exceeds the first, in 100 labels; NaN if none was
            given.
        power: The mean power that the product reports with its verdict.
    """

    second_worse: float
    first_worse: float
    points: float
    power: float


def codes(labels: Labels) -> Labels:
    """Return NEEDED and NOT_NEEDED for labels of 1 and 0."""
    return np.where(labels == 1, NEEDED, NOT_NEEDED)


def planted(labels: Labels, part: float, noise: np.random.Generator) -> Labels:
    """Return labels, 0 or 1, with the given share of them flipped."""
    wrong = noise.choice(len(labels), round(part * len(labels)), replace=False)
    turned = labels.copy()
    turned[wrong] ^= 1
    return turned


def both_scored(chat: Chat) -> Chat:
    """Return the questions to which both readers gave one of the two labels."""
    return chat.where(scored(chat.readings[0]) & scored(chat.readings[1]))


def learned_from_agreed(features: Any, first: Labels, second: Labels, conversations: Sequence[str]) -> Floats:
    """Return the log-odds of a linear word classifier fitted to the labels on which two sets agree, shape ``(1, n)``.

    Args:
        features: The features of the questions, shape ``(n, features)``.
        first: The labels of one set, 0 or 1, shape ``(n,)``.
        second: Those of the other set.
        conversations: The conversation of each question; the classifier is fitted to other conversations.
    """
    places = folds_of(conversations, 5, 0)
    alike = first == second
    shares = np.full(len(first), 0.5)
    for fold in np.unique(places):
        learned, asked = alike & (places != fold), places == fold
        shares[asked] = logistic(features[learned], first[learned], features[asked])
    return log_odds(shares)[np.newaxis]


def judges_of(chat: Chat) -> list[Judges]:
    """Return the available models: untouched, tuned on other conversations, classifiers of words."""
    found = []
    for kind, name in (("vanilla", "untouched"), ("out_of_fold", "out of fold")):
        if models := models_of(chat, kind):
            asked = chat.where(answered(chat, models))
            known = np.array([answers.log_odds for answers in read_models(asked, models).values()])
            found.append(Judges(f"{name}: {', '.join(models)}", asked, always(known)))
    words = word_answers(chat, needed(chat.readings[0]), repeats=1)
    known = np.array([log_odds(values) for values in words.values()])
    features = linear_features(chat.rows)
    return [
        *found,
        Judges("words, out of fold", chat, always(known)),
        Judges(
            "words, from what both label alike",
            chat,
            lambda first, second: learned_from_agreed(features, first, second, chat.conversations),
            effort=10,
        ),
    ]


def always(evidence: Floats) -> Callable[[Labels, Labels], Floats]:
    """Return evidence that does not depend on the labels."""
    return lambda first, second: evidence


def compare_often(judges: Judges, parts: tuple[float, float], draws: int, seed: int = 0) -> Found:
    """Plant errors repeatedly, and compare.

    Args:
        judges: The models.
        parts: The share of the labels that are flipped in each set.
        draws: The number of draws.
        seed: The seed of the errors.
    """
    noise = np.random.Generator(np.random.PCG64(seed))
    clean = [needed(labels) for labels in judges.chat.readings]
    said: list[Comparison] = []
    for _ in range(max(1, draws // judges.effort) if any(parts) else 1):
        first, second = (planted(own, part, noise) for own, part in zip(clean, parts, strict=True))
        evidence = judges.evidence(first, second)
        said.append(compare(codes(np.stack([first, second])), evidence, judges.chat.conversations))
    points = [each.points for each in said if each.points is not None]
    return Found(
        sum(value.lo > 0 for value in points) / len(said),
        sum(value.hi < 0 for value in points) / len(said),
        float(np.mean([value.value for value in points])) if points else np.nan,
        float(np.mean([each.power for each in said])),
    )


def rows_of(judges: Sequence[Judges], draws: int) -> list[tuple[str, ...]]:
    """Return a row for each kind of models and each condition."""
    rows = []
    for each in judges:
        for parts in CONDITIONS:
            found = compare_often(each, parts, draws)
            points = "-" if np.isnan(found.points) else f"{found.points:+.1f}"
            shares = (f"{value:.2f}" for value in (found.second_worse, found.first_worse))
            turned = " / ".join(f"{part:.0%}" for part in parts)
            rows.append((each.name, f"{len(each.chat.rows):,}", turned, *shares, points, f"{found.power:.2f}"))
    return rows


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--draws", type=click.IntRange(1), default=100, show_default=True, help="Draws of the planted errors.")
def main(draws: int) -> None:
    """Write in how many draws the noisy label set is found."""
    parts = [
        f"Means over {draws} draws of the errors; the first row of each is the labels as they are, compared "
        "once. Found: the 95 % interval lies on one side of 0. Where both sets have 10 %, and where neither has"
        " any, either is a false alarm. Points: errors in 100 labels that the second set has more. Power: what "
        "the product says of itself, the chance to find 15 points. Models out of fold learned from reader A's "
        "labels of other conversations before any error was planted, so they know rather more than a user's "
        f"would. The last kind learns in each of {max(1, draws // 10)} draws anew from what the two sets label "
        "alike, as a user's would. Errors are planted evenly; people's gather on hard questions, where they are"
        " harder to find."
    ]
    header = ("models", "questions", "turned, A / B", "B found", "A found", "points", "power")
    for name in CHATS:
        parts += [f"## {name}", table(header, rows_of(judges_of(both_scored(read_chat(name))), draws))]
    publish("noise", "Is a noisy label set found?", parts)


if __name__ == "__main__":
    main()
