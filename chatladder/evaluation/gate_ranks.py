"""What stands beside the gate and decides nothing: trend by ranks, and distance from a ladder that only rises."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.gate import Sizes, by_size
from chatladder.evaluation.intervals import DIGITS
from chatladder.evaluation.predictions import Rung
from chatladder.evaluation.scores import Floats


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
    return round(float(kendalltau(np.arange(len(sizes.params)), sizes.values[0]).statistic), DIGITS) + 0.0


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
    return round(float(np.sqrt(np.mean((scores - fitted) ** 2))), DIGITS) + 0.0


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
