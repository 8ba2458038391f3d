"""Scores of answers against labels, for many weightings of the same items at once, and intervals over conversations.

Every score is a function of weighted counts, so a bootstrap is one matrix product, not a loop over samples.
An answer ``unknown`` (which includes every unparsed answer) is neither ``needed`` nor ``not_needed``: it lowers the
recall of its true class, counts towards no precision, and is never guessed.

With more than two labels, precision, recall and F1 are means over the labels, and those of each label are given too.
AUROC is the mean one-vs-rest AUROC: every label is ranked by its own probability, as in a search for that label.
(Hand and Till's mean over pairs of labels depends on few items if two labels are rare.)

Questions of one conversation share their history, speakers and topic, so they are not independent: whole
conversations are drawn, since an interval over single items would be too narrow. One matrix of weights serves
every rung, before and after training, so differences between them are paired.

The training seed is a source of variance, too. With several seeds a score is their mean, and its interval covers the
variance over conversations and over seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.io.console import DataError
from chatladder.io.options import setting
from chatladder.vocabulary import ANSWERS, IS_BINARY, SCORED

Floats = NDArray[np.float64]

#: The codes of the two labels of a binary task.
NEEDED, NOT_NEEDED = range(2)
#: Code of an answer that names no label; labels and answers are coded by their index into ``ANSWERS``.
UNKNOWN = len(SCORED)
#: Balanced accuracy is the mean recall of the labels.
METRICS = (
    *(("precision", "recall", "f1") if IS_BINARY else ("accuracy", "macro_precision")),
    *("macro_f1", "balanced_accuracy", "mcc", "unknown", "auroc"),
)
#: The two metrics of a short summary.
SHORT = ("f1" if IS_BINARY else "accuracy", "macro_f1")

#: Share of the draws beyond either end of an interval, for 95 %.
TAIL = 0.025
#: Fewer conversations get no interval, since it would cover the truth far less often than 95 % (eight times in ten
#: with four conversations, nine in ten with ten).
FEWEST_DRAWN = 10
#: Digits of figures in metrics files, as ``dvc metrics diff`` shows them.
DIGITS = 5
#: Draws whose weights are expanded from conversations to items together, to bound memory.
_BLOCK = 250


class Interval(NamedTuple):
    """A value and its 95 % interval; the ends are NaN if there is none."""

    value: float
    lo: float
    hi: float

    def named(self, name: str) -> dict[str, float | None]:
        """Return the figures of a metrics file: ``name``, ``name_lo`` and ``name_hi``, rounded, None for NaN."""
        return {name + end: rounded_or_none(figure) for end, figure in zip(("", "_lo", "_hi"), self, strict=True)}


def scores(
    references: NDArray[np.int64],
    answers: NDArray[np.int64],
    evidence: Floats,
    clusters: NDArray[np.int64],
    weights: Floats,
) -> dict[str, Floats]:
    """Return all of ``METRICS`` under every row of ``weights``: ``answer_scores`` and ``auroc`` together."""
    return {
        **answer_scores(references, answers, clusters, weights),
        "auroc": auroc(references, evidence, clusters, weights),
    }


def answer_scores(
    references: NDArray[np.int64], answers: NDArray[np.int64], clusters: NDArray[np.int64], weights: Floats
) -> dict[str, Floats]:
    """Return all of ``METRICS`` except ``auroc`` under every row of ``weights``.

    Args:
        references: Labels, as codes, shape ``(n,)``.
        answers: Answers, as codes, shape ``(n,)``.
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: The weight of each conversation, shape ``(draws, conversations)``.

    Returns:
        Metric -> values, shape ``(draws,)``. Precision, recall and F1 are those of "needed"; with more than two labels
        each label has them, as ``precision_<label>``. A ratio whose denominator is zero is 0.

    Raises:
        DataError: If the lengths differ or are zero.

    Source:
        scikit-learn's ``precision_recall_fscore_support``, ``balanced_accuracy_score`` and
        ``matthews_corrcoef`` (with "unknown" as one more answer).
    """
    count = len(references)
    if not count or len(answers) != count or len(clusters) != count:
        raise DataError(f"scores: expected one answer for each label, got {len(answers)} for {count}.")
    return _count_scores(_confusion(references, answers, clusters, weights))


def _confusion(
    references: NDArray[np.int64], answers: NDArray[np.int64], clusters: NDArray[np.int64], weights: Floats
) -> Floats:
    """Return weighted counts by label and answer, shape ``(draws, labels, labels + 1)``."""
    labels, cells = len(SCORED), len(SCORED) * len(ANSWERS)
    filled = clusters * cells + references * len(ANSWERS) + answers
    by_cluster = np.bincount(filled, minlength=weights.shape[1] * cells).reshape(-1, cells)
    return (weights @ by_cluster.astype(np.float64)).reshape(-1, labels, len(ANSWERS))


def _count_scores(counts: Floats) -> dict[str, Floats]:
    true = counts.sum(axis=2)
    given = counts.sum(axis=1)
    named = given[:, :UNKNOWN]
    hits = np.diagonal(counts, axis1=1, axis2=2)
    total = true.sum(axis=1)
    precisions, recalls, f1s = _ratio(hits, named), _ratio(hits, true), _ratio(2 * hits, true + named)
    covariance = hits.sum(axis=1) * total - (true * named).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (given**2).sum(axis=1))
    by_label = {"precision": precisions, "recall": recalls, "f1": f1s}
    several = {"accuracy": _ratio(hits.sum(axis=1), total), "macro_precision": precisions.mean(axis=1)}
    return {
        **({metric: values[:, NEEDED] for metric, values in by_label.items()} if IS_BINARY else several),
        "macro_f1": f1s.mean(axis=1),
        "balanced_accuracy": recalls.mean(axis=1),
        "mcc": _ratio(covariance, np.sqrt(spread)),
        "unknown": _ratio(given[:, UNKNOWN], total),
        **({} if IS_BINARY else _of_each(by_label)),
    }


def _of_each(by_label: Mapping[str, Floats]) -> dict[str, Floats]:
    """Split scores of shape ``(draws, labels)`` by label, as ``f1_<label>``."""
    names = enumerate(SCORED)
    return {f"{metric}_{name}": values[:, code] for code, name in names for metric, values in by_label.items()}


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def auroc(references: NDArray[np.int64], evidence: Floats, clusters: NDArray[np.int64], weights: Floats) -> Floats:
    """Return the weighted share of (needed, not needed) pairs that the evidence orders rightly; a tie counts half.

    Args:
        references: Labels, as codes, shape ``(n,)``.
        evidence: The evidence, larger for "needed", shape ``(n,)``; NaN for none, which ties with every item.
            With more than two labels the evidence for each, shape ``(n, labels)``.
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: The weight of each conversation, shape ``(draws, conversations)``.

    Returns:
        Values, shape ``(draws,)``; with more than two labels the one-vs-rest mean over the labels that the draw
        contains. 0.5 if a draw lacks one of two labels.

    Source:
        scikit-learn's ``roc_auc_score``; with more than two labels ``multi_class="ovr"``.
    """
    shares = np.array(
        [
            _ordered_rightly(references == label, values, clusters, weights)
            for label, values in enumerate(_by_label(evidence))
        ]
    )
    is_defined = ~np.isnan(shares)
    means = _ratio(np.nansum(shares, axis=0), is_defined.sum(axis=0, dtype=np.float64))
    return np.where(is_defined.any(axis=0), means, 0.5)


def _by_label(evidence: Floats) -> Floats:
    """Return evidence by label, shape ``(labels, n)``; with two labels the evidence for the first is enough."""
    return np.atleast_2d(evidence.T)


def _ordered_rightly(
    is_label: NDArray[np.bool_], evidence: Floats, clusters: NDArray[np.int64], weights: Floats
) -> Floats:
    """Return the AUROC of one label against the rest; NaN if a draw lacks items with it or without it."""
    result = np.full(len(weights), np.nan)
    without = np.isnan(evidence)
    # NaN sorts to the end, and is not ranked.
    order = np.argsort(evidence, kind="stable")[: np.count_nonzero(~without)]
    if not len(order):
        return result
    ties = np.flatnonzero(np.diff(evidence[order], prepend=-np.inf))
    ranked_label, unranked = is_label[order], is_label[without]
    for start in range(0, len(weights), _BLOCK):
        drawn = weights[start : start + _BLOCK]
        items, rest = drawn[:, clusters[order]], drawn[:, clusters[without]]
        own = np.add.reduceat(items * ranked_label, ties, axis=1)
        others = np.add.reduceat(items * ~ranked_label, ties, axis=1)
        below = np.cumsum(others, axis=1) - others / 2
        ranked = own.sum(axis=1) * others.sum(axis=1)
        pairs = (own.sum(axis=1) + rest @ unranked) * (others.sum(axis=1) + rest @ ~unranked)
        right = (own * below).sum(axis=1) + (pairs - ranked) / 2
        np.divide(right, pairs, out=result[start : start + _BLOCK], where=pairs > 0)
    return result


def auroc_of(references: NDArray[np.int64], evidence: Floats) -> tuple[float, Floats]:
    """Return the AUROC and the influence of each item on it.

    Args:
        references: Labels, as codes, shape ``(n,)``; at least two must occur.
        evidence: The evidence, larger for "needed", shape ``(n,)``; a tie counts half. NaN, for none, ties with every
            item. With more than two labels the evidence for each, shape ``(n, labels)``.

    Returns:
        The AUROC (with more than two labels the mean over those that occur), and the influence of each item, shape
        ``(n,)``: the influences sum to 0, and the sum of their squares (by conversation, see ``clustered_variance``)
        estimates the variance of the AUROC.

    Source:
        DeLong, DeLong and Clarke-Pearson (1988) in the form of Sun and Xu (2014). Scores: scikit-learn's
        ``roc_auc_score``.
    """
    areas, influences = zip(
        *(
            _area_of(references == label, values)
            for label, values in enumerate(_by_label(evidence))
            if (references == label).any()
        ),
        strict=True,
    )
    return float(np.mean(areas)), np.mean(influences, axis=0)


def _area_of(is_label: NDArray[np.bool_], evidence: Floats) -> tuple[float, Floats]:
    """Return the AUROC of one label against the rest and the influences; items with and without it must occur."""
    from scipy.stats import rankdata

    known = ~np.isnan(evidence)
    places = np.full(len(evidence), np.nan)
    places[known] = rankdata(evidence[known])
    placed = np.full(len(evidence), 0.5)
    for own, other in ((is_label, ~is_label), (~is_label, is_label)):
        ranked = own & known
        below = places[ranked] - rankdata(evidence[ranked])
        placed[ranked] = (below + np.count_nonzero(other & ~known) / 2) / other.sum()
    # For an item without the label, the share of items with the label that rank above it.
    placed[~is_label] = 1 - placed[~is_label]
    area = float(placed[is_label].mean())
    return area, (placed - area) / np.where(is_label, is_label.sum(), (~is_label).sum())


def precision_of(references: NDArray[np.int64], answers: NDArray[np.int64]) -> tuple[float, Floats]:
    """Return the precision of "needed" and the influence of each item on it; NaN if no answer is "needed".

    With more than two labels it is the precision of all answers that name a label, so that it is defined even for a
    model that never names some of them.
    """
    given = answers == NEEDED if IS_BINARY else answers != UNKNOWN
    if not given.any():
        return np.nan, np.full(len(answers), np.nan)
    is_right = references == answers
    precision = float(is_right[given].mean())
    return precision, np.where(given, is_right - precision, 0.0) / given.sum()


def clustered_variance(influence: Floats, clusters: NDArray[np.int64]) -> float:
    """Return the variance of an estimate over conversations, from the influence of each item on it.

    This is the closed form of what a bootstrap over conversations estimates by drawing.

    Args:
        influence: The influence of each item, shape ``(n,)``, with sum 0.
        clusters: Index of each item's conversation, shape ``(n,)``.

    Raises:
        DataError: If there are fewer than two conversations.

    Source:
        Obuchowski (1997), Biometrics 53, 567-578.
    """
    count = len(np.unique(clusters))
    if count < 2:
        raise DataError(_too_few(count))
    sums = np.bincount(clusters, weights=influence)
    return float(sums @ sums) * count / (count - 1)


@dataclass(frozen=True)
class Draws:
    """The settings of a bootstrap."""

    seed: int = setting("Seed of the bootstrap.", least=0)
    draws: int = setting("Bootstrap draws.", default=2000, least=100)


@dataclass(frozen=True)
class Bootstrap:
    """Bootstrap weights of conversations.

    Attributes:
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: The number of times that each conversation was drawn, shape ``(1 + draws, conversations)``. Row 0 is
            all ones, so the score itself and its draws come from one computation. With fewer than ``FEWEST_DRAWN``
            conversations it is the only row.
    """

    clusters: NDArray[np.int64]
    weights: Floats


def bootstrap(conversations: Sequence[str], settings: Draws) -> Bootstrap:
    """Draw conversations with replacement, as many as there are.

    Args:
        conversations: The conversation of each item, shape ``(n,)``.
        settings: The number of draws, and the seed of the generator (PCG64).
    """
    clusters, count = clusters_of(conversations), len(set(conversations))
    generator = np.random.Generator(np.random.PCG64(settings.seed))
    draws = settings.draws if count >= FEWEST_DRAWN else 0
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=draws)
    return Bootstrap(clusters=clusters, weights=np.concatenate([np.ones((1, count)), drawn]))


def clusters_of(conversations: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of each item's conversation, by order of first occurrence, shape ``(n,)``."""
    index = {conversation: place for place, conversation in enumerate(dict.fromkeys(conversations))}
    return np.array([index[conversation] for conversation in conversations], dtype=np.int64)


def _too_few(conversations: int) -> str:
    return f"intervals: expected items of two conversations or more, got {conversations}. Annotate more conversations."


def interval(values: Floats) -> Interval:
    """Return a value and its 95 % percentile interval, rounded to ``DIGITS``.

    Args:
        values: The value, then its draws, shape ``(1 + draws,)``; without draws the ends are NaN.
    """
    low, high = np.quantile(values[1:], [TAIL, 1 - TAIL]) if len(values) > 1 else (np.nan, np.nan)
    return Interval(*(rounded(figure) for figure in (values[0], low, high)))


class OverSeeds(NamedTuple):
    """A score's mean over seeds with its 95 % interval, and the standard deviation over seeds (NaN for one seed)."""

    mean: Interval
    sd: float

    def named(self, name: str) -> dict[str, float | None]:
        """Return the figures of a metrics file: those of the interval, and ``name_sd`` if there are several seeds."""
        spread = {} if math.isnan(self.sd) else {f"{name}_sd": rounded(self.sd)}
        return {**self.mean.named(name), **spread}


def over_seeds(values: Floats, conversations: int) -> OverSeeds:
    """Return the mean of a score over seeds, with an interval over both conversations and seeds.

    Its variance is a sum: the variance of the mean over seeds, by a bootstrap over conversations, and the variance
    between seeds divided by their number. The latter includes a little of the former, so the interval errs on the wide
    side. For one seed it is the percentile interval, over conversations alone.

    Args:
        values: Each seed's score, then its draws, the same draws for all seeds, shape ``(seeds, 1 + draws)``.
        conversations: The number of conversations.

    Source:
        Student's t with the degrees of freedom of Satterthwaite (1946), Biometrics Bulletin 2, 110-114.
    """
    from scipy.stats import t

    seeds = len(values)
    if seeds == 1:
        return OverSeeds(interval(values[0]), np.nan)
    mean, sd = values.mean(axis=0), float(values[:, 0].std(ddof=1))
    if len(mean) == 1:
        return OverSeeds(interval(mean), sd)
    by_items, by_seeds = float(mean[1:].var(ddof=1)), sd**2 / seeds
    variance = by_items + by_seeds
    half = 0.0
    if variance > 0:
        free = variance**2 / (by_items**2 / (conversations - 1) + by_seeds**2 / (seeds - 1))
        half = float(t.ppf(1 - TAIL, free)) * math.sqrt(variance)
    return OverSeeds(Interval(float(mean[0]), float(mean[0]) - half, float(mean[0]) + half), sd)


def rounded_or_none(value: float) -> float | None:
    """Return a figure as ``rounded`` does, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else rounded(value)


def rounded(value: float) -> float:
    """Round a figure to ``DIGITS``, without -0.0, which would look like a change in a diff."""
    return round(float(value), DIGITS) + 0.0
