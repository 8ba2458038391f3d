"""A threshold by cost is the one that costs least."""

import numpy as np
import pytest

from chatladder.cli.costs import threshold_of
from chatladder.evaluation.calibration import Calibration, calibrate
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED
from tests.evaluation.test_calibration import planted


def test_the_threshold_costs_less_than_others():
    log_odds, references = planted(20_000)

    def cost(threshold):
        missed = ((references == NEEDED) & (log_odds <= threshold)).sum()
        return 5 * missed + ((references == NOT_NEEDED) & (log_odds > threshold)).sum()

    threshold = threshold_of(calibrate(log_odds, references), 5, 1)
    assert threshold == pytest.approx(-1.5 - 3 * np.log(5), abs=0.3)
    assert cost(threshold) < min(cost(threshold - 1.5), cost(threshold + 1.5), cost(0))
    assert threshold_of(Calibration(2.0, 0.5), 1, 1) == 0.5
