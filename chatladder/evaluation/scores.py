"""Scores of answers against labels, for many weightings of the same items at once.

Every score is a function of weighted counts, so a bootstrap is one matrix product, not a loop over samples.
An answer ``unknown`` (which includes every answer that could not be read) is neither ``needed`` nor
``not_needed``: it lowers the recall of its true class, counts towards no precision, and is never guessed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatladder.io.console import DataError

Floats = NDArray[np.float64]

#: Codes of an answer; the first two are also the codes of a label.
NEEDED, NOT_NEEDED, UNKNOWN = range(3)
METRICS = ("precision", "recall", "f1", "macro_f1", "balanced_accuracy", "mcc", "unknown", "auroc")

#: Draws whose weights are expanded from conversations to items together, to bound memory.
_BLOCK = 250


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
        references: Labels, NEEDED or NOT_NEEDED, shape ``(n,)``.
        answers: NEEDED, NOT_NEEDED or UNKNOWN, shape ``(n,)``.
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: How often each conversation counts, shape ``(draws, conversations)``.

    Returns:
        Metric -> values, shape ``(draws,)``. Precision, recall and f1 are of "needed"; a ratio whose
        denominator is zero is 0.

    Raises:
        DataError: If the lengths differ or are zero.

    Source:
        scikit-learn's ``precision_recall_fscore_support``, ``balanced_accuracy_score`` and
        ``matthews_corrcoef`` (with three answers).
    """
    count = len(references)
    if not count or len(answers) != count or len(clusters) != count:
        raise DataError(f"scores: expected one answer for each label, got {len(answers)} for {count}.")
    return _count_scores(_confusion(references, answers, clusters, weights))


def single_scores(references: Any, answers: Any, evidence: Any) -> dict[str, float]:
    """All of ``METRICS`` of one set of items, each counted once; arrays as in ``scores``."""
    together = np.zeros(len(references), dtype=np.int64)
    values = scores(np.asarray(references), np.asarray(answers), np.asarray(evidence, float), together, np.ones((1, 1)))
    return {metric: float(value[0]) for metric, value in values.items()}


def _confusion(
    references: NDArray[np.int64], answers: NDArray[np.int64], clusters: NDArray[np.int64], weights: Floats
) -> Floats:
    """Weighted counts by label and answer, shape ``(draws, 2, 3)``."""
    cells = clusters * 6 + references * 3 + answers
    by_cluster = np.bincount(cells, minlength=weights.shape[1] * 6).reshape(-1, 6)
    return (weights @ by_cluster.astype(np.float64)).reshape(-1, 2, 3)


def _count_scores(counts: Floats) -> dict[str, Floats]:
    true = counts.sum(axis=2)
    given = counts.sum(axis=1)
    hits = np.stack([counts[:, NEEDED, NEEDED], counts[:, NOT_NEEDED, NOT_NEEDED]], axis=1)
    total = true.sum(axis=1)
    recalls = _ratio(hits, true)
    f1s = _ratio(2 * hits, true + given[:, :2])
    covariance = hits.sum(axis=1) * total - (true * given[:, :2]).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (given**2).sum(axis=1))
    return {
        "precision": _ratio(hits[:, NEEDED], given[:, NEEDED]),
        "recall": recalls[:, NEEDED],
        "f1": f1s[:, NEEDED],
        "macro_f1": f1s.mean(axis=1),
        "balanced_accuracy": recalls.mean(axis=1),
        "mcc": _ratio(covariance, np.sqrt(spread)),
        "unknown": _ratio(given[:, UNKNOWN], total),
    }


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def auroc(references: NDArray[np.int64], evidence: Floats, clusters: NDArray[np.int64], weights: Floats) -> Floats:
    """Weighted share of (needed, not needed) pairs that the evidence orders rightly; a tie counts half.

    Args:
        references: Labels, NEEDED or NOT_NEEDED, shape ``(n,)``.
        evidence: The larger, the more "needed", shape ``(n,)``.
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: How often each conversation counts, shape ``(draws, conversations)``.

    Returns:
        Values, shape ``(draws,)``; 0.5 where a draw lacks one of the classes.

    Source:
        scikit-learn's ``roc_auc_score``.
    """
    order = np.argsort(evidence, kind="stable")
    ties = np.flatnonzero(np.diff(evidence[order], prepend=-np.inf))
    is_needed = references[order] == NEEDED
    result = np.full(len(weights), 0.5)
    for start in range(0, len(weights), _BLOCK):
        items = weights[start : start + _BLOCK, clusters[order]]
        needed = np.add.reduceat(items * is_needed, ties, axis=1)
        others = np.add.reduceat(items * ~is_needed, ties, axis=1)
        below = np.cumsum(others, axis=1) - others / 2
        pairs = needed.sum(axis=1) * others.sum(axis=1)
        np.divide((needed * below).sum(axis=1), pairs, out=result[start : start + _BLOCK], where=pairs > 0)
    return result
