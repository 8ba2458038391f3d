"""The decision threshold of a tuned rung, chosen on the validation items.

A tuned rung can rank questions well while its most probable option is the same for all of them, since the level of its
log-odds depends on the shares of the labels and on the few steps of training. So its log-odds decide, at a threshold
that is chosen on items that are neither trained on nor scored. Untouched models have no threshold, since choosing one
takes labels. A task of more than two labels has none either: the most probable option is the answer.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.predictions import Predictions
from chatladder.evaluation.scores import DIGITS, NEEDED, NOT_NEEDED, UNKNOWN, Floats

#: The fewest items that a threshold is chosen on, and the fewest of either label.
FEWEST, FEWEST_OF_LABEL = 20, 5
#: Under ``tuned`` in ``metrics/models.json``: macro-F1 of the most probable options, and the threshold of each seed.
ARGMAX, THRESHOLDS = "macro_f1_argmax", "thresholds"


def is_enough(references: NDArray[np.int64]) -> bool:
    """Return True if a threshold can be chosen on items with these labels."""
    fewest = np.bincount(references, minlength=2).min()
    return bool(len(references) >= FEWEST and fewest >= FEWEST_OF_LABEL)


def choose(predictions: Predictions, references: NDArray[np.int64]) -> float | None:
    """Return the log-odds at which a model's answers are decided, rounded to ``DIGITS``.

    Args:
        predictions: The model's answers to the validation items.
        references: Their labels, NEEDED or NOT_NEEDED, shape ``(n,)``.

    Returns:
        The threshold; None if too few items have a probability, all have the same one, or more than two labels are
        scored. The answers are then left as they are.
    """
    if predictions.log_odds.ndim > 1:
        return None
    known = predictions.known
    log_odds, labels = predictions.log_odds[known], references[known]
    if not is_enough(labels) or np.ptp(log_odds) == 0:
        return None
    return round(central_threshold(log_odds, labels), DIGITS)


def central_threshold(log_odds: Floats, references: NDArray[np.int64]) -> float:
    """Return the mean of the thresholds whose macro-F1 is near the highest one.

    The candidates are the midpoints of neighbouring values. The best one on few items is often luck; the mean of all
    within one standard error of it (the largest possible one for a share of n items) loses less on other items.

    Args:
        log_odds: The log-odds, shape ``(n,)``, with at least two distinct values.
        references: Labels, NEEDED or NOT_NEEDED, shape ``(n,)``.
    """
    values, places = np.unique(log_odds, return_inverse=True)
    needed, others = (np.bincount(places, references == label).cumsum() for label in (NEEDED, NOT_NEEDED))
    hits, below = needed[-1] - needed, needed + others
    macro_f1 = hits / (below[-1] - below + needed[-1]) + others / (below + others[-1])
    near = macro_f1[:-1] >= macro_f1[:-1].max() - 0.5 / math.sqrt(len(references))
    return float(((values[1:] + values[:-1]) / 2)[near].mean())


def decide(predictions: Predictions, threshold: float | None) -> Predictions:
    """Return the predictions with their answers decided at a threshold; unchanged if it is None.

    Answers without probabilities are left as they are.
    """
    if threshold is None:
        return predictions
    answers = answers_at(predictions.log_odds, predictions.p_unknown, threshold)
    return replace(predictions, answers=np.where(predictions.known, answers, predictions.answers))


def answers_at(log_odds: Floats, p_unknown: Floats, threshold: float) -> NDArray[np.int64]:
    """Return answers decided at a threshold, shape ``(n,)``.

    Args:
        log_odds: log(p_needed / p_not_needed): above the threshold the answer is "needed", below it "not needed".
        p_unknown: The probability of "do not know", which is the answer if it is at least that of both labels together.
        threshold: The threshold; log-odds equal to it are a tie, which is unknown.
    """
    answers = np.where(log_odds > threshold, NEEDED, NOT_NEEDED)
    return np.where((log_odds == threshold) | (p_unknown >= 0.5), UNKNOWN, answers)
