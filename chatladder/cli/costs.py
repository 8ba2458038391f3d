"""A threshold that follows from what the two mistakes cost, on calibrated validation answers.

A rung's log-odds rank questions, but are no log-odds of being right: their level and their spread follow from the
shares of the labels and from how long was trained. So they are divided by a temperature, after a shift, both chosen
for the likeliest labels on validation items, with Platt's targets in place of 0 and 1: without them the temperature of
a model that ranks few items without a mistake would be 0. Where the calibrated probability is p, answering "not
needed" costs p x missed, and "needed" (1 - p) x needless; the threshold is where both are equal.

Sources:
    Platt, "Probabilistic outputs for support vector machines", 1999, section 2.2 (the shift and the targets);
    Guo et al., "On calibration of modern neural networks", ICML 2017, https://arxiv.org/abs/1706.04599 (temperature);
    Elkan, "The foundations of cost-sensitive learning", IJCAI 2001, section 1 (the threshold).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.cli.export.record import ADAPTERS, LABELLED, TUNED, Lock, md5_of
from chatladder.evaluation.predictions import read_items, read_predictions
from chatladder.evaluation.scores import DIGITS, NEEDED, NOT_NEEDED, Floats
from chatladder.evaluation.threshold import answers_at, is_enough
from chatladder.io.console import DataError


class Calibration(NamedTuple):
    """What turns a model's log-odds into calibrated ones: (log-odds - shift) / temperature."""

    temperature: float
    shift: float

    def threshold(self, missed: float, needless: float) -> float:
        """Return the model's log-odds at which both answers are expected to cost the same."""
        return self.shift + self.temperature * math.log(needless / missed)


def calibrate(log_odds: Floats, references: NDArray[np.int64]) -> Calibration:
    """Return the calibration that makes the labels likeliest.

    Args:
        log_odds: log(p_needed / p_not_needed) of validation items, shape ``(n,)``.
        references: Their labels, NEEDED or NOT_NEEDED.

    Raises:
        DataError: If the log-odds do not rise with the labels: no temperature makes probabilities of them.
    """
    from sklearn.linear_model import LogisticRegression

    is_needed = references == NEEDED
    targets = np.where(is_needed, (is_needed.sum() + 1) / (is_needed.sum() + 2), 1 / ((~is_needed).sum() + 2))
    both = np.concatenate([log_odds, log_odds])[:, None]
    labels = np.repeat([1, 0], len(log_odds))
    fitted = LogisticRegression(C=np.inf).fit(both, labels, np.concatenate([targets, 1 - targets]))
    slope, start = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if not slope > 0:
        raise DataError(
            "--cost-missed: expected validation answers whose log-odds rise with the labels, got others: the rung "
            "ranks no better than chance. Train it longer, or take a larger one."
        )
    return Calibration(1 / slope, -start / slope)


def cost_threshold(lock: Lock, rung: str, missed: float, needless: float) -> tuple[float, str]:
    """Return a rung's threshold for these costs, and a line that says what it rests on.

    Args:
        lock: The record of the pipeline's runs.
        rung: Key of the ladder.
        missed: Cost of answering "not needed" where history is needed.
        needless: Cost of the opposite.

    Raises:
        DataError: If the predictions are not of this adapter, or too few to calibrate on.
    """
    path, predict, adapter = TUNED / f"{rung}.parquet", f"predict_tuned@{rung}", ADAPTERS / rung
    items = read_items(LABELLED, "validation", is_small=True)
    predictions = read_predictions(path, items.ids, predict)
    lock.check(predict, path, md5_of(path))
    lock.check(predict, LABELLED, md5_of(LABELLED))
    lock.check(predict, adapter, lock.md5(f"train@{rung}", adapter), of=path)
    known = predictions.known
    log_odds, references = predictions.log_odds[known], items.references[known]
    if not is_enough(references):
        raise DataError(
            f"{LABELLED}: expected 20 validation items, 5 of each label, to calibrate on, got {len(references)}. "
            "Annotate more, or give --threshold in place of the costs."
        )
    calibration = calibrate(log_odds, references)
    threshold = round(calibration.threshold(missed, needless), DIGITS)
    answers = answers_at(log_odds, predictions.p_unknown[known], threshold)
    missing = int(((references == NEEDED) & (answers != NEEDED)).sum())
    extra = int(((references == NOT_NEEDED) & (answers == NEEDED)).sum())
    return threshold, (
        f"Threshold {threshold:.3f} for costs of {missed:g} and {needless:g}: on {len(references)} validation items, "
        f"{int((references == NEEDED).sum())} of them needed, it misses {missing} and calls {extra} others needed "
        f"(temperature {calibration.temperature:.2f}, shift {calibration.shift:.2f})."
    )
