"""The gate: does agreement with the labels grow with the size of untouched models?

The rule has nothing to tune: no option moves it. For a metric and the dense rungs of a ladder:

- **fail**: a larger size is credibly below a smaller one. Every pair of sizes is compared under simultaneous 95 %
  intervals (max-t: the half-widths are one critical value times each pair's standard error), so that more rungs do
  not make a false alarm more likely.
- **pass**: no pair fails, and the lower end of the slope's 95 % interval against log2(parameters) is above 0.
- **inconclusive**: neither. ``more_items`` then says how many more labelled items would decide, if the estimates
  stayed where they are: half-widths shrink by 1/sqrt(items) until the slope's interval leaves 0 upwards or a pair's
  downwards. Estimates do move, towards 0 above all where there is nothing to find, so this is a guide and no promise.

Draws are of whole conversations, the same for every rung. Items of one conversation share history, speakers and topic;
a bootstrap of single items takes them for independent evidence and makes its intervals too narrow. Equal draws keep
what makes an item hard for every rung out of the differences. The intervals hold the models' weights fixed: another
training seed can move the scores of small models further than the items do, and that is not in them. So on enough
items the gate fails a ladder in which one model merely turned out a little worse than its smaller neighbour.

Source:
    The labels' check by model size is that of arXiv 2405.02817, which judges by eye; intervals and verdict are ours.
    Max-t: Westfall and Young, Resampling-Based Multiple Testing (1993), where it is single-step.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.rungs import Rung
from chatladder.evaluation.scores import (
    NEEDED,
    NOT_NEEDED,
    TAIL,
    Bootstrap,
    Floats,
    interval,
    rounded,
    slope_per_doubling,
)

PASS, INCONCLUSIVE, FAIL = "pass", "inconclusive", "fail"
#: Verdicts as numbers, so that ``dvc metrics diff`` shows a change, not only two words.
CODES = {PASS: 1, INCONCLUSIVE: 0, FAIL: -1}
#: Metrics that the gate judges; the verdict on the first is the gate's own.
GATED = ("precision", "macro_f1", "balanced_accuracy")
#: A rung whose metric is undefined in more draws than this is not measured: dropping them would bend a 2.5 % tail.
UNDEFINED_SHARE = 0.01
#: Percentile intervals over fewer conversations are too narrow to decide anything: on flat ladders of ten, 4 to 8 % of
#: verdicts were "fail" and 5 to 7 % "pass", of thirty 3 to 6 % and 3 to 4 % (2.5 % each is what they are built for).
FEWEST_CONVERSATIONS = 30
#: No number of items is named beyond so many times those at hand: an estimate that is less than a tenth of its
#: half-width from 0 says nothing about where it will end.
MOST_TIMES = 100
#: Below this, a draw's spread is rounding.
_ROUNDING = 1e-12
#: A pass is no proof of the labels.
_LIMIT = (
    "Wrong labels that are spread evenly do not reverse the order of the models, they flatten the slope: compare it "
    "with that of the round before."
)
_FIXED = (
    "The intervals resample conversations and hold the weights fixed: the luck of training, which moves the macro-F1 "
    "of tiny models by .02 to .05, is not in them."
)


class SampleSize(NamedTuple):
    """The number of labelled items that a score rests on, and of their conversations."""

    items: int
    conversations: int


class Pair(NamedTuple):
    """Two sizes, compared: score of the larger minus score of the smaller, with its simultaneous interval."""

    smaller: str
    larger: str
    difference: float
    lo: float
    hi: float


class Sizes(NamedTuple):
    """Scores by size: names, parameters (ascending), and scores, shape ``(1 + draws, sizes)``."""

    names: list[str]
    params: list[int]
    values: Floats


@dataclass(frozen=True)
class Gate:
    """The gate's verdict on one metric.

    Attributes:
        verdict: PASS, INCONCLUSIVE or FAIL.
        slope: Per doubling of the parameters, shape ``(1 + draws,)``; None with fewer than two measured sizes.
        sizes: The scores by size, of what was measured; None with fewer than two sizes.
        pairs: Every pair of sizes.
        worst: The pair that speaks most against growth, in standard errors.
        more_items: Items that would decide an inconclusive verdict, beside those at hand; None if it is decided or no
            number would.
        unmeasured: Rungs for which the metric is not defined, in all draws or in too many; they are left out here.
        undefined_draws: Draws left out because the metric of a rung is not defined there.
        too_few: Whether there are fewer than ``FEWEST_CONVERSATIONS``, which decide nothing.
    """

    verdict: str
    slope: Floats | None
    sizes: Sizes | None
    pairs: list[Pair]
    worst: Pair | None
    more_items: int | None
    unmeasured: list[str]
    undefined_draws: int = 0
    too_few: bool = False


def with_gaps(
    references: NDArray[np.int64], answers: NDArray[np.int64], sample: Bootstrap, scored: Mapping[str, Floats]
) -> dict[str, Floats]:
    """The scores of ``GATED``, NaN in draws that do not define them (``answer_scores`` says 0 there).

    A zero would be a very bad score where there is none. Precision needs an answer "needed", the others an item of
    either label.

    Args:
        references: Labels, shape ``(n,)``.
        answers: Answers, shape ``(n,)``.
        sample: The draws under which ``scored`` was computed.
        scored: Metric -> values, shape ``(1 + draws,)``.
    """
    counts = np.zeros((sample.weights.shape[1], 3))
    np.add.at(counts, sample.clusters, np.stack([answers == NEEDED, references == NEEDED, references == NOT_NEEDED], 1))
    answered, needed, not_needed = (sample.weights @ counts > 0).T
    defined = {"precision": answered}
    return {metric: np.where(defined.get(metric, needed & not_needed), scored[metric], np.nan) for metric in GATED}


def gate_of(rungs: Sequence[Rung], values: Floats, size: SampleSize) -> Gate:
    """Apply the rule to one metric.

    Args:
        rungs: The dense rungs. Those of one size (such as seeds of one model) count as one, their scores averaged;
            the slope is fitted to all of them.
        values: The score of each rung (first) and its draws, shape ``(1 + draws, rungs)``; NaN where not defined.
        size: The number of items and conversations.

    Raises:
        DataError: If the rungs are all of one size.
    """
    usable, whole = measured(values)
    known = [rung for rung, use in zip(rungs, usable, strict=True) if use]
    unmeasured = [rung.key for rung, use in zip(rungs, usable, strict=True) if not use]
    if unmeasured and len({rung.params for rung in known}) < 2:
        return Gate(INCONCLUSIVE, None, None, [], None, None, unmeasured)
    values = values[np.ix_(whole, usable)]
    slope = slope_per_doubling([rung.params for rung in known], values)
    low = float(np.quantile(slope[1:], TAIL))
    sizes = by_size(known, values)
    pairs, worst = compare(sizes)
    verdict, more = INCONCLUSIVE, None
    if any(pair.hi < 0 for pair in pairs):
        verdict = FAIL
    elif low > 0 and not unmeasured:
        # A ladder that is not measured as a whole has not passed; what contradicts it counts all the same.
        verdict = PASS
    elif not unmeasured:
        more = more_items(size.items, float(slope[0]), low, pairs)
    too_few = size.conversations < FEWEST_CONVERSATIONS
    if too_few:
        missing = math.ceil(size.items * (FEWEST_CONVERSATIONS / size.conversations - 1))
        more = missing if verdict != INCONCLUSIVE else more and max(more, missing)
        verdict = INCONCLUSIVE
    return Gate(verdict, slope, sizes, pairs, worst, more, unmeasured, int((~whole).sum()), too_few)


def measured(values: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the rungs that have a score, shape ``(rungs,)``, and the draws that define it for all of those.

    Args:
        values: The score of each rung (first) and its draws, shape ``(1 + draws, rungs)``; NaN where not defined.
    """
    undefined = np.isnan(values)
    usable = np.logical_not(undefined[0] | (undefined[1:].mean(axis=0) > UNDEFINED_SHARE))
    return usable, np.all(~undefined[:, usable], axis=1)


def by_size(rungs: Sequence[Rung], values: Floats) -> Sizes:
    """Average the scores of rungs that have equally many parameters.

    Args:
        rungs: The rungs.
        values: Their scores, shape ``(draws, rungs)``.
    """
    params = sorted({rung.params for rung in rungs})
    places = [[place for place, rung in enumerate(rungs) if rung.params == size] for size in params]
    names = ["+".join(rungs[place].key for place in of_size) for of_size in places]
    return Sizes(names, params, np.stack([values[:, of_size].mean(axis=1) for of_size in places], axis=1))


def compare(sizes: Sizes) -> tuple[list[Pair], Pair]:
    """Every pair of sizes under simultaneous intervals, and the one that speaks most against growth."""
    smaller, larger = np.triu_indices(len(sizes.names), k=1)
    differences = sizes.values[:, larger] - sizes.values[:, smaller]
    low, high = simultaneous(differences)
    pairs = [
        Pair(sizes.names[one], sizes.names[other], *map(float, figures))
        for one, other, *figures in zip(smaller, larger, differences[0], low, high, strict=True)
    ]
    # In half-widths: the lowest upper end alone would name a narrow interval above 0 before a wide one around it.
    return pairs, min(pairs, key=lambda pair: pair.difference / max(pair.hi - pair.difference, _ROUNDING))


def simultaneous(values: Floats) -> tuple[Floats, Floats]:
    """Lower and upper ends of max-t intervals that hold together with 95 % confidence.

    Args:
        values: The estimates (first) and their draws, shape ``(1 + draws, k)``.

    Returns:
        Two arrays of shape ``(k,)``: the estimate minus and plus the 95 % quantile, over draws, of the largest
        deviation in standard errors, times its own standard error.
    """
    estimates, draws = values[0], values[1:]
    errors = draws.std(axis=0, ddof=1)
    errors[errors < _ROUNDING] = 0.0
    deviations = np.divide(np.abs(draws - estimates), errors, out=np.zeros_like(draws), where=errors > 0)
    half = np.quantile(deviations.max(axis=1), 1 - 2 * TAIL) * errors
    return estimates - half, estimates + half


def more_items(items: int, slope: float, low: float, pairs: Sequence[Pair]) -> int | None:
    """Return how many more items would decide at these estimates, with half-widths that shrink by 1/sqrt(items).

    Args:
        items: Items at hand.
        slope: Estimate of the slope.
        low: Lower end of its interval, 0 or less.
        pairs: Pairs of sizes, none credibly below 0.

    Returns:
        The number, at least 1; None if neither the slope nor a pair points anywhere, or only beyond ``MOST_TIMES``.
    """
    # Half-width over estimate: the factor by which the interval has to shrink.
    factors = [(slope - low) / slope] if slope > 0 else []
    factors += [(pair.hi - pair.difference) / -pair.difference for pair in pairs if pair.difference < 0]
    factor = min(factors, default=math.inf)
    if factor > math.sqrt(MOST_TIMES):
        return None
    return max(1, math.floor(items * (factor**2 - 1)) + 1)


def kendall_tau(sizes: Sizes) -> float | None:
    """Kendall's tau-b of score and size; None if all scores are equal.

    Without a p-value: even in perfect order, four sizes are no more than one of 24 orders.

    Args:
        sizes: The scores (first row) by size.

    Source:
        scipy's ``kendalltau``.
    """
    from scipy.stats import kendalltau

    if np.ptp(sizes.values[0]) == 0:
        return None
    return rounded(kendalltau(np.arange(len(sizes.params)), sizes.values[0]).statistic)


def isotonic_residual(sizes: Sizes) -> float:
    """Root mean square distance, in the metric's unit, of the scores from the nearest ladder that never falls.

    0 if the scores never fall.

    Args:
        sizes: The scores (first row) by size.

    Source:
        scikit-learn's ``IsotonicRegression``.
    """
    from sklearn.isotonic import IsotonicRegression

    scores = sizes.values[0]
    fitted = IsotonicRegression().fit_transform(np.arange(len(scores)), scores)
    return rounded(np.sqrt(np.mean((scores - fitted) ** 2)))


def page_p(rungs: Sequence[Rung], correct: NDArray[np.bool_], clusters: NDArray[np.int64]) -> float | None:
    """One-sided p-value of Page's test: is the share of right answers in the order of the sizes?

    A test of accuracy, and so the same for every metric: precision has another denominator in every rung, hence no
    value an item could be ranked by. A block is a conversation, measured by its share of right answers: single items
    are 0 or 1, tied nearly everywhere, and not independent. Blocks count equally whatever their length; one in which
    all sizes are equally right counts for nothing. Ties keep their mean rank, which leaves the variance that the test
    assumes too large and the p-value too large with it, never too small.

    Args:
        rungs: The dense rungs; those of one size are averaged.
        correct: Whether the answer is the label, shape ``(n, rungs)``.
        clusters: Index of each item's conversation, shape ``(n,)``.

    Returns:
        The p-value; None with fewer than three sizes, for which the test is not defined.

    Source:
        scipy's ``page_trend_test``.
    """
    from scipy.stats import page_trend_test

    blocks = by_size(rungs, _means(correct, clusters)).values
    if blocks.shape[1] < 3:
        return None
    return float(f"{page_trend_test(blocks).pvalue:.3g}")


def _means(correct: NDArray[np.bool_], clusters: NDArray[np.int64]) -> Floats:
    """Share of right answers, shape ``(conversations, rungs)``."""
    sums = np.zeros((clusters.max() + 1, correct.shape[1]))
    np.add.at(sums, clusters, correct)
    return sums / np.bincount(clusters)[:, None]


def advice(gate: Gate, metric: str) -> Iterator[str]:
    """The verdict on one metric, why, and what to do.

    Args:
        gate: The verdict.
        metric: Name of the metric, as in ``GATED``.
    """
    name = shown(metric)
    sentence = name[0].upper() + name[1:]
    if gate.verdict == PASS:
        yield f"gate: PASS. {sentence} grows with size, and no larger model is credibly below a smaller one."
        yield f"Nearest to a contradiction in {name}: {pair_text(gate)}."
        yield f"Go on and train. {_LIMIT}"
    elif gate.verdict == FAIL and gate.worst is not None:
        yield f"gate: FAIL. {sentence} falls credibly with size: {pair_text(gate)}."
        yield from _after_a_fail(gate)
    else:
        yield f"gate: INCONCLUSIVE. {_undecided(gate, sentence)}"
        yield from _until_decided(gate)
    yield _FIXED


def _after_a_fail(gate: Gate) -> Iterator[str]:
    yield "Do not train yet: look again at the items on which these two differ, and at the definition of the labels."
    if gate.slope is not None and interval(gate.slope).lo > 0:
        yield (
            "The slope is above 0 all the same, so this may be one model and not the labels: a second rung of its size "
            "from another seed shows which, as the scores of equal sizes are averaged."
        )


def _undecided(gate: Gate, name: str) -> str:
    if gate.too_few:
        return f"Intervals over fewer than {FEWEST_CONVERSATIONS} conversations decide nothing."
    if gate.unmeasured:
        return f"{name} is not defined for {', '.join(gate.unmeasured)}: too few answers or labels of its kind."
    return f"{name} neither grows credibly with size nor credibly falls anywhere."


def _until_decided(gate: Gate) -> Iterator[str]:
    if gate.unmeasured:
        yield "Take that rung off the ladder, or go by the verdict on the centred answers."
    elif gate.more_items is None:
        yield (
            "More items would not help: the models differ too little. Add a rung of quite another size, or look again "
            "at the definition of the labels."
        )
    else:
        yield (
            f"About {gate.more_items:,} more labelled items would decide if the estimates stayed where they are. They "
            "will move, and if size makes no difference to these labels, no number decides."
        )


def pair_text(gate: Gate) -> str:
    """The worst pair, as ``large against small -0.050 [-0.080, -0.020]``."""
    if gate.worst is None:
        return "no pair"
    smaller, larger, difference, low, high = gate.worst
    return f"{larger} against {smaller} {difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def overview(title: str, gates: Mapping[str, Gate]) -> str:
    """One line with the verdict on every metric.

    Args:
        title: The name of the reading of the answers.
        gates: Metric -> gate.
    """
    parts = []
    for metric in GATED:
        gate = gates[metric]
        slope = "not defined"
        if gate.slope is not None:
            value, low, high = interval(gate.slope)
            slope = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
        parts.append(f"{shown(metric)} {gate.verdict} {slope}")
    return f"{title}: {', '.join(parts)}"


def leaning(raw: Gate, centred: Gate) -> Iterator[str]:
    """A warning if a pass rests on the raw answers alone."""
    if raw.verdict == PASS and centred.verdict == INCONCLUSIVE:
        yield (
            "Once each model's own leaning to one answer is taken off, this growth is no longer credible: part of it "
            "is that leaning."
        )
    elif raw.verdict == PASS and centred.verdict == FAIL:
        yield f"Once each model's own leaning to one answer is taken off, the order breaks: {pair_text(centred)}."


def shown(metric: str) -> str:
    """A metric's name as text shows it."""
    return {"macro_f1": "macro-F1"}.get(metric, metric.replace("_", " "))
