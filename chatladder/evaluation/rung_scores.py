"""The scores of a ladder's rungs with intervals that hold together, as plots and pages show them."""

from typing import NamedTuple

import numpy as np

from chatladder.evaluation.gate import measured, simultaneous
from chatladder.evaluation.gate_ladder import Ladder, Reading
from chatladder.evaluation.predictions import Rung


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    lo: float
    hi: float


class Point(NamedTuple):
    """A rung's score, with an interval that holds together with those of the other rungs."""

    rung: Rung
    is_mixture: bool
    score: Interval


def points(reading: Reading, ladder: Ladder, metric: str) -> list[Point]:
    """The score of every rung that has one, dense ones first.

    Args:
        reading: The scores and their draws.
        ladder: The rungs that were scored.
        metric: Which score, of ``GATED``.
    """
    draws = reading.draws[metric]
    usable, whole = measured(draws)
    if not usable.any():
        return []
    values = draws[np.ix_(whole, usable)]
    rungs = [rung for rung, use in zip(ladder.rungs(), usable, strict=True) if use]
    rows = zip(rungs, values[0], *simultaneous(values), strict=True)
    return [Point(rung, rung in ladder.mixtures, Interval(*map(float, figures))) for rung, *figures in rows]
