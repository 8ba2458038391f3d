"""A threshold from the costs of the two mistakes, on calibrated validation answers.

At a calibrated probability p, answering "not needed" costs p x missed, and "needed" (1 - p) x needless; the threshold
is where both are equal (Elkan, "The foundations of cost-sensitive learning", IJCAI 2001, section 1).
"""

import math

from chatladder.cli.export.record import ADAPTERS, LABELLED, TUNED, Lock, md5_of
from chatladder.evaluation.calibration import Calibration, calibrate
from chatladder.evaluation.predictions import read_items, read_predictions
from chatladder.evaluation.scores import DIGITS, NEEDED, NOT_NEEDED
from chatladder.evaluation.threshold import answers_at, is_enough
from chatladder.io.console import DataError
from chatladder.vocabulary import KINDS, POSITIVE


def threshold_of(calibration: Calibration, missed: float, needless: float) -> float:
    """Return the model's log-odds at which both answers are expected to cost the same."""
    return calibration.shift + calibration.temperature * math.log(needless / missed)


def cost_threshold(lock: Lock, rung: str, missed: float, needless: float) -> tuple[float, str]:
    """Return a rung's threshold for these costs, and a line about its basis.

    Args:
        lock: The record of the pipeline's runs.
        rung: Key of the ladder.
        missed: Cost of answering "not needed" if history is needed.
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
            "Annotate more, or give --threshold instead of the costs."
        )
    calibration = calibrate(log_odds, references)
    if calibration is None:
        raise DataError(
            "--cost-missed: expected validation answers whose log-odds rise with the labels, got others: the rung "
            "ranks no better than chance. Train it longer, or choose a larger one."
        )
    threshold = round(threshold_of(calibration, missed, needless), DIGITS)
    answers = answers_at(log_odds, predictions.p_unknown[known], threshold)
    missing = int(((references == NEEDED) & (answers != NEEDED)).sum())
    extra = int(((references == NOT_NEEDED) & (answers == NEEDED)).sum())
    return threshold, (
        f"Threshold {threshold:.3f} for costs of {missed:g} and {needless:g}: on {len(references)} validation items, "
        f"{int((references == NEEDED).sum())} of them {KINDS[POSITIVE].words}, it misses {missing} and calls {extra} "
        f"others {KINDS[POSITIVE].words} "
        f"(temperature {calibration.temperature:.2f}, shift {calibration.shift:.2f})."
    )
