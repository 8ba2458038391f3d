"""Scores of answers against labels, for many weightings of the same items at once, and intervals over conversations.

Every score is a function of weighted counts, so a bootstrap is one matrix product, not a loop over samples.
An answer ``unknown`` (which includes every answer that could not be read) is neither ``needed`` nor
``not_needed``: it lowers the recall of its true class, counts towards no precision, and is never guessed.

Where more than two labels are scored, precision, recall and F1 are means over the labels, and those of each label stand
beside them. AUROC is the mean over the labels of each against the rest: every label is ranked by its own probability,
as whoever looks for that label would rank. (Hand and Till's mean over pairs of labels rests on few items where two
labels are rare.)

Questions of one conversation share their history, speakers and topic, so they are not independent: whole
conversations are drawn, and an interval over single items would be too narrow. One matrix of weights serves
every rung, before and after training, so differences between them are paired.

Which seed a model was trained with is luck, too. Where there are several, a score is their mean, and its interval holds
the spread over conversations and the spread over seeds.
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

#: Codes of a label where there are two.
NEEDED, NOT_NEEDED = range(2)
#: Code of an answer that names no label: labels and answers have their places in ``ANSWERS``.
UNKNOWN = len(SCORED)
#: Balanced accuracy is the mean recall of the labels.
METRICS = (
    *(("precision", "recall", "f1") if IS_BINARY else ("accuracy", "macro_precision")),
    *("macro_f1", "balanced_accuracy", "mcc", "unknown", "auroc"),
)
#: Two that say in short how good answers are.
SHORT = ("f1" if IS_BINARY else "accuracy", "macro_f1")

#: Share of the draws left out on either side: 95 % intervals.
TAIL = 0.025
#: Over fewer conversations no interval is given: one of two or three that are drawn holds the truth far less often than
#: it says (eight of ten times at four conversations, nine of ten at ten).
FEWEST_DRAWN = 10
#: Digits kept in metrics files: what ``dvc metrics diff`` shows.
DIGITS = 5
#: Draws whose weights are expanded from conversations to items together, to bound memory.
_BLOCK = 250


class Interval(NamedTuple):
    """A value and its 95 % interval; the ends are NaN where there is none."""

    value: float
    lo: float
    hi: float

    def named(self, name: str) -> dict[str, float | None]:
        """Return what a metrics file has: ``name``, ``name_lo`` and ``name_hi``, rounded, and None for NaN."""
        return {name + end: rounded_or_none(figure) for end, figure in zip(("", "_lo", "_hi"), self, strict=True)}


def scores(
    references: NDArray[np.int64],
    answers: NDArray[np.int64],
    evidence: Floats,
    clusters: NDArray[np.int64],
    weights: Floats,
) -> dict[str, Floats]:
    """All of ``METRICS`` under every row of ``weights``: ``answer_scores`` and ``auroc`` together."""
    return {
        **answer_scores(references, answers, clusters, weights),
        "auroc": auroc(references, evidence, clusters, weights),
    }


def answer_scores(
    references: NDArray[np.int64], answers: NDArray[np.int64], clusters: NDArray[np.int64], weights: Floats
) -> dict[str, Floats]:
    """All of ``METRICS`` but ``auroc`` under every row of ``weights``.

    Args:
        references: Labels, as codes, shape ``(n,)``.
        answers: Answers, as codes, shape ``(n,)``.
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: How often each conversation counts, shape ``(draws, conversations)``.

    Returns:
        Metric -> values, shape ``(draws,)``. Precision, recall and f1 are of "needed"; of more than two labels each
        has its own, as ``precision_<label>``. A ratio whose denominator is zero is 0.

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
    """Weighted counts by label and answer, shape ``(draws, labels, labels + 1)``."""
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
    """Return scores label by label, as ``f1_<label>``, of scores of shape ``(draws, labels)``."""
    names = enumerate(SCORED)
    return {f"{metric}_{name}": values[:, code] for code, name in names for metric, values in by_label.items()}


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def auroc(references: NDArray[np.int64], evidence: Floats, clusters: NDArray[np.int64], weights: Floats) -> Floats:
    """Weighted share of (needed, not needed) pairs that the evidence orders rightly; a tie counts half.

    Args:
        references: Labels, as codes, shape ``(n,)``.
        evidence: The larger, the more "needed", shape ``(n,)``; NaN where there is none, which ties with every item.
            With more than two labels that for each, shape ``(n, labels)``.
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: How often each conversation counts, shape ``(draws, conversations)``.

    Returns:
        Values, shape ``(draws,)``: of more than two labels the mean of each against the rest, those left out that a
        draw lacks. 0.5 where it lacks one of two.

    Source:
        scikit-learn's ``roc_auc_score``; of more than two labels with ``multi_class="ovr"``.
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
    """Return evidence label by label, shape ``(labels, n)``; of two labels that for the first says all."""
    return np.atleast_2d(evidence.T)


def _ordered_rightly(
    is_label: NDArray[np.bool_], evidence: Floats, clusters: NDArray[np.int64], weights: Floats
) -> Floats:
    """Return what ``auroc`` is of one label; NaN where a draw has no item of it, or no other."""
    result = np.full(len(weights), np.nan)
    without = np.isnan(evidence)
    # NaN is sorted to the end, and left out of what is ranked.
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
    """AUROC, and what each item adds to it.

    Args:
        references: Labels, as codes, shape ``(n,)``, two of them there.
        evidence: The larger, the more "needed", shape ``(n,)``; a tie counts half. NaN, for none, ties with every item.
            With more than two labels that for each, shape ``(n, labels)``.

    Returns:
        The AUROC (of more than two labels the mean over those that are there), and the influence of each item, shape
        ``(n,)``: their sum is 0, and the sum of their squares (by conversation, see ``clustered_variance``) estimates
        the variance of the AUROC.

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
    """Return what ``auroc_of`` is of one label, which some items have and others not."""
    from scipy.stats import rankdata

    known = ~np.isnan(evidence)
    places = np.full(len(evidence), np.nan)
    places[known] = rankdata(evidence[known])
    placed = np.full(len(evidence), 0.5)
    for own, other in ((is_label, ~is_label), (~is_label, is_label)):
        ranked = own & known
        below = places[ranked] - rankdata(evidence[ranked])
        placed[ranked] = (below + np.count_nonzero(other & ~known) / 2) / other.sum()
    # Of an item without the label it is the share of those with it that are above it.
    placed[~is_label] = 1 - placed[~is_label]
    area = float(placed[is_label].mean())
    return area, (placed - area) / np.where(is_label, is_label.sum(), (~is_label).sum())


def precision_of(references: NDArray[np.int64], answers: NDArray[np.int64]) -> tuple[float, Floats]:
    """Precision of "needed", and what each item adds to it, as ``auroc_of``; NaN where nothing is answered so.

    With more than two labels it is that of all answers that name one: a model that never names some has it, too.
    """
    given = answers == NEEDED if IS_BINARY else answers != UNKNOWN
    if not given.any():
        return np.nan, np.full(len(answers), np.nan)
    is_right = references == answers
    precision = float(is_right[given].mean())
    return precision, np.where(given, is_right - precision, 0.0) / given.sum()


def clustered_variance(influence: Floats, clusters: NDArray[np.int64]) -> float:
    """Variance of an estimate over conversations, from what each item adds to it.

    What a bootstrap of conversations estimates by drawing, in closed form.

    Args:
        influence: Shape ``(n,)``, of sum 0.
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
    """Weights of conversations.

    Attributes:
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: How often each conversation was drawn, shape ``(1 + draws, conversations)``. Row 0 is all
            ones, so the score itself and its draws come from one computation. With fewer than ``FEWEST_DRAWN``
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
    """Return the index of each item's conversation, shape ``(n,)``, in the order in which they first occur."""
    index = {conversation: place for place, conversation in enumerate(dict.fromkeys(conversations))}
    return np.array([index[conversation] for conversation in conversations], dtype=np.int64)


def _too_few(conversations: int) -> str:
    return f"intervals: expected items of two conversations or more, got {conversations}. Annotate more conversations."


def interval(values: Floats) -> Interval:
    """Return the value and its 95 % percentile interval, rounded to ``DIGITS``.

    Args:
        values: The value (first) and its draws, shape ``(1 + draws,)``; without draws the ends are NaN.
    """
    low, high = np.quantile(values[1:], [TAIL, 1 - TAIL]) if len(values) > 1 else (np.nan, np.nan)
    return Interval(*(rounded(figure) for figure in (values[0], low, high)))


class OverSeeds(NamedTuple):
    """A score's mean over seeds with its 95 % interval, and the standard deviation over seeds (NaN of one seed)."""

    mean: Interval
    sd: float

    def named(self, name: str) -> dict[str, float | None]:
        """Return the figures as a metrics file has them: those of the interval, and ``name_sd`` of several seeds."""
        spread = {} if math.isnan(self.sd) else {f"{name}_sd": rounded(self.sd)}
        return {**self.mean.named(name), **spread}


def over_seeds(values: Floats, conversations: int) -> OverSeeds:
    """Return the mean of a score over seeds, with an interval that holds both conversations and seeds.

    Its variance is the sum of two: that of the mean over seeds, by a bootstrap of conversations, and the variance
    between seeds over their number. The latter holds a little of the former, so the interval is rather too wide than
    too narrow. Of one seed it is the percentile interval, of conversations alone.

    Args:
        values: Of each seed the score (first) and its draws, the same draws for all, shape ``(seeds, 1 + draws)``.
        conversations: How many were drawn from.

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
    """Return a figure as ``rounded``, or None for NaN, which JSON has no word for."""
    return None if math.isnan(value) else rounded(value)


def rounded(value: float) -> float:
    """Return a figure to ``DIGITS``, without -0.0, which would look like a change in a diff."""
    return round(float(value), DIGITS) + 0.0
