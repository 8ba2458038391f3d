"""Calibration of a tuned rung's log-odds into probabilities, and the error of those probabilities.

A rung's log-odds rank questions, but are not calibrated: their level and spread depend on the shares of the labels and
the length of training. So they are shifted, then divided by a temperature. Both maximize the likelihood of the labels
of validation items, with Platt's targets in place of 0 and 1: without them the temperature of a model that ranks a few
items without a mistake would be 0.

Sources:
    Platt, "Probabilistic outputs for support vector machines", 1999, section 2.2 (the shift and the targets);
    Guo et al., "On calibration of modern neural networks", ICML 2017, https://arxiv.org/abs/1706.04599 (temperature,
    and the expected calibration error; its bins have equal widths, ours equal counts).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from chatladder.evaluation.scores import NEEDED, Floats

#: The number of bins of probabilities, of equal counts.
BINS = 10


class Calibration(NamedTuple):
    """The map from a model's log-odds to calibrated ones: (log-odds - shift) / temperature."""

    temperature: float
    shift: float

    def probabilities(self, log_odds: Floats) -> Floats:
        """Return the calibrated probabilities of "needed"."""
        probabilities: Floats = expit((log_odds - self.shift) / self.temperature)
        return probabilities


#: The calibration that changes nothing.
NONE = Calibration(1.0, 0.0)


class Bin(NamedTuple):
    """Items of similar probability: the mean probability, the share of needed items, and their number."""

    probability: float
    share: float
    items: int


def calibrate(log_odds: Floats, references: NDArray[np.int64]) -> Calibration | None:
    """Return the calibration that maximizes the likelihood of the labels.

    Args:
        log_odds: log(p_needed / p_not_needed) of validation items, shape ``(n,)``.
        references: Their labels, NEEDED or NOT_NEEDED; both must occur.

    Returns:
        The calibration; None if the log-odds do not rise with the labels, since no temperature can calibrate them.
    """
    from sklearn.linear_model import LogisticRegression

    is_needed = references == NEEDED
    targets = np.where(is_needed, (is_needed.sum() + 1) / (is_needed.sum() + 2), 1 / ((~is_needed).sum() + 2))
    both = np.concatenate([log_odds, log_odds])[:, None]
    labels = np.repeat([1, 0], len(log_odds))
    fitted = LogisticRegression(C=np.inf).fit(both, labels, np.concatenate([targets, 1 - targets]))
    slope, start = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return Calibration(1 / slope, -start / slope) if slope > 0 else None


def reliability(probabilities: Floats, references: NDArray[np.int64]) -> list[Bin]:
    """Return items in bins of equal counts, the lowest probabilities first.

    Args:
        probabilities: The probability of "needed" for each item, shape ``(n,)``.
        references: Their labels, NEEDED or NOT_NEEDED.
    """
    order = np.argsort(probabilities, kind="stable")
    return [
        Bin(float(probabilities[part].mean()), float((references[part] == NEEDED).mean()), len(part))
        for part in np.array_split(order, min(BINS, len(order)))
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: the mean absolute difference of probability and share, over items."""
    return sum(each.items * abs(each.probability - each.share) for each in bins) / sum(each.items for each in bins)
